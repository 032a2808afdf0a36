"""Normalisation by policies, which say whose statistics normalise an image."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

# Each policy, and the words for it in a result row.
POLICIES = {
    "frozen": "frozen running statistics (inductive)",
    "support": "support moments (inductive)",
    "batch": "batch statistics (transductive: a query sees the other queries)",
    "group": "group normalisation (per image)",
    "none": "no normalisation",
}
TRAINED_HERE = ("support", "batch", "group", "none")  # of networks from scratch
PRETRAINED = ("frozen", "support", "batch")  # of networks with running statistics
EPSILON = 1e-5
Linear = Callable[[jax.Array], jax.Array]  # `(kernel) -> [n, height, width, features]`


def moments(x: jax.Array, weight: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Computes the means and variances [c] of x [n, height, width, c]."""
    if weight is None:
        mean = jnp.mean(x, (0, 1, 2))
        return mean, jnp.mean(jnp.square(x - mean), (0, 1, 2))
    share = weight / jnp.sum(weight)
    mean = jnp.einsum("n,nc->c", share, jnp.mean(x, (1, 2)))
    squares = jnp.mean(jnp.square(x - mean), (1, 2))
    return mean, jnp.einsum("n,nc->c", share, squares)


class MomentNorm(nn.Module):
    """A layer that normalises channels by images' moments, then scales and shifts.

    With weights of 1 for the support's images and 0 for the query's, the support
    normalises both. With equal weights it is batch normalisation without running
    averages.
    """

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        """Normalises x [n, height, width, c]; weight is float [n] or None."""
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean, variance = moments(x, weight)
        return (x - mean) * (scale * jax.lax.rsqrt(variance + EPSILON)) + bias


def layer(
    policy: str, features: int, name: str | None = None
) -> Callable[..., jax.Array]:
    """Makes `(x, weight) -> x` of one of `TRAINED_HERE`, in a compact linen method."""
    if policy in ("support", "batch"):
        return MomentNorm(name=name)
    if policy == "group":
        group = nn.GroupNorm(_groups(features), epsilon=EPSILON, name=name)
        return lambda x, weight: group(x)
    return lambda x, weight: x


def keeps_bias(policy: str, features: int) -> bool:
    """Tells whether a layer of `TRAINED_HERE` depends on a bias that is added before.

    Normalising a channel by its own moments removes its bias. The bias's gradient is
    then mere rounding, from which Adam makes steps of full size.
    """
    if policy == "group":
        return features > _groups(features)
    return policy == "none"


def _groups(features: int) -> int:
    return min(8, features)


class BatchNorm(nn.Module):
    """A layer that normalises the output of a linear map, and has the map's kernel.

    With running statistics it scales the kernel, so that its derivative keeps no
    image-sized array. Under any policy these are leaves of the tree, take no gradient,
    and stay float32 where the rest is computed in bfloat16.
    """

    policy: str  # one of `PRETRAINED`
    epsilon: float = EPSILON  # added to variances

    @nn.compact
    def __call__(
        self, linear: Linear, kernel: jax.Array, weight: jax.Array | None
    ) -> jax.Array:
        """Normalises `linear(kernel)`, [n, height, width, features]."""
        features, dtype = kernel.shape[-1:], kernel.dtype
        scale = self.param("scale", nn.initializers.ones, features)
        bias = self.param("bias", nn.initializers.zeros, features)
        mean = self.param("mean", nn.initializers.zeros, features)
        variance = self.param("var", nn.initializers.ones, features)
        if self.policy == "frozen":
            mean, variance = jax.lax.stop_gradient((mean, variance))
            scale = scale * jax.lax.rsqrt(variance + self.epsilon)
            scaled = (kernel * scale).astype(dtype)
            return linear(scaled) + (bias - mean * scale).astype(dtype)
        x = linear(kernel)
        mean, variance = moments(x, weight)
        return (x - mean) * (scale * jax.lax.rsqrt(variance + self.epsilon)) + bias


def is_statistics(path: tuple, leaf: Any) -> bool:
    """Tells whether a leaf is a running mean or variance, which nothing learns."""
    return getattr(path[-1], "key", None) in ("mean", "var")
