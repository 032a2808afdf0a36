"""Networks like ResNet-50, with pretrained weights, and ResNet-12, without.

The former have bottleneck blocks (arXiv:1512.03385) in torchvision's layout, version
1.5, where the 3x3 convolution has a block's stride. The latter is the deeper network of
the few-shot literature (arXiv:1805.10123).
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from metainit.models import convolution, normalisation
from metainit.models.convolution import Form, pointwise
from metainit.models.encoder import Block, Encoder, Scope, from_linen, layers, stage
from metainit.models.model import Model, normalised

RESNET50 = (3, 4, 6, 3)
CUTS = ("stem", "stage1", "stage2", "stage3", "stage4")
DRAW = nn.initializers.variance_scaling(2.0, "fan_out", "normal")  # draws kernels
EXPANSION = 4  # how many outputs a block has for each inner feature


def _bottleneck(features: int, form: Form, norm: str) -> Block:
    """Makes a block that adds 1x1, 3x3 and 1x1 convolutions to a shortcut."""
    outer = EXPANSION * features

    def block(stride, x, weight):
        c, layer = x.shape[-1], partial(layers(norm, weight), draw=DRAW)
        y = layer(("conv1", "bn1"), (c, features), lambda k: pointwise(x, k, 1))
        y, shape = nn.relu(y), (3, 3, features, features)
        z = layer(("conv2", "bn2"), shape, lambda k: form.dense(y, k, stride))
        z = nn.relu(z)
        z = layer(("conv3", "bn3"), (features, outer), lambda k: pointwise(z, k, 1))
        if c != outer or stride > 1:
            strided = lambda x: layer(  # noqa: E731
                ("0", "1"), (c, outer), lambda k: pointwise(x, k, stride)
            )
            x = Scope(strided, name="downsample")(x)
        return nn.relu(x + z)

    return block


def resnet(
    stage_sizes: Sequence[int] = RESNET50,
    width: int = 64,
    norm: str = "frozen",
    cut: str = "",
    form: Form | None = None,
    checkpoint: bool = False,
) -> Encoder:
    """Builds a ResNet; without arguments it is ResNet-50.

    Args:
      width: features of the stem; stage s has blocks of width * 2^(s - 1).
      cut: the last part: "stem" (after the max-pooling) or "stage1" to "stage4"; ""
        stands for "stage4". The map is 4, 4, 8, 16 or 32 times smaller than the image,
        rounded up.
      checkpoint: whether each block's derivative computes its activations again.

    Raises:
      ValueError: for a choice that does not exist.
    """
    sizes = tuple(stage_sizes)
    if len(sizes) != 4 or min(sizes) < 1 or width < 1:
        raise ValueError(
            f"stage_sizes={sizes}, width={width}: give four sizes and a width, all 1 "
            "or more; ResNet-50 is (3, 4, 6, 3) and 64"
        )
    form, cut = form or convolution.for_backend(), cut or CUTS[-1]

    def stem(images, weight):
        shape = (7, 7, images.shape[-1], width)
        linear = lambda k: form.dense(images, k, 2)  # noqa: E731
        x = layers(norm, weight)(("conv1", "bn1"), shape, linear, DRAW)
        return convolution.max_pool3(nn.relu(x))

    def part(index):
        block = _bottleneck(width * 2**index, form, norm)
        blocks = stage(block, sizes[index], 1 if index == 0 else 2, checkpoint)
        return lambda x, weight: Scope(blocks, name=f"layer{index + 1}")(x, weight)

    parts = dict(zip(CUTS, (stem, *map(part, range(4))), strict=True))
    return from_linen(parts, cut, _stage_of, norm)


def _stage_of(path: tuple) -> str:
    part = path[0].key
    return "stem" if part in ("conv1", "bn1") else part.replace("layer", "stage")


class ResNet12(nn.Module):
    """Four blocks of three convolutions, a shortcut and a halving; see `resnet12`."""

    form: Form
    filters: int
    norm: str
    scale: float

    @nn.compact
    def __call__(
        self, x: jax.Array, weight: jax.Array | None, train: bool = False
    ) -> jax.Array:
        """Computes features [n, 8 filters] of images [n, height, width, c]."""
        draw = nn.initializers.he_normal()
        for block in range(4):
            entering, first, features = x, 3 * block, self.filters * 2**block
            policy = partial(normalisation.layer, self.norm, features)
            for number in range(first, first + 3):
                shape = (3, 3, x.shape[-1], features)
                kernel = self.param(f"kernel_{number}", draw, shape)
                y = self.form.dense(x, kernel, 1)
                y = policy(f"norm_{number}")(y, weight)
                x = nn.relu(y)
            across = (entering.shape[-1], features)
            kernel = self.param(f"shortcut_{first}", draw, across)
            z = policy(f"shortcut_norm_{first}")(pointwise(entering, kernel, 1), weight)
            x = nn.relu(y + z)
            if min(x.shape[1:3]) >= 2:
                x = convolution.max_pool(x)
        return self.scale * jnp.mean(x, (1, 2))


def resnet12(
    filters: int = 64,
    norm: str = "support",
    scale: float = 1.0,
    form: Form | None = None,
) -> Model:
    """Builds ResNet-12, whose features are the average of its last map.

    Args:
      filters: channels of the first block; each further block has twice as many.
      norm: one of `normalisation.TRAINED_HERE`.
      scale: a factor of the features.
      form: how convolutions are computed, by default the faster way on the backend.

    Raises:
      ValueError: for a policy that does not exist.
    """
    form = form or convolution.of_few_layers()
    return normalised(ResNet12(form, filters, norm, scale), norm)
