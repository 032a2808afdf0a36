"""ResNet with bottleneck blocks (arXiv:1512.03385), laid out as torchvision's.

Version 1.5: a block's stride is on its 3x3 convolution. The parameter tree has
torchvision's names for its keys; `metainit.models.resnet_names` translates files.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax

from metainit.models import batch_norm, conv
from metainit.models.encoder import Encoder

RESNET50 = (3, 4, 6, 3)
CUTS = ("stem", "stage1", "stage2", "stage3", "stage4")
EXPANSION = 4  # a block's outputs for each of its inner features


class Kernel(nn.Module):
    """The kernel of a convolution, in a place of its own in the tree."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self) -> jax.Array:
        init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
        return self.param("kernel", init, self.shape)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution beside a shortcut.

    Attributes:
      features: of the first two convolutions.
      stride: of the 3x3 convolution and of the shortcut.
      project: whether the shortcut is a 1x1 convolution.
      convolution: one of `metainit.models.conv`'s forms.
      norm: a policy of `metainit.models.batch_norm`.
    """

    features: int
    stride: int
    project: bool
    convolution: conv.Conv
    norm: str

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        """[n, height, width, c] to [n, height / stride, width / stride, 4 features]."""
        inner, outer = self.features, EXPANSION * self.features
        y = nn.relu(_pointwise(self.norm, x, weight, inner, 1, "conv1", "bn1"))
        kernel = Kernel((3, 3, inner, inner), name="conv2")()
        z = batch_norm.BatchNorm(self.norm, name="bn2")(
            lambda kernel: self.convolution(y, kernel, self.stride), kernel, weight
        )
        z = _pointwise(self.norm, nn.relu(z), weight, outer, 1, "conv3", "bn3")
        if self.project:
            x = Shortcut(outer, self.stride, self.norm, name="downsample")(x, weight)
        return nn.relu(x + z)


class Shortcut(nn.Module):
    """A strided 1x1 convolution and its normalisation, named as in torchvision."""

    features: int
    stride: int
    norm: str

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        return _pointwise(self.norm, x, weight, self.features, self.stride, "0", "1")


def _pointwise(
    policy: str,
    x: jax.Array,
    weight: jax.Array | None,
    features: int,
    stride: int,
    conv_name: str,
    norm_name: str,
) -> jax.Array:
    """A normalised 1x1 convolution; call it inside a linen `@nn.compact` method."""
    kernel = Kernel((x.shape[-1], features), name=conv_name)()
    return batch_norm.BatchNorm(policy, name=norm_name)(
        lambda kernel: conv.pointwise(x, kernel, stride), kernel, weight
    )


class Stage(nn.Module):
    """Blocks of one width; the first has the stride and a projected shortcut."""

    blocks: int
    features: int
    stride: int
    convolution: conv.Conv
    norm: str
    checkpoint: bool

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        block = nn.remat(Bottleneck) if self.checkpoint else Bottleneck
        for index in range(self.blocks):
            x = block(
                self.features,
                self.stride if index == 0 else 1,
                index == 0,
                self.convolution,
                self.norm,
                name=str(index),
            )(x, weight)
        return x


class ResNet(nn.Module):
    """The network up to a cut.

    Attributes:
      stage_sizes: blocks of each of the four stages.
      width: features of the stem; stage s has blocks of width * 2^(s - 1).
      norm: a policy of `metainit.models.batch_norm`.
      cut: one of `CUTS`, the last part there is.
      convolution: form of the 3x3 and 7x7 convolutions.
      checkpoint: whether a block's activations are computed again where they are
        needed for a derivative, instead of kept.
    """

    stage_sizes: Sequence[int]
    width: int
    norm: str
    cut: str
    convolution: conv.Conv
    checkpoint: bool

    @nn.compact
    def __call__(self, images: jax.Array, weight: jax.Array | None) -> jax.Array:
        """Map at the cut, of images [n, height, width, c]."""
        kernel = Kernel((7, 7, images.shape[-1], self.width), name="conv1")()
        x = batch_norm.BatchNorm(self.norm, name="bn1")(
            lambda kernel: self.convolution(images, kernel, 2), kernel, weight
        )
        x = conv.max_pool3(nn.relu(x))
        for index in range(CUTS.index(self.cut)):
            x = Stage(
                self.stage_sizes[index],
                self.width * 2**index,
                1 if index == 0 else 2,
                self.convolution,
                self.norm,
                self.checkpoint,
                name=f"layer{index + 1}",
            )(x, weight)
        return x


def resnet(
    stage_sizes: Sequence[int] = RESNET50,
    width: int = 64,
    norm_policy: str = "frozen",
    cut: str = "stage4",
    convolution: conv.Conv | None = None,
    checkpoint: bool = False,
) -> Encoder:
    """A ResNet as an `Encoder`; without arguments it is ResNet-50.

    Args:
      stage_sizes: blocks of each of the four stages.
      width: features of the stem.
      norm_policy: "frozen" running statistics, "support" moments or "batch" statistics.
      cut: the last part: "stem" (after the max-pooling) or "stage1" to "stage4". The
        map is 4, 4, 8, 16 or 32 times smaller than the image, rounded up.
      convolution: form of the 3x3 and 7x7 convolutions, by default the backend's
        faster one. 1x1 convolutions are matrix products.
      checkpoint: compute each block's activations again for its derivative.

    Raises:
      ValueError: for a choice that does not exist.
    """
    batch_norm.check(norm_policy)
    if cut not in CUTS:
        raise ValueError(f"cut must be one of {', '.join(CUTS)}, got {cut!r}")
    sizes = tuple(stage_sizes)
    if len(sizes) != 4 or min(sizes) < 1 or width < 1:
        raise ValueError(
            f"stage_sizes={sizes}, width={width}: give the blocks of four stages, each "
            "1 or more, and a width of 1 or more; ResNet-50 is (3, 4, 6, 3) and 64"
        )
    convolution = convolution or conv.for_backend()
    module = ResNet(sizes, width, norm_policy, cut, convolution, checkpoint)

    def init(key, images):
        return module.init(key, images, None)["params"]

    def maps(params, images, weight, key):
        return module.apply({"params": params}, images, weight)

    return Encoder(
        init,
        maps,
        CUTS[: CUTS.index(cut) + 1],
        _stage_of,
        batch_norm.is_statistics,
        norm_policy == "support",
        batch_norm.POLICIES[norm_policy],
    )


def _stage_of(path: tuple) -> str:
    part = path[0].key
    return "stem" if part in ("conv1", "bn1") else part.replace("layer", "stage")
