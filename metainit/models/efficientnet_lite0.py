"""EfficientNet-Lite0: EfficientNet (arXiv:1905.11946) for small machines.

ReLU6 for swish and no squeeze-and-excitation; stem and top have the same width in every
Lite.
"""

from typing import NamedTuple

import flax.linen as nn
import jax

from metainit.models import batch_norm, conv, same_conv
from metainit.models.encoder import Encoder
from metainit.models.image_input import ImageInput


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
# (x - 127) / 128 of x in 0..255.
INPUT = ImageInput(3 * (127 / 255,), 3 * (128 / 255,), 224, 0.875)


class Kernel(nn.Module):
    """The kernel of a convolution, in a place of its own in the tree.

    Attributes:
      shape: [k, k, c, features], [c, features] or, depthwise, [k, k, c].
      fan_out: outputs that an input takes part in.
    """

    shape: tuple[int, ...]
    fan_out: int

    @nn.compact
    def __call__(self) -> jax.Array:
        init = nn.initializers.normal((2 / self.fan_out) ** 0.5)
        return self.param("kernel", init, self.shape)


class Block(nn.Module):
    """Inverted bottleneck: wider by 1x1, depthwise, narrower by 1x1 without ReLU.

    Attributes:
      features: at its end.
      expand: how many times wider its inside is than its input.
      kernel: side of the depthwise kernels.
      stride: of the depthwise convolution.
      form: of the convolutions.
      norm: a policy of `metainit.models.batch_norm`.
    """

    features: int
    expand: int
    kernel: int
    stride: int
    form: same_conv.Form
    norm: str

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        """[n, height, width, c] to [n, height / stride, width / stride, features]."""
        c = x.shape[-1]
        y = x
        if self.expand != 1:
            y = nn.relu6(pointwise(self.norm, y, weight, c * self.expand, "expand"))
        y = nn.relu6(self._depthwise(y, weight))
        y = pointwise(self.norm, y, weight, self.features, "project")
        return x + y if self.stride == 1 and c == self.features else y

    def _depthwise(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        k, c = self.kernel, x.shape[-1]
        kernel = Kernel((k, k, c), k * k, name="depthwise")()
        return batch_norm.BatchNorm(self.norm, EPSILON, name="depthwise_norm")(
            lambda kernel: self.form.depthwise(x, kernel, self.stride), kernel, weight
        )


def pointwise(
    policy: str, x: jax.Array, weight: jax.Array | None, features: int, name: str
) -> jax.Array:
    """A normalised 1x1 convolution; call it inside a linen `@nn.compact` method."""
    kernel = Kernel((x.shape[-1], features), features, name=name)()
    return batch_norm.BatchNorm(policy, EPSILON, name=f"{name}_norm")(
        lambda kernel: conv.pointwise(x, kernel, 1), kernel, weight
    )


class Blocks(nn.Module):
    """The blocks of a stage, named by their number."""

    stage: Stage
    form: same_conv.Form
    norm: str
    checkpoint: bool

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        block = nn.remat(Block) if self.checkpoint else Block
        for index in range(self.stage.blocks):
            x = block(
                self.stage.features,
                self.stage.expand,
                self.stage.kernel,
                self.stage.stride if index == 0 else 1,
                self.form,
                self.norm,
                name=str(index),
            )(x, weight)
        return x


class Stem(nn.Module):
    """3x3 convolution with stride 2."""

    form: same_conv.Form
    norm: str

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        kernel = Kernel((3, 3, x.shape[-1], STEM), 9 * STEM, name="conv")()
        return nn.relu6(
            batch_norm.BatchNorm(self.norm, EPSILON, name="conv_norm")(
                lambda kernel: self.form.dense(x, kernel, 2), kernel, weight
            )
        )


class Top(nn.Module):
    """1x1 convolution to the features that are averaged and classified."""

    norm: str

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        return nn.relu6(pointwise(self.norm, x, weight, TOP, "conv"))


class EfficientNetLite0(nn.Module):
    """The network up to a cut; see `efficientnet_lite0`."""

    norm: str
    cut: str
    form: same_conv.Form
    checkpoint: bool

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        """Map at the cut, of images [n, height, width, c]."""
        x = Stem(self.form, self.norm, name="stem")(x, weight)
        for name, stage in zip(CUTS[1:-1], STAGES, strict=True):
            if CUTS.index(name) > CUTS.index(self.cut):
                return x
            x = Blocks(stage, self.form, self.norm, self.checkpoint, name=name)(
                x, weight
            )
        return Top(self.norm, name="top")(x, weight) if self.cut == "top" else x


def efficientnet_lite0(
    norm_policy: str = "frozen",
    cut: str = "top",
    form: same_conv.Form | None = None,
    checkpoint: bool = False,
) -> Encoder:
    """EfficientNet-Lite0 as an `Encoder`.

    Args:
      norm_policy: "frozen" running statistics, "support" moments or "batch" statistics.
      cut: the last part: "stem", "stage1" to "stage7" or "top". The map is 2 times
        smaller than the image at the stem and stage1, then 4, 8, 16, 16, 32, 32 and 32
        times, rounded up.
      form: of the convolutions, by default the backend's faster one.
      checkpoint: compute each block's activations again for its derivative.

    Raises:
      ValueError: for a choice that does not exist.
    """
    batch_norm.check(norm_policy)
    if cut not in CUTS:
        raise ValueError(f"cut must be one of {', '.join(CUTS)}, got {cut!r}")
    form = form or same_conv.for_backend()
    module = EfficientNetLite0(norm_policy, cut, form, checkpoint)

    def init(key, images):
        return module.init(key, images, None)["params"]

    def maps(params, images, weight, key):
        return module.apply({"params": params}, images, weight)

    return Encoder(
        init,
        maps,
        CUTS[: CUTS.index(cut) + 1],
        lambda path: path[0].key,
        batch_norm.is_statistics,
        norm_policy == "support",
        batch_norm.POLICIES[norm_policy],
    )
