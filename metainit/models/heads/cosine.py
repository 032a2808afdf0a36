"""The head of cosines to class means, times a factor."""

import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax
from sklearn.preprocessing import normalize

from metainit.models.head import Classifier, Head, started_by
from metainit.models.heads.prototype import class_means


def closed_form(body, features, labels, way, weight):
    """Compares cosines to the means of classes: a `ClosedFormFn`.

    Meta-Baseline (Chen et al. 2021, arXiv:2003.04390, eq. 3). Features are those of
    `metainit.models.wrappers.unit_length`, whose learned factor s makes the scores s^2
    times the cosine.
    """
    means = class_means(features, labels, way, weight)
    length = jnp.sqrt(jnp.sum(jnp.square(means), -1, keepdims=True) + 1e-12)
    kernel = jnp.exp(body["log_scale"]) * (means / length).T
    return {"kernel": kernel, "bias": jnp.zeros(way, kernel.dtype)}


def classify(
    support: np.ndarray, labels: np.ndarray, query: np.ndarray, scale: float
) -> np.ndarray:
    """Compares cosines to the means of classes: a `ClassifyFn`.

    The factor is `scale`, which changes the loss and not the prediction.
    """
    support, query = normalize(support), normalize(query)
    classes = np.unique(labels)
    means = normalize(np.stack([support[labels == c].mean(0) for c in classes]))
    return log_softmax(scale * query @ means.T, axis=-1)


COSINE = Head("cosine", start=started_by(closed_form), closed_form=closed_form)
NEAREST_CENTROID = Head(
    "nearest centroid",
    classifier=Classifier(
        classify, lambda section: [{"scale": x} for x in section.centroid_scales]
    ),
)
