"""The head of multinomial logistic regression, by scikit-learn."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import normalize

from metainit.models.head import Classifier, Fitting, Head


def classify(
    support: np.ndarray, labels: np.ndarray, query: np.ndarray, inverse_penalty: float
) -> np.ndarray:
    """Classifies by logistic regression: a `ClassifyFn` of scikit-learn's C."""
    model = _model(normalize(support), labels, inverse_penalty)
    return model.predict_log_proba(normalize(query))


def fit(
    features: np.ndarray, labels: np.ndarray, way: int, inverse_penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Fits logistic regression: a `FitFn` of scikit-learn's C."""
    model = _model(features, labels, inverse_penalty)
    kernel, bias = model.coef_.T, model.intercept_
    if way == 2:  # where scikit-learn has the second class's score alone
        kernel, bias = np.pad(kernel, ((0, 0), (1, 0))), np.pad(bias, (1, 0))
    return kernel, bias


def _model(
    features: np.ndarray, labels: np.ndarray, inverse_penalty: float
) -> LogisticRegression:
    return LogisticRegression(C=inverse_penalty, max_iter=1000).fit(features, labels)


LOGISTIC_REGRESSION = Head(
    "logistic regression",
    classifier=Classifier(
        classify, lambda section: [{"C": x} for x in section.inverse_penalties]
    ),
    fitting=Fitting(fit, strengths=(0.1, 0.03, 0.3, 1.0, 0.01)),
)
