"""Normalisation by named policy: whose statistics normalise an image."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# Policy: what a result row says of it.
POLICIES = {
    "support": "support moments (inductive)",
    "batch": "batch statistics (transductive: a query sees the other queries)",
    "group": "group normalisation (per image)",
    "none": "no normalisation",
}
EPSILON = 1e-5


def moments(x: jax.Array, weight: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Mean and variance [c] of x [n, height, width, c]; weight float [n] or None."""
    if weight is None:
        mean = jnp.mean(x, (0, 1, 2))
        return mean, jnp.mean(jnp.square(x - mean), (0, 1, 2))
    share = weight / jnp.sum(weight)
    mean = jnp.einsum("n,nc->c", share, jnp.mean(x, (1, 2)))
    squares = jnp.mean(jnp.square(x - mean), (1, 2))
    return mean, jnp.einsum("n,nc->c", share, squares)


class MomentNorm(nn.Module):
    """Normalises channels by moments of the given images, then scales and shifts.

    With weights of 1 for the support's images and 0 for the query's this is
    normalisation by support moments; with equal weights it is batch normalisation
    without running averages.
    """

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        """Args: x [n, height, width, c]; weight float [n] or None for equal ones."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean, variance = moments(x, weight)
        return (x - mean) * (scale * jax.lax.rsqrt(variance + EPSILON)) + bias


def layer(policy: str, features: int) -> Callable[..., Any]:
    """`(x, weight) -> x` for a policy; call it inside a linen `@nn.compact` method.

    Raises:
      ValueError: for an unknown policy.
    """
    if policy in ("support", "batch"):
        return MomentNorm()
    if policy == "group":
        group = nn.GroupNorm(num_groups=min(8, features), epsilon=EPSILON)
        return lambda x, weight: group(x)
    if policy == "none":
        return lambda x, weight: x
    raise ValueError(f"norm must be one of {', '.join(POLICIES)}, got {policy!r}")
