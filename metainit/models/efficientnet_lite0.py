"""EfficientNet-Lite0: EfficientNet (arXiv:1905.11946) with ReLU6, not squeezed."""

from typing import NamedTuple

import flax.linen as nn

from metainit.models import convolution
from metainit.models.convolution import Form, pointwise
from metainit.models.encoder import Block, Encoder, Scope, from_linen, layers, stage


class Stage(NamedTuple):
    """A chain of blocks of one shape; `stride` is that of the first."""

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
# The places of a kernel and of its normalisation, for each convolution of a block.
CONV, EXPAND, DEPTHWISE, PROJECT = (
    (name, f"{name}_norm") for name in ("conv", "expand", "depthwise", "project")
)


def _draw(fan_out: int) -> nn.initializers.Initializer:
    return nn.initializers.normal((2 / fan_out) ** 0.5)


def _block(stage: Stage, form: Form, norm: str) -> Block:
    """Makes a block: 1x1 that widens, depthwise, 1x1 that narrows, without ReLU."""
    k, features = stage.kernel, stage.features

    def block(stride, x, weight):
        c, layer = x.shape[-1], layers(norm, weight, EPSILON)
        y, wide = x, c * stage.expand
        if wide != c:
            linear = lambda w: pointwise(x, w, 1)  # noqa: E731
            y = nn.relu6(layer(EXPAND, (c, wide), linear, _draw(wide)))
        linear = lambda w: form.depthwise(y, w, stride)  # noqa: E731
        y = nn.relu6(layer(DEPTHWISE, (k, k, wide), linear, _draw(k * k)))
        linear = lambda w: pointwise(y, w, 1)  # noqa: E731
        y = layer(PROJECT, (wide, features), linear, _draw(features))
        return x + y if stride == 1 and c == features else y

    return block


def efficientnet_lite0(
    norm: str = "frozen",
    cut: str = "",
    form: Form | None = None,
    checkpoint: bool = False,
) -> Encoder:
    """Builds EfficientNet-Lite0; raises ValueError for a choice that does not exist.

    Args:
      cut: the last part: "stem", "stage1" to "stage7" or "top"; "" stands for "top".
        The map is 2 times smaller than the image at the stem and stage1, then 4, 8, 16,
        16, 32, 32 and 32 times, rounded up.
      checkpoint: whether each block's derivative computes its activations again.
    """
    form, cut = form or convolution.for_backend(), cut or CUTS[-1]

    def stem(x, weight):
        shape, linear = (3, 3, x.shape[-1], STEM), lambda w: form.same(x, w, 2)
        layer = layers(norm, weight, EPSILON)
        return nn.relu6(layer(CONV, shape, linear, _draw(9 * STEM)))

    def top(x, weight):
        shape, linear = (x.shape[-1], TOP), lambda w: pointwise(x, w, 1)
        return nn.relu6(layers(norm, weight, EPSILON)(CONV, shape, linear, _draw(TOP)))

    def part(name, function):
        return lambda x, weight: Scope(function, name=name)(x, weight)

    blocks = (
        stage(_block(at, form, norm), at.blocks, at.stride, checkpoint) for at in STAGES
    )
    parts = dict(zip(CUTS, map(part, CUTS, (stem, *blocks, top)), strict=True))
    return from_linen(parts, cut, lambda path: path[0].key, norm)
