"""Batch normalisation of pretrained encoders, by whose statistics."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from metainit.models import norm

# Policy: what a result row says of it.
POLICIES = {
    "frozen": "frozen running statistics (inductive)",
    "support": norm.POLICIES["support"],
    "batch": norm.POLICIES["batch"],
}


class BatchNorm(nn.Module):
    """Normalises what a linear map gives, with the map's own kernel at hand.

    Running statistics make it a scaling of the kernel's outputs, so that no image-sized
    array is kept for its derivative. They are leaves of the tree whatever the policy,
    and take no gradient: nothing but a file of weights changes them.

    Attributes:
      policy: one of `POLICIES`.
      epsilon: added to variances.
    """

    policy: str
    epsilon: float = 1e-5

    @nn.compact
    def __call__(
        self,
        linear: Callable[[jax.Array], jax.Array],
        kernel: jax.Array,
        weight: jax.Array | None,
    ) -> jax.Array:
        """Normalised `linear(kernel)`, [n, height, width, features].

        Args:
          linear: a map that is linear in its kernel.
          kernel: [..., features].
          weight: float [n] or None, each image's share in moments.
        """
        features = kernel.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, features)
        bias = self.param("bias", nn.initializers.zeros, features)
        mean = self.param("mean", nn.initializers.zeros, features)
        variance = self.param("var", nn.initializers.ones, features)
        if self.policy == "frozen":
            mean, variance = jax.lax.stop_gradient((mean, variance))
            scale = scale * jax.lax.rsqrt(variance + self.epsilon)
            return linear(kernel * scale) + (bias - mean * scale)
        x = linear(kernel)
        mean, variance = norm.moments(x, weight)
        return (x - mean) * (scale * jax.lax.rsqrt(variance + self.epsilon)) + bias


def is_statistics(path: tuple, leaf: Any) -> bool:
    """Mask of running means and variances, which ride along unlearned."""
    return getattr(path[-1], "key", None) in ("mean", "var")


def check(policy: str) -> None:
    """Raises ValueError for a policy that does not exist."""
    if policy not in POLICIES:
        raise ValueError(f"norm must be one of {', '.join(POLICIES)}, got {policy!r}")
