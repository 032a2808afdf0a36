"""Heads that are fitted to a task's support features without gradient steps."""

from collections.abc import Callable

import numpy as np
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

# (support [n, d], labels [n], query [m, d], setting) -> log-probabilities [m, way]
Head = Callable[[np.ndarray, np.ndarray, np.ndarray, float], np.ndarray]


def nearest_centroid(
    support: np.ndarray, labels: np.ndarray, query: np.ndarray, scale: float
) -> np.ndarray:
    """Cosine similarity to the class means of unit-length features.

    Args:
      support: float [n, d].
      labels: int [n], every class of 0..way-1 present.
      query: float [m, d].
      scale: what similarities are multiplied by; changes the loss, not the prediction.

    Returns:
      Log-probabilities, float [m, way].
    """
    support, query = normalize(support), normalize(query)
    classes = np.unique(labels)
    means = normalize(np.stack([support[labels == c].mean(0) for c in classes]))
    return log_softmax(scale * query @ means.T, axis=-1)


def logistic_regression(
    support: np.ndarray, labels: np.ndarray, query: np.ndarray, inverse_penalty: float
) -> np.ndarray:
    """Multinomial logistic regression on unit-length features (scikit-learn).

    Args:
      support: float [n, d].
      labels: int [n], every class of 0..way-1 present.
      query: float [m, d].
      inverse_penalty: scikit-learn's C.

    Returns:
      Log-probabilities, float [m, way].
    """
    fitted = LogisticRegression(C=inverse_penalty, max_iter=1000)
    fitted.fit(normalize(support), labels)
    return fitted.predict_log_proba(normalize(query))
