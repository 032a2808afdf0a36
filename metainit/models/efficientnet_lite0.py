"""EfficientNet-Lite0: EfficientNet (arXiv:1905.11946) for small machines.

ReLU6 for swish and no squeeze-and-excitation; stem and top have the same width in every
Lite.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax

from metainit.models import convolution
from metainit.models.convolution import Form, pointwise
from metainit.models.encoder import Blocks, Encoder, Kernel, from_linen
from metainit.models.normalisation import BatchNorm


class Stage(NamedTuple):
    """Blocks of one shape; `stride` is the first one's."""

    blocks: int
    kernel: int
    stride: int
    expand: int
    features: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM, TOP = 32, 1280
CUTS = ("stem", *(f"stage{index + 1}" for index in range(len(STAGES))), "top")
EPSILON = 1e-3  # of the batch normalisation


def _layer(
    norm: str,
    weight: jax.Array | None,
    name: str,
    shape: tuple[int, ...],
    fan_out: int,
    linear: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """A normalised convolution; call it inside a linen `@nn.compact` method."""
    init = nn.initializers.normal((2 / fan_out) ** 0.5)
    kernel = Kernel(shape, init, name=name)()
    return BatchNorm(norm, EPSILON, name=f"{name}_norm")(linear, kernel, weight)


class Block(nn.Module):
    """Inverted bottleneck: wider by 1x1, depthwise, narrower by 1x1 without ReLU.

    Attributes:
      shape: of the blocks of its stage.
      form: of the depthwise convolution.
      norm: one of `normalisation.PRETRAINED`.
      stride: of the depthwise convolution.
    """

    shape: Stage
    form: Form
    norm: str
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        """[n, height, width, c] to [n, height / stride, width / stride, features]."""
        c, k, features = x.shape[-1], self.shape.kernel, self.shape.features
        wide = c * self.shape.expand
        layer = partial(_layer, self.norm, weight)
        y = x
        if wide != c:
            y = layer("expand", (c, wide), wide, lambda w: pointwise(x, w, 1))
            y = nn.relu6(y)
        z = layer(
            "depthwise",
            (k, k, wide),
            k * k,
            lambda w: self.form.depthwise(y, w, self.stride),
        )
        z = nn.relu6(z)
        z = layer("project", (wide, features), features, lambda w: pointwise(z, w, 1))
        return x + z if self.stride == 1 and c == features else z


class Stem(nn.Module):
    """3x3 convolution with stride 2."""

    form: Form
    norm: str

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        shape, linear = (3, 3, x.shape[-1], STEM), lambda w: self.form.same(x, w, 2)
        return nn.relu6(_layer(self.norm, weight, "conv", shape, 9 * STEM, linear))


class Top(nn.Module):
    """1x1 convolution to the features that are averaged and classified."""

    norm: str

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        shape, linear = (x.shape[-1], TOP), lambda w: pointwise(x, w, 1)
        return nn.relu6(_layer(self.norm, weight, "conv", shape, TOP, linear))


class EfficientNetLite0(nn.Module):
    """The network up to a cut; see `efficientnet_lite0`."""

    norm: str
    cut: str
    form: Form
    checkpoint: bool

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        """Map at the cut, of images [n, height, width, c]."""
        x = Stem(self.form, self.norm, name="stem")(x, weight)
        inverted = nn.remat(Block) if self.checkpoint else Block
        last = CUTS.index(self.cut)
        for name, stage in zip(CUTS[1 : last + 1], STAGES, strict=False):
            block = partial(inverted, stage, self.form, self.norm)
            x = Blocks(block, stage.blocks, stage.stride, name=name)(x, weight)
        return Top(self.norm, name="top")(x, weight) if self.cut == "top" else x


def efficientnet_lite0(
    norm: str = "frozen",
    cut: str = "top",
    form: Form | None = None,
    checkpoint: bool = False,
) -> Encoder:
    """EfficientNet-Lite0 as an `Encoder`.

    Args:
      norm: "frozen" running statistics, "support" moments or "batch" statistics.
      cut: the last part: "stem", "stage1" to "stage7" or "top". The map is 2 times
        smaller than the image at the stem and stage1, then 4, 8, 16, 16, 32, 32 and 32
        times, rounded up.
      form: of the convolutions, by default the backend's faster one.
      checkpoint: compute each block's activations again for its derivative.

    Raises:
      ValueError: for a choice that does not exist.
    """
    form = form or convolution.for_backend()
    module = EfficientNetLite0(norm, cut, form, checkpoint)
    return from_linen(module, CUTS, cut, lambda path: path[0].key, norm)
