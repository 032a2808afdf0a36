"""The head of ridge regression towards one-hot labels.

One solution serves three uses. A task starts without an intercept, at a learned
penalty. Episodes have an intercept and features of unit length. `metainit finetune`
has an intercept, and a penalty that grows with the number of features.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from scipy.special import log_softmax
from sklearn.preprocessing import normalize

from metainit.config.fields import Evaluate, Transfer
from metainit.models.head import Classifier, Fitting, Head, started_by


def regularised(
    a: Any, b: Any, penalty: Any, solve: Callable[[Any, Any], Any] | None = None
) -> Any:
    """Computes (A A' + penalty I)^-1 B, of arrays of JAX or of NumPy.

    With images X [n, d] and targets Y [n, way], the kernel of ridge regression is X'
    times that of A = X and B = Y, a system of n equations. It is also that of A = X'
    and B = X' Y, a system of d.

    Args:
      solve: solves a linear system, by default the `linalg.solve` of the arrays.
    """
    arrays = a.__array_namespace__()
    gram = a @ a.T + penalty * arrays.eye(len(a), dtype=b.dtype)
    return (solve or arrays.linalg.solve)(gram, b)


def closed_form(body, features, labels, way, weight):
    """Solves the ridge regression of one-hot labels: a `ClosedFormFn`.

    R2D2 (Bertinetto et al. 2019, arXiv:1805.08136, eq. 6). With features s u of
    `metainit.models.wrappers.unit_length` and its learned penalty l, the scores of a
    query v are s^2 v' U' (U U' + l I)^-1 Y.
    """
    scale, penalty = (jnp.exp(body[name]) for name in ("log_scale", "log_penalty"))
    units, targets = features / scale, jax.nn.one_hot(labels, way, dtype=features.dtype)
    if weight is not None:
        root = jnp.sqrt(weight)[:, None]
        units, targets = units * root, targets * root
    dual = regularised(units, targets, penalty)
    kernel = scale * units.T @ dual
    return {"kernel": kernel, "bias": jnp.zeros(way, kernel.dtype)}


def classify(
    support: np.ndarray,
    labels: np.ndarray,
    query: np.ndarray,
    penalty: float,
    scale: float,
) -> np.ndarray:
    """Classifies by ridge regression with intercepts: a `ClassifyFn`.

    What it predicts of a query, about 1 for its class and 0 for others, is multiplied
    by `scale`, which changes the loss and not the prediction.
    """
    support, query = (normalize(x.astype(np.float64)) for x in (support, query))
    centre = support.mean(0)
    x, targets, bias = support - centre, *_centred_targets(labels, labels.max() + 1)
    # By hand: scikit-learn checks its arguments for longer than an episode's fit takes.
    if len(x) > x.shape[1]:
        kernel = regularised(x.T, x.T @ targets, penalty)
    else:
        kernel = x.T @ regularised(x, targets, penalty)
    return log_softmax(scale * ((query - centre) @ kernel + bias), axis=-1)


def fit(
    features: np.ndarray, labels: np.ndarray, way: int, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fits ridge regression with `penalty` times d on the kernel: a `FitFn`."""
    targets, bias = _centred_targets(labels, way)
    cholesky = functools.partial(scipy.linalg.solve, assume_a="pos")
    dual = regularised(features, targets, penalty * features.shape[1], cholesky)
    return features.T @ dual, bias


def _centred_targets(labels: np.ndarray, way: int) -> tuple[np.ndarray, np.ndarray]:
    """Gives one-hot labels minus their means, [n, way], and these means, [way]."""
    targets = np.eye(way)[labels]
    means = targets.mean(0)
    return targets - means, means


def _grid(section: Evaluate | Transfer) -> list[dict[str, float]]:
    pairs = itertools.product(section.ridge_penalties, section.centroid_scales)
    return [{"penalty": penalty, "scale": scale} for penalty, scale in pairs]


RIDGE = Head(
    "ridge",
    start=started_by(closed_form),
    closed_form=closed_form,
    classifier=Classifier(classify, _grid),
    fitting=Fitting(fit, strengths=(1.0, 3.0, 0.3, 0.1)),
)
