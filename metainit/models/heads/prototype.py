"""The head of squared distances to class means.

ProtoMAML (Triantafillou et al. 2020, arXiv:1903.03096, eq. 5).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metainit.models.head import Fitting, Head, Steps, started_by


def closed_form(body, features, labels, way, weight):
    """Compares squared distances to the means of classes: a `ClosedFormFn`."""
    kernel, bias = linear(class_means(features, labels, way, weight))
    return {"kernel": kernel, "bias": bias}


def fit(
    features: np.ndarray, labels: np.ndarray, way: int, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compares squared distances over d, times `scale`: a `FitFn`."""
    means = np.stack([features[labels == label].mean(0) for label in range(way)])
    return linear(means, scale / features.shape[1])


def linear(means: Any, scale: float = 1.0) -> tuple[Any, Any]:
    """Makes kernel 2c and bias -|c|^2 of class means c [way, d], both times `scale`.

    Up to a constant their scores are negative squared distances. It takes arrays of
    JAX and of NumPy.
    """
    arrays = means.__array_namespace__()
    return 2 * scale * means.T, -scale * arrays.square(means).sum(-1)


def class_means(
    features: jax.Array, labels: jax.Array, way: int, weight: jax.Array | None = None
) -> jax.Array:
    """Averages features [n, d] by class, to [way, d]; zero for one without examples."""
    member = jax.nn.one_hot(labels, way, dtype=features.dtype)  # [n, way]
    if weight is not None:
        member = member * weight[:, None]
    count = jnp.maximum(jnp.sum(member, 0), 1e-9)
    return (member.T @ features) / count[:, None]


PROTOTYPE = Head(
    "prototype",
    start=started_by(closed_form),
    closed_form=closed_form,
    steps=Steps("prototype"),
)
NEAREST_MEAN = Head("nearest mean", fitting=Fitting(fit, strengths=(1.0,)))
