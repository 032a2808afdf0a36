"""Image classification on a `Model` and a linear head, as losses for the pure layer.

Batches are dicts: "image" float32 [n, height, width, c], "label" int [n], optionally
"weight" float32 [n] (0 for padding) and "classes" bool [way] (False for a class that
the task does not have: its score is -inf).
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
    """`(params, batch, key) -> float [n, d]`: features of a batch seen by itself."""
    return lambda params, batch, key: model.features(
        params["body"], batch["image"], batch.get("weight"), key
    )


def adapt_mask(model: Model) -> LeafMask | None:
    """Mask of what inner steps change: the head, and of the body what adapts."""
    return _with_head(model.adapts)


def meta_mask(model: Model) -> LeafMask | None:
    """Mask of what training changes: the head, and of the body what is learned."""
    return _with_head(model.learns)


def _with_head(of_body: LeafMask | None) -> LeafMask | None:
    if of_body is None:
        return None
    return lambda path, leaf: path[0].key != "body" or of_body(path[1:], leaf)


def feature_count(
    model: Model, body: Params, images: jax.Array | jax.ShapeDtypeStruct
) -> int:
    """Length d of features of images [n, height, width, c]; computes none of them."""

    def count(body, images):
        encoded = images if model.encode is None else model.encode(body, images)
        return model.features(body, encoded, None, None)

    return jax.eval_shape(count, body, images).shape[-1]


def logits(
    params: Params, features: jax.Array, classes: jax.Array | None = None
) -> jax.Array:
    """The linear head's scores [n, way] of features [n, d].

    Where `classes`, bool [way], is given, the scores of the others are -inf.
    """
    scores = features @ params["head"]["kernel"] + params["head"]["bias"]
    return scores if classes is None else jnp.where(classes, scores, -jnp.inf)


def cross_entropy(
    scores: jax.Array, labels: jax.Array, weight: jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Mean softmax cross-entropy and accuracy.

    Args:
      scores: float [n, way].
      labels: int [n].
      weight: float [n] or None for equal weights.

    Returns:
      Scalar loss in nats, and {"accuracy": scalar in 0..1}.
    """
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
    """The support loss: `(params, batch, key) -> (loss, metrics)`."""
    of_batch = features(model)
    return lambda params, batch, key: _judged(
        params, of_batch(params, batch, key), batch
    )


def query_features(model: Model) -> QueryFn:
    """`(params, support, query) -> float [n, d]`: the query's features, no dropout.

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
    """The outer loss: `(params, support, query, key) -> (loss, metrics)`."""
    of_query = query_features(model)
    return lambda params, support, query, key: _judged(
        params, of_query(params, support, query), query
    )


def predict(model: Model) -> QueryFn:
    """`(params, support, query) -> float [n, way]`: class probabilities (softmax)."""
    of_query = query_features(model)
    return lambda params, support, query: jax.nn.softmax(
        logits(params, of_query(params, support, query), query.get("classes"))
    )
