"""Heads that are fitted to a task's support features without gradient steps."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from metainit.config.fields import Evaluate, Transfer

Head = Callable[..., np.ndarray]
"""`(support, labels, query, *setting) -> log-probabilities`, float [m, way].

Support and query are features, float [n, d] and [m, d], which are scaled to unit
length; labels are int [n], every class of 0..way-1 among them.
"""


def nearest_centroid(
    support: np.ndarray, labels: np.ndarray, query: np.ndarray, scale: float
) -> np.ndarray:
    """A `Head`: cosine similarity to the class means of unit-length features.

    It is multiplied by `scale`, which changes the loss and not the prediction.
    """
    support, query = normalize(support), normalize(query)
    classes = np.unique(labels)
    means = normalize(np.stack([support[labels == c].mean(0) for c in classes]))
    return log_softmax(scale * query @ means.T, axis=-1)


def logistic_regression(
    support: np.ndarray, labels: np.ndarray, query: np.ndarray, inverse_penalty: float
) -> np.ndarray:
    """A `Head`: multinomial logistic regression; the setting is scikit-learn's C."""
    fitted = LogisticRegression(C=inverse_penalty, max_iter=1000)
    fitted.fit(normalize(support), labels)
    return fitted.predict_log_proba(normalize(query))


def ridge(
    support: np.ndarray,
    labels: np.ndarray,
    query: np.ndarray,
    penalty: float,
    scale: float,
) -> np.ndarray:
    """A `Head`: ridge regression, with intercepts, towards one-hot labels.

    What it predicts of a query, about 1 for its class and 0 for others, is multiplied
    by `scale`, which changes the loss and not the prediction.
    """
    support, query = (normalize(x.astype(np.float64)) for x in (support, query))
    wanted = np.eye(labels.max() + 1)[labels]
    centre, means = support.mean(0), wanted.mean(0)
    x, y = support - centre, wanted - means
    count, features = x.shape
    # By hand: scikit-learn checks its arguments for longer than an episode's fit takes.
    if count > features:
        kernel = np.linalg.solve(x.T @ x + penalty * np.eye(features), x.T @ y)
    else:
        kernel = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(count), y)
    return log_softmax(scale * ((query - centre) @ kernel + means), axis=-1)


HEADS: Mapping[str, Head] = {
    "nearest centroid": nearest_centroid,
    "logistic regression": logistic_regression,
    "ridge": ridge,
}


def grid(section: Evaluate | Transfer) -> dict[str, list[dict[str, Any]]]:
    """Lists what each of `HEADS` is tried with, in the order of its arguments."""
    pairs = itertools.product(section.ridge_penalties, section.centroid_scales)
    return {
        "nearest centroid": [{"scale": x} for x in section.centroid_scales],
        "logistic regression": [{"C": x} for x in section.inverse_penalties],
        "ridge": [{"penalty": x, "scale": scale} for x, scale in pairs],
    }
