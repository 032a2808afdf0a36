"""A linear head as one value: where a task starts, and how it is fitted.

Parameters are dicts {"body": ..., "head": {"kernel": [d, way], "bias": [way]}}.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metainit.config.fields import Evaluate, Transfer
from metainit.core.types import Batch, Key, Params

# `(params, batch, key) -> float [n, d]`.
BatchFeaturesFn = Callable[[Params, Batch, Key | None], jax.Array]
# `(params, support, key) -> params` with a head.
StartFn = Callable[[Params, Batch, Key | None], Params]
# `(body, features [n, d], labels int [n], way, weight [n] or None) -> head`, in closed
# form; the outer gradient flows through it. An image of weight 0 counts for nothing.
ClosedFormFn = Callable[[Params, jax.Array, jax.Array, int, jax.Array | None], Params]
# `(support [n, d], labels int [n], query [m, d], *setting) -> log-probabilities`, float
# [m, way]. Every class of 0..way-1 is among the labels. Features of any length will do:
# they are scaled to unit length.
ClassifyFn = Callable[..., np.ndarray]
# `(features [n, d], labels int [n], way, strength) -> kernel [d, way], bias [way]`. The
# features are centred and have one spread together.
FitFn = Callable[[np.ndarray, np.ndarray, int, float], tuple[np.ndarray, np.ndarray]]


class Steps(NamedTuple):
    """How steps on a whole data set learn a head.

    Attributes:
      start: the head before the first step.
      probe: the share of the steps, the first ones, that change the head alone.
    """

    start: Literal["zero", "prototype"]
    probe: float = 0.0


class Classifier(NamedTuple):
    """How a head is solved for features that stay, of episodes and whole data sets.

    Attributes:
      grid: `(section) -> settings` to try, by name. Their values are the last arguments
        of `classify`.
    """

    classify: ClassifyFn
    grid: Callable[[Evaluate | Transfer], list[dict[str, Any]]]


class Fitting(NamedTuple):
    """How `metainit finetune` fits a head, which it compares by cross-validation.

    Attributes:
      strengths: what `fit` is tried with. The first is left only for a better one.
    """

    fit: FitFn
    strengths: tuple[float, ...]


class Head(NamedTuple):
    """A linear head, defined once for every place that uses it.

    A field is None where the head is not used in that way.

    Attributes:
      name: what configurations and reports call it.
      start: `(features, way) -> StartFn`, the head that a task has before inner steps.
      closed_form: the solution in JAX that a task starts with.
    """

    name: str
    start: Callable[[BatchFeaturesFn, int], StartFn] | None = None
    closed_form: ClosedFormFn | None = None
    steps: Steps | None = None
    classifier: Classifier | None = None
    fitting: Fitting | None = None


def started_by(
    closed_form: ClosedFormFn,
) -> Callable[[BatchFeaturesFn, int], StartFn]:
    """Makes `Head.start` of a closed form: its solution on the support's features."""

    def start_of(features: BatchFeaturesFn, way: int) -> StartFn:
        def start(params, support, key):
            x = features(params, support, key)
            labels, weight = support["label"], support.get("weight")
            head = closed_form(params["body"], x, labels, way, weight)
            return {**params, "head": head}

        return start

    return start_of


def left_out_scores(
    closed_form: ClosedFormFn,
    body: Params,
    features: jax.Array,
    labels: jax.Array,
    way: int,
) -> jax.Array:
    """Scores each image by the head that all the others give, float [n, way].

    So every image of a support is a query, too: a split wastes images (Laenen &
    Bertinetto 2021, arXiv:2012.09831). A class of features [n, d] and labels int [n]
    needs two images to be known without one of them.
    """

    def scores(number):
        weight = (jnp.arange(len(features)) != number).astype(features.dtype)
        head = closed_form(body, features, labels, way, weight)
        return features[number] @ head["kernel"] + head["bias"]

    return jax.vmap(scores)(jnp.arange(len(features)))


def is_head(path: tuple, leaf: Any) -> bool:
    """Masks the head's leaves, for `metainit.anil` and `metainit.boil`."""
    return getattr(path[0], "key", None) == "head"
