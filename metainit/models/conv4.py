"""Conv-4, the four-block network of the few-shot literature (arXiv:1606.04080)."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from metainit.models import conv, norm
from metainit.models.model import Model, from_linen

DOWNSAMPLE = ("pool", "stride")
OUTPUT = ("average", "flatten")


class Conv4(nn.Module):
    """Four blocks of 3x3 convolution, normalisation, ReLU and halving of the image.

    Attributes:
      convolution: one of `metainit.models.conv`'s forms.
      filters: features of every block.
      norm: a policy of `metainit.models.norm`.
      downsample: "pool" (2x2 maximum, while the side is at least 2) or "stride".
      output: "average" over the image, so that one set of parameters takes any size,
        or "flatten" as in the published protocols.
      scale: what features are multiplied by; its square is the temperature of squared
        distances between them. About 1 / sqrt(features) suits prototypes.
    """

    convolution: conv.Conv
    filters: int = 64
    norm: str = "support"
    downsample: str = "pool"
    output: str = "average"
    scale: float = 1.0

    @nn.compact
    def __call__(
        self, x: jax.Array, weight: jax.Array | None, train: bool = False
    ) -> jax.Array:
        """Features [n, d] of images [n, height, width, c]; see `Model.features`."""
        stride = 2 if self.downsample == "stride" else 1
        for block in range(4):
            kernel = self.param(
                f"kernel_{block}",
                nn.initializers.he_normal(),
                (3, 3, x.shape[-1], self.filters),
            )
            bias = self.param(f"bias_{block}", nn.initializers.zeros, (self.filters,))
            x = self.convolution(x, kernel, stride) + bias
            x = nn.relu(norm.layer(self.norm, self.filters)(x, weight))
            if self.downsample == "pool" and min(x.shape[1:3]) >= 2:
                x = conv.max_pool(x)
        if self.output == "average":
            return self.scale * jnp.mean(x, (1, 2))
        return self.scale * x.reshape(len(x), -1)


def conv4(
    filters: int = 64,
    norm_policy: str = "support",
    downsample: str = "pool",
    output: str = "average",
    scale: float = 1.0,
    convolution: conv.Conv | None = None,
) -> Model:
    """Conv-4 as a `Model`; `convolution` defaults to the backend's faster form.

    Raises:
      ValueError: for a choice that does not exist.
    """
    for field, value, choices in (
        ("norm", norm_policy, tuple(norm.POLICIES)),
        ("downsample", downsample, DOWNSAMPLE),
        ("output", output, OUTPUT),
    ):
        if value not in choices:
            raise ValueError(
                f"{field} must be one of {', '.join(choices)}, got {value!r}"
            )
    convolution = convolution or conv.for_backend()
    module = Conv4(convolution, filters, norm_policy, downsample, output, scale)
    return from_linen(module, norm_policy == "support", norm.POLICIES[norm_policy])
