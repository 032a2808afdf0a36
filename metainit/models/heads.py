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
# `(body, features [n, d], labels int [n], way, weight [n] or None) -> head`, in closed
# form; the outer gradient flows through it. An image of weight 0 counts for nothing.
FitFn = Callable[[Params, jax.Array, jax.Array, int, jax.Array | None], Params]


def zero_head(features: BatchFeaturesFn, way: int) -> StartFn:
    """Starts from zeros: every class is equally likely before the first step."""

    def start(params, support, key):
        shape = jax.eval_shape(features, params, support, key)
        kernel = jnp.zeros((shape.shape[-1], way), shape.dtype)
        return {**params, "head": {"kernel": kernel, "bias": kernel[0]}}

    return start


def fitted_head(fit: FitFn, features: BatchFeaturesFn, way: int) -> StartFn:
    """Starts from the head of `way` classes that the support's features give."""

    def start(params, support, key):
        of_support = features(params, support, key)
        labels, weight = support["label"], support.get("weight")
        return {**params, "head": fit(params["body"], of_support, labels, way, weight)}

    return start


def prototypes(body, features, labels, way, weight):
    """Compares squared distances to the means of classes: a `FitFn`.

    ProtoMAML (Triantafillou et al. 2020, arXiv:1903.03096, eq. 5).
    """
    return nearest_mean(class_means(features, labels, way, weight))


def cosines(body, features, labels, way, weight):
    """Compares cosines to the means of classes: a `FitFn`.

    Meta-Baseline (Chen et al. 2021, arXiv:2003.04390, eq. 3). Features are those of
    `metainit.models.wrappers.unit_length`, whose learned factor s makes the scores s^2
    times the cosine.
    """
    means = class_means(features, labels, way, weight)
    length = jnp.sqrt(jnp.sum(jnp.square(means), -1, keepdims=True) + 1e-12)
    kernel = jnp.exp(body["log_scale"]) * (means / length).T
    return {"kernel": kernel, "bias": jnp.zeros(way, kernel.dtype)}


def ridge(body, features, labels, way, weight):
    """Solves the ridge regression of one-hot labels: a `FitFn`.

    R2D2 (Bertinetto et al. 2019, arXiv:1805.08136, eq. 6). With features s u of
    `metainit.models.wrappers.unit_length` and its learned penalty l, the scores of a
    query v are s^2 v' U' (U U' + l I)^-1 Y.
    """
    scale, penalty = (jnp.exp(body[name]) for name in ("log_scale", "log_penalty"))
    units, targets = features / scale, jax.nn.one_hot(labels, way, dtype=features.dtype)
    if weight is not None:
        root = jnp.sqrt(weight)[:, None]
        units, targets = units * root, targets * root
    gram = units @ units.T + penalty * jnp.eye(len(units), dtype=units.dtype)
    kernel = scale * units.T @ jnp.linalg.solve(gram, targets)
    return {"kernel": kernel, "bias": jnp.zeros(way, kernel.dtype)}


FITS: dict[str, FitFn] = {"prototype": prototypes, "cosine": cosines, "ridge": ridge}


def left_out_scores(
    fit: FitFn, body: Params, features: jax.Array, labels: jax.Array, way: int
) -> jax.Array:
    """Scores each image by the head that all the others give, float [n, way].

    So every image of a support is a query, too: a split wastes images (Laenen &
    Bertinetto 2021, arXiv:2012.09831). A class of features [n, d] and labels int [n]
    needs two images to be known without one of them.
    """

    def of_image(number):
        weight = (jnp.arange(len(features)) != number).astype(features.dtype)
        head = fit(body, features, labels, way, weight)
        return features[number] @ head["kernel"] + head["bias"]

    return jax.vmap(of_image)(jnp.arange(len(features)))


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
    """Masks the head's leaves, for `metainit.anil` and `metainit.boil`."""
    return getattr(path[0], "key", None) == "head"
