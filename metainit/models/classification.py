"""Image classification on a `Model` and a linear head, as losses for the pure layer.

Batches are dicts: "image" [n, height, width, c], "label" int [n], optionally "weight"
[n] (0: padding) and "classes" bool [way] (False: the task lacks it, its score is -inf).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from metainit.core.types import Batch, Key, LossFn, Metrics, Params
from metainit.models.heads import BatchFeaturesFn
from metainit.models.model import LeafMask, Model

# `(params, support, query) -> float [n, ...]`, of the query's images.
QueryFn = Callable[[Params, Batch, Batch], jax.Array]
# `(params, support, query, key) -> (loss, metrics)`.
QueryLossFn = Callable[[Params, Batch, Batch, Key], tuple[jax.Array, Metrics]]


def features(model: Model) -> BatchFeaturesFn:
    """Makes `(params, batch, key) -> float [n, d]`, of a batch seen by itself."""
    return lambda params, batch, key: model.features(
        params["body"], batch["image"], batch.get("weight"), key
    )


def with_head(of_body: LeafMask | None) -> LeafMask | None:
    """Masks the head too, with what a mask of the body does; None masks all."""
    if of_body is None:
        return None
    return lambda path, leaf: path[0].key != "body" or of_body(path[1:], leaf)


def feature_count(
    model: Model, body: Params, images: jax.Array | jax.ShapeDtypeStruct
) -> int:
    """Finds d of features of images [n, height, width, c] without computing any."""

    def count(body, images):
        encoded = images if model.encode is None else model.encode(body, images)
        return model.features(body, encoded, None, None)

    return jax.eval_shape(count, body, images).shape[-1]


def logits(
    params: Params, features: jax.Array, classes: jax.Array | None = None
) -> jax.Array:
    """Scores features [n, d] to [n, way], -inf where bool `classes` [way] is False."""
    scores = features @ params["head"]["kernel"] + params["head"]["bias"]
    return scores if classes is None else jnp.where(classes, scores, -jnp.inf)


def cross_entropy(
    scores: jax.Array, labels: jax.Array, weight: jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Averages cross-entropy in nats and {"accuracy": 0..1} of scores [n, way]."""
    losses = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
    hits = (jnp.argmax(scores, -1) == labels).astype(losses.dtype)
    if weight is None:
        return jnp.mean(losses), {"accuracy": jnp.mean(hits)}
    share = weight / jnp.sum(weight)
    return jnp.vdot(share, losses), {"accuracy": jnp.vdot(share, hits)}


def _judged(params: Params, features: jax.Array, batch: Batch) -> tuple:
    scores = logits(params, features, batch.get("classes"))
    return cross_entropy(scores, batch["label"], batch.get("weight"))


def loss_fn(model: Model) -> LossFn:
    """Makes the support loss: `(params, batch, key) -> (loss, metrics)`."""
    of = features(model)
    return lambda params, batch, key: _judged(params, of(params, batch, key), batch)


def query_features(model: Model) -> QueryFn:
    """Makes `(params, support, query) -> float [n, d]` of the query, without dropout.

    A query that is normalised by its support is computed together with it, the
    support's images alone counting in the moments.
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


def query_loss(model: Model) -> QueryLossFn:
    """Makes the outer loss: `(params, support, query, key) -> (loss, metrics)`."""
    of_query = query_features(model)
    return lambda params, support, query, key: _judged(
        params, of_query(params, support, query), query
    )


def predict(model: Model) -> QueryFn:
    """Makes `(params, support, query) -> float [n, way]`, class probabilities."""
    of_query = query_features(model)
    return lambda params, support, query: jax.nn.softmax(
        logits(params, of_query(params, support, query), query.get("classes"))
    )
