"""Where a task's linear head starts: `start` functions for `metainit.InnerLoop`.

Parameters are dicts {"body": ..., "head": {"kernel": [d, way], "bias": [way]}}.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metainit.core.types import Batch, Key, Params

# `(params, batch, key) -> float [n, d]`.
BatchFeaturesFn = Callable[[Params, Batch, Key | None], jax.Array]
# `(params, support, key) -> params` with a head.
StartFn = Callable[[Params, Batch, Key | None], Params]


def zero_head(features: BatchFeaturesFn, way: int) -> StartFn:
    """Starts from zeros: every class is equally likely before the first step."""

    def start(params, support, key):
        shape = jax.eval_shape(features, params, support, key)
        kernel = jnp.zeros((shape.shape[-1], way), shape.dtype)
        return {**params, "head": {"kernel": kernel, "bias": kernel[0]}}

    return start


def prototype_head(features: BatchFeaturesFn, way: int) -> StartFn:
    """Starts by comparing squared distances to the means of `way` classes.

    ProtoMAML (Triantafillou et al. 2020, arXiv:1903.03096, eq. 5); the outer gradient
    flows through the means.
    """

    def start(params, support, key):
        of_support = features(params, support, key)
        weight = support.get("weight")
        means = class_means(of_support, support["label"], way, weight)
        return {**params, "head": nearest_mean(means)}

    return start


def nearest_mean(means: jax.Array) -> dict[str, jax.Array]:
    """Makes the linear head of class means c [way, d]: columns 2c, biases -|c|^2."""
    return {"kernel": 2 * means.T, "bias": -jnp.sum(jnp.square(means), -1)}


def class_means(
    features: jax.Array, labels: jax.Array, way: int, weight: jax.Array | None = None
) -> jax.Array:
    """Averages features [n, d] by class, to [way, d]; zero for one without examples."""
    member = jax.nn.one_hot(labels, way, dtype=features.dtype)  # [n, way]
    if weight is not None:
        member = member * weight[:, None]
    count = jnp.maximum(jnp.sum(member, 0), 1e-9)
    return (member.T @ features) / count[:, None]


def is_head(path: tuple, leaf: Any) -> bool:
    """Masks the head's leaves, for `metainit.anil`."""
    return getattr(path[0], "key", None) == "head"
