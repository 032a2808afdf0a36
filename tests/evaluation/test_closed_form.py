"""Heads in closed form tell clusters apart, whatever the length of features."""

import numpy as np
import pytest
from sklearn.preprocessing import normalize

from metainit.evaluation import closed_form

RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(3, 6))  # the centres of three clusters
LABELS = np.repeat(np.arange(3), 4)
SUPPORT = QUERY[LABELS] + 0.1 * RNG.normal(size=(12, 6))


SETTINGS = {
    "nearest centroid": (10.0,),
    "logistic regression": (10.0,),
    "ridge": (0.1, 10.0),
}


@pytest.mark.parametrize("name", closed_form.HEADS)
def test_heads_in_closed_form_tell_clusters_apart(name):
    head, setting = closed_form.HEADS[name], SETTINGS[name]
    chances = np.exp(head(SUPPORT, LABELS, QUERY, *setting))
    np.testing.assert_allclose(chances.sum(-1), 1)
    np.testing.assert_array_equal(chances.argmax(-1), [0, 1, 2])
    longer = np.exp(head(3 * SUPPORT, LABELS, 5 * QUERY, *setting))
    np.testing.assert_allclose(longer, chances, rtol=1e-4)


def test_the_scale_of_centroids_changes_the_loss_only():
    soft, sharp = (
        closed_form.nearest_centroid(SUPPORT, LABELS, QUERY, scale)
        for scale in (1.0, 30.0)
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
    found = np.exp(closed_form.ridge(x, labels, query, 0.3, 7.0))
    np.testing.assert_allclose(found, wanted, rtol=1e-8)


@pytest.mark.parametrize("name", closed_form.HEADS)
def test_the_order_of_labels_changes_no_prediction(name):
    """Nor that of images, though classes differ in size."""
    labels = np.repeat(np.arange(4), (1, 2, 3, 4))
    support, query = RNG.normal(size=(10, 6)), RNG.normal(size=(50, 6))
    head, renamed = closed_form.HEADS[name], np.array([2, 0, 3, 1])
    first = head(support, labels, query, *SETTINGS[name])
    rows = RNG.permutation(10)
    other = head(support[rows], renamed[labels[rows]], query, *SETTINGS[name])
    np.testing.assert_array_equal(renamed[first.argmax(1)], other.argmax(1))
    np.testing.assert_allclose(other[:, renamed], first, rtol=1e-2, atol=1e-3)
