"""ResNet with bottleneck blocks (arXiv:1512.03385), laid out as torchvision's.

Version 1.5: a block's stride is on its 3x3 convolution. The parameter tree has
torchvision's names for its keys; `metainit.models.torch_names` translates files.
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax

from metainit.models import convolution
from metainit.models.convolution import Form, pointwise
from metainit.models.encoder import Blocks, Encoder, Kernel, from_linen
from metainit.models.normalisation import BatchNorm

RESNET50 = (3, 4, 6, 3)
CUTS = ("stem", "stage1", "stage2", "stage3", "stage4")
EXPANSION = 4  # a block's outputs for each of its inner features


def _layer(
    norm: str,
    weight: jax.Array | None,
    names: tuple[str, str],
    shape: tuple[int, ...],
    linear: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """A normalised convolution; call it inside a linen `@nn.compact` method."""
    init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
    kernel = Kernel(shape, init, name=names[0])()
    return BatchNorm(norm, name=names[1])(linear, kernel, weight)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside a shortcut.

    Attributes:
      features: of the first two convolutions.
      form: of the 3x3 convolution.
      norm: one of `normalisation.PRETRAINED`.
      stride: of the 3x3 convolution and of the shortcut.
    """

    features: int
    form: Form
    norm: str
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        """[n, height, width, c] to [n, height / stride, width / stride, 4 features]."""
        c, inner, outer = x.shape[-1], self.features, EXPANSION * self.features
        layer = partial(_layer, self.norm, weight)
        y = layer(("conv1", "bn1"), (c, inner), lambda k: pointwise(x, k, 1))
        y = nn.relu(y)
        z = layer(
            ("conv2", "bn2"),
            (3, 3, inner, inner),
            lambda k: self.form.dense(y, k, self.stride),
        )
        z = nn.relu(z)
        z = layer(("conv3", "bn3"), (inner, outer), lambda k: pointwise(z, k, 1))
        if c != outer or self.stride > 1:
            x = Shortcut(outer, self.stride, self.norm, name="downsample")(x, weight)
        return nn.relu(x + z)


class Shortcut(nn.Module):
    """A strided 1x1 convolution and its normalisation, named as in torchvision."""

    features: int
    stride: int
    norm: str

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        return _layer(
            self.norm,
            weight,
            ("0", "1"),
            (x.shape[-1], self.features),
            lambda k: pointwise(x, k, self.stride),
        )


class ResNet(nn.Module):
    """The network up to a cut; see `resnet`."""

    stage_sizes: Sequence[int]
    width: int
    norm: str
    cut: str
    form: Form
    checkpoint: bool

    @nn.compact
    def __call__(self, images: jax.Array, weight: jax.Array | None) -> jax.Array:
        """Map at the cut, of images [n, height, width, c]."""
        x = _layer(
            self.norm,
            weight,
            ("conv1", "bn1"),
            (7, 7, images.shape[-1], self.width),
            lambda k: self.form.dense(images, k, 2),
        )
        x = convolution.max_pool3(nn.relu(x))
        bottleneck = nn.remat(Bottleneck) if self.checkpoint else Bottleneck
        for index in range(CUTS.index(self.cut)):
            block = partial(bottleneck, self.width * 2**index, self.form, self.norm)
            x = Blocks(
                block,
                self.stage_sizes[index],
                1 if index == 0 else 2,
                name=f"layer{index + 1}",
            )(x, weight)
        return x


def resnet(
    stage_sizes: Sequence[int] = RESNET50,
    width: int = 64,
    norm: str = "frozen",
    cut: str = "stage4",
    form: Form | None = None,
    checkpoint: bool = False,
) -> Encoder:
    """A ResNet as an `Encoder`; without arguments it is ResNet-50.

    Args:
      stage_sizes: blocks of each of the four stages.
      width: features of the stem; stage s has blocks of width * 2^(s - 1).
      norm: "frozen" running statistics, "support" moments or "batch" statistics.
      cut: the last part: "stem" (after the max-pooling) or "stage1" to "stage4". The
        map is 4, 4, 8, 16 or 32 times smaller than the image, rounded up.
      form: of the 3x3 and 7x7 convolutions, by default the backend's faster one. 1x1
        convolutions are matrix products.
      checkpoint: compute each block's activations again for its derivative.

    Raises:
      ValueError: for a choice that does not exist.
    """
    sizes = tuple(stage_sizes)
    if len(sizes) != 4 or min(sizes) < 1 or width < 1:
        raise ValueError(
            f"stage_sizes={sizes}, width={width}: give the blocks of four stages, each "
            "1 or more, and a width of 1 or more; ResNet-50 is (3, 4, 6, 3) and 64"
        )
    form = form or convolution.for_backend()
    module = ResNet(sizes, width, norm, cut, form, checkpoint)
    return from_linen(module, CUTS, cut, _stage_of, norm)


def _stage_of(path: tuple) -> str:
    part = path[0].key
    return "stem" if part in ("conv1", "bn1") else part.replace("layer", "stage")
