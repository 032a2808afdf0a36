"""Image classification on a `Model` and a linear head, as losses for the pure layer.

Batches are dicts: "image" [n, height, width, c], "label" int [n], optionally "weight"
[n] (0 for padding) and "classes" bool [way], or [n, way] for each image. Where it is
False there is no such class, and its score is -inf.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metainit.core.types import Batch, Key, LossFn, Metrics, Params
from metainit.models.head import (
    BatchFeaturesFn,
    ClosedFormFn,
    left_out_scores,
)
from metainit.models.model import EncodeFn, FeaturesFn, LeafMask, Model

# `(params, support, query) -> float [n, ...]`, a row for each image of the query.
QueryFn = Callable[[Params, Batch, Batch], jax.Array]
# `(params, support, query, key) -> (loss, metrics)`.
QueryLossFn = Callable[[Params, Batch, Batch, Key], tuple[jax.Array, Metrics]]


def features(model: Model) -> BatchFeaturesFn:
    """Makes `(params, batch, key) -> float [n, d]`, the features of a batch alone."""
    return lambda params, batch, key: model.features(
        params["body"], batch["image"], batch.get("weight"), key
    )


def with_head(of_body: LeafMask) -> LeafMask:
    """Makes a mask of parameters that has the head and what a mask of the body has."""
    return lambda path, leaf: path[0].key != "body" or of_body(path[1:], leaf)


def feature_count(
    model: Model, body: Params, images: jax.Array | jax.ShapeDtypeStruct
) -> int:
    """Finds the d of features of images [n, height, width, c], computing none."""
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), (body, images)
    )
    given, structure = jax.tree.flatten(like)
    return _feature_count(model.encode, model.features, structure, tuple(given))


@functools.lru_cache(maxsize=32)  # jax would keep memory for every call
def _feature_count(
    encode: EncodeFn | None,
    of_images: FeaturesFn,
    structure: Any,
    given: tuple[jax.ShapeDtypeStruct, ...],
) -> int:
    body, images = jax.tree.unflatten(structure, given)
    if encode is not None:
        images = jax.eval_shape(encode, body, images)
    return jax.eval_shape(of_images, body, images, None, None).shape[-1]


def linear_head(features: int, classes: int) -> dict[str, jax.Array]:
    """Makes a linear head of zeros, which finds every class equally likely."""
    kernel = jnp.zeros((features, classes))
    return {"kernel": kernel, "bias": kernel[0]}


def cosine_head(features: int, classes: int, key: Key) -> dict[str, jax.Array]:
    """Makes a head of random directions for `cosines`, at a scale of 10.

    The head is of Chen et al. 2019, arXiv:1904.04232, and Gidaris & Komodakis 2018,
    arXiv:1804.09458, and the scale of the latter. A kernel of zeros has no direction
    to learn from.
    """
    kernel = jax.random.normal(key, (features, classes))
    return {"kernel": kernel, "log_scale": jnp.log(10.0)}


def logits(
    params: Params, features: jax.Array, classes: jax.Array | None = None
) -> jax.Array:
    """Computes scores [n, way] of features [n, d], -inf where `classes` is False."""
    scores = features @ params["head"]["kernel"] + params["head"]["bias"]
    return scores if classes is None else jnp.where(classes, scores, -jnp.inf)


def cosines(
    params: Params, features: jax.Array, classes: jax.Array | None = None
) -> jax.Array:
    """Computes scores as cosines to a `cosine_head`'s columns, times its scale."""
    head = params["head"]
    scores = _unit(features, -1) @ _unit(head["kernel"], 0) * jnp.exp(head["log_scale"])
    return scores if classes is None else jnp.where(classes, scores, -jnp.inf)


def _unit(x: jax.Array, axis: int) -> jax.Array:
    # The square root has no derivative at a length of 0.
    length = jnp.sum(jnp.square(x), axis, keepdims=True)
    return x * jax.lax.rsqrt(length + 1e-12)


def cross_entropy(
    scores: jax.Array,
    labels: jax.Array,
    weight: jax.Array | None = None,
    smoothing: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Computes mean cross-entropy in nats and {"accuracy": 0..1} of scores [n, way].

    A share `smoothing` of a label is spread evenly over all classes whose score is not
    -inf (Szegedy et al. 2016, arXiv:1512.00567, section 7).
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
    if smoothing:
        there = scores > -jnp.inf
        even = -jnp.mean(jax.nn.log_softmax(scores), -1, where=there)
        losses = (1 - smoothing) * losses + smoothing * even
    hits = (jnp.argmax(scores, -1) == labels).astype(losses.dtype)
    if weight is None:
        return jnp.mean(losses), {"accuracy": jnp.mean(hits)}
    share = weight / jnp.sum(weight)
    return jnp.vdot(share, losses), {"accuracy": jnp.vdot(share, hits)}


def loss_fn(model: Model) -> LossFn:
    """Makes the support loss: `(params, batch, key) -> (loss, metrics)`."""
    return joint_loss(model, "linear", 0.0)


def joint_loss(model: Model, head: str, smoothing: float) -> LossFn:
    """Makes joint pretraining's loss, with a "linear" or a "cosine" head.

    It is like `loss_fn`, with smoothed labels.
    """
    of, scores_of = features(model), cosines if head == "cosine" else logits

    def loss_fn(params, batch, key):
        scores = scores_of(params, of(params, batch, key), batch.get("classes"))
        return cross_entropy(scores, batch["label"], batch.get("weight"), smoothing)

    return loss_fn


def query_features(model: Model) -> QueryFn:
    """Makes `(params, support, query) -> float [n, d]`, features without dropout.

    Where the support normalises the query, both are computed together, and only the
    support's images count in the moments.
    """

    def of_query(params, support, query):
        if not model.joint:
            weight = query.get("weight")
            return model.features(params["body"], query["image"], weight, None)
        images = jnp.concatenate([support["image"], query["image"]])
        seen = support.get("weight", jnp.ones(len(support["image"])))
        weight = jnp.concatenate([seen, jnp.zeros(len(query["image"]))])
        both = model.features(params["body"], images, weight, None)
        return both[len(support["image"]) :]

    return of_query


def query_loss(model: Model, left_out: ClosedFormFn | None = None) -> QueryLossFn:
    """Makes the outer loss: `(params, support, query, key) -> (loss, metrics)`.

    With `left_out` the loss averages over the support's images, too. The head that is
    fitted to all others scores each of them. Metrics are of the query alone.
    """
    of_query, of_batch = query_features(model), features(model)

    def loss_of(params, support, query, key):
        scores = logits(params, of_query(params, support, query), query.get("classes"))
        loss, metrics = cross_entropy(scores, query["label"], query.get("weight"))
        if left_out is None:
            return loss, metrics
        x, labels = of_batch(params, support, None), support["label"]
        way = params["head"]["bias"].shape[0]
        scores = left_out_scores(left_out, params["body"], x, labels, way)
        of_support, _ = cross_entropy(scores, labels)
        counts = len(query["label"]), len(labels)
        loss = (counts[0] * loss + counts[1] * of_support) / sum(counts)
        return loss, metrics

    return loss_of


def predict(model: Model) -> QueryFn:
    """Makes `(params, support, query) -> float [n, way]`, class probabilities."""
    of_query = query_features(model)
    return lambda params, support, query: jax.nn.softmax(
        logits(params, of_query(params, support, query), query.get("classes"))
    )
