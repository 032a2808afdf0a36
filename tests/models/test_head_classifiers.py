"""Heads in closed form tell clusters apart, whatever the length of features."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.preprocessing import normalize

from metainit.models.heads import CLASSIFIERS, cosine, ridge

RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(3, 6))  # the centres of three clusters
LABELS = np.repeat(np.arange(3), 4)
SUPPORT = QUERY[LABELS] + 0.1 * RNG.normal(size=(12, 6))


SETTINGS = {
    "nearest centroid": (10.0,),
    "logistic regression": (10.0,),
    "ridge": (0.1, 10.0),
}


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_heads_in_closed_form_tell_clusters_apart(name):
    head, setting = CLASSIFIERS[name].classify, SETTINGS[name]
    chances = np.exp(head(SUPPORT, LABELS, QUERY, *setting))
    np.testing.assert_allclose(chances.sum(-1), 1)
    np.testing.assert_array_equal(chances.argmax(-1), [0, 1, 2])
    longer = np.exp(head(3 * SUPPORT, LABELS, 5 * QUERY, *setting))
    np.testing.assert_allclose(longer, chances, rtol=1e-4)


def test_the_scale_of_centroids_changes_the_loss_only():
    soft, sharp = (
        cosine.classify(SUPPORT, LABELS, QUERY, scale) for scale in (1.0, 30.0)
    )
    np.testing.assert_array_equal(soft.argmax(-1), sharp.argmax(-1))
    assert (sharp.max(-1) > soft.max(-1)).all()


@pytest.mark.parametrize("count", [3, 12, 40])
def test_ridge_is_its_closed_form(count):
    """(X'X + aI)^-1 X'Y of what is centred; with fewer images than features, too."""
    labels = np.arange(count) % 3
    x, query = (normalize(RNG.normal(size=(n, 6))) for n in (count, 9))
    y, centred = np.eye(3)[labels], x - x.mean(0)
    gram = centred.T @ centred + 0.3 * np.eye(6)
    kernel = np.linalg.inv(gram) @ centred.T @ (y - y.mean(0))
    scores = 7 * ((query - x.mean(0)) @ kernel + y.mean(0))
    wanted = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    found = np.exp(ridge.classify(x, labels, query, 0.3, 7.0))
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


def test_the_uses_of_ridge_share_one_solution(x64):
    """Of centred features and targets all give one kernel, at one penalty."""
    labels, width = np.arange(12) % 3, 6
    x = RNG.normal(size=(12, width))
    x -= x.mean(0)
    kernel, bias = ridge.fit(x, labels, 3, 0.3 / width)
    targets = np.eye(3)[labels] - bias
    dual = ridge.regularised(jnp.asarray(x), jnp.asarray(targets), 0.3)
    np.testing.assert_allclose(x.T @ dual, kernel, rtol=1e-9)
    of_width = ridge.regularised(x.T, x.T @ targets, 0.3)
    np.testing.assert_allclose(of_width, kernel, rtol=1e-9)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_the_order_of_labels_changes_no_prediction(name):
    """Nor that of images, though classes differ in size."""
    labels = np.repeat(np.arange(4), (1, 2, 3, 4))
    support, query = RNG.normal(size=(10, 6)), RNG.normal(size=(50, 6))
    head, renamed = CLASSIFIERS[name].classify, np.array([2, 0, 3, 1])
    first = head(support, labels, query, *SETTINGS[name])
    rows = RNG.permutation(10)
    other = head(support[rows], renamed[labels[rows]], query, *SETTINGS[name])
    np.testing.assert_array_equal(renamed[first.argmax(1)], other.argmax(1))
    np.testing.assert_allclose(other[:, renamed], first, rtol=1e-2, atol=1e-3)
