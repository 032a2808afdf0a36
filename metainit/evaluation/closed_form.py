"""Heads that are fitted to a task's support features without gradient steps."""

from collections.abc import Callable

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

Head = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]
"""`(support, labels, query, setting) -> log-probabilities`, float [m, way].

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
