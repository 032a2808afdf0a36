"""EfficientNet-Lite0: EfficientNet (arXiv:1905.11946) with ReLU6 and no squeezing."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax

from metainit.models import convolution
from metainit.models.convolution import Form, pointwise
from metainit.models.encoder import Encoder, Kernel, Scope, from_linen, stage
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
    """Computes a normalised convolution inside a `Scope`."""
    init = nn.initializers.normal((2 / fan_out) ** 0.5)
    kernel = Kernel(shape, init, name=name)()
    return BatchNorm(norm, EPSILON, name=f"{name}_norm")(linear, kernel, weight)


def _block(
    shape: Stage,
    form: Form,
    norm: str,
    stride: int,
    x: jax.Array,
    weight: jax.Array | None,
) -> jax.Array:
    """Widens by 1x1, convolves depthwise, narrows by 1x1 without ReLU."""
    c, k, features = x.shape[-1], shape.kernel, shape.features
    y, wide, layer = x, c * shape.expand, partial(_layer, norm, weight)
    if wide != c:
        y = layer("expand", (c, wide), wide, lambda w: pointwise(x, w, 1))
        y = nn.relu6(y)
    linear = lambda w: form.depthwise(y, w, stride)  # noqa: E731
    z = nn.relu6(layer("depthwise", (k, k, wide), k * k, linear))
    z = layer("project", (wide, features), features, lambda w: pointwise(z, w, 1))
    return x + z if stride == 1 and c == features else z


def efficientnet_lite0(
    norm: str = "frozen",
    cut: str = "",
    form: Form | None = None,
    checkpoint: bool = False,
) -> Encoder:
    """Builds EfficientNet-Lite0; raises ValueError for a choice that does not exist.

    Args:
      cut: the last part: "stem", "stage1" to "stage7" or "top"; "" for that. The map is
        2 times smaller than the image at the stem and stage1, then 4, 8, 16, 16, 32, 32
        and 32 times, rounded up.
      checkpoint: compute each block's activations again for its derivative.
    """
    form, cut = form or convolution.for_backend(), cut or CUTS[-1]

    def stem(x, weight):
        shape, linear = (3, 3, x.shape[-1], STEM), lambda w: form.same(x, w, 2)
        return nn.relu6(_layer(norm, weight, "conv", shape, 9 * STEM, linear))

    def top(x, weight):
        shape, linear = (x.shape[-1], TOP), lambda w: pointwise(x, w, 1)
        return nn.relu6(_layer(norm, weight, "conv", shape, TOP, linear))

    def network(x, weight):
        parts = [stem]
        for shape in STAGES:
            block = partial(_block, shape, form, norm)
            parts.append(stage(block, shape.blocks, shape.stride, checkpoint))
        for name, part in zip(CUTS, [*parts, top], strict=True):
            x = Scope(part, name=name)(x, weight)
            if name == cut:
                break
        return x

    return from_linen(Scope(network), CUTS, cut, lambda path: path[0].key, norm)
