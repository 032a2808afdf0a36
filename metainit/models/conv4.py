"""Conv-4, the four-block network of the few-shot literature (arXiv:1606.04080)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from metainit.models import convolution, normalisation
from metainit.models.model import Model, check_choice, normalised

DOWNSAMPLE = ("pool", "stride")
OUTPUT = ("average", "flatten")


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, normalisation, ReLU and halving; see `conv4`."""

    form: convolution.Form
    filters: int
    norm: str
    downsample: str
    output: str
    scale: float

    @nn.compact
    def __call__(
        self, x: jax.Array, weight: jax.Array | None, train: bool = False
    ) -> jax.Array:
        """Computes features [n, d] of images [n, height, width, c]."""
        stride = 2 if self.downsample == "stride" else 1
        for block in range(4):
            shape = (3, 3, x.shape[-1], self.filters)
            kernel = self.param(f"kernel_{block}", nn.initializers.he_normal(), shape)
            x = self.form.dense(x, kernel, stride)
            if normalisation.keeps_bias(self.norm, self.filters):
                zeros = nn.initializers.zeros
                x += self.param(f"bias_{block}", zeros, (self.filters,))
            x = nn.relu(normalisation.layer(self.norm, self.filters)(x, weight))
            if self.downsample == "pool" and min(x.shape[1:3]) >= 2:
                x = convolution.max_pool(x)
        if self.output == "average":
            return self.scale * jnp.mean(x, (1, 2))
        return self.scale * x.reshape(len(x), -1)


def conv4(
    filters: int = 64,
    norm: str = "support",
    downsample: str = "pool",
    output: str = "average",
    scale: float = 1.0,
    form: convolution.Form | None = None,
) -> Model:
    """Builds Conv-4; raises ValueError for a choice that does not exist.

    Args:
      downsample: "pool" (2x2 maximum, while the side is at least 2) or "stride".
      output: "average" over the image, so that one set of parameters takes any size,
        or "flatten" as in the published protocols.
      scale: a factor of the features. Its square is the temperature of the squared
        distances between them. About 1 / sqrt(features) suits prototypes.
      form: how convolutions are computed, by default the faster way on the backend.
    """
    check_choice("downsample", downsample, DOWNSAMPLE)
    check_choice("output", output, OUTPUT)
    form = form or convolution.of_few_layers()
    return normalised(Conv4(form, filters, norm, downsample, output, scale), norm)
