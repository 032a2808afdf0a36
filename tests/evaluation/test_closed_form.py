"""Heads in closed form tell clusters apart, whatever the length of features."""

import numpy as np
import pytest

from metainit.evaluation import closed_form

RNG = np.random.default_rng(0)
QUERY = RNG.normal(size=(3, 6))  # the centres of three clusters
LABELS = np.repeat(np.arange(3), 4)
SUPPORT = QUERY[LABELS] + 0.1 * RNG.normal(size=(12, 6))


@pytest.mark.parametrize(
    "head", [closed_form.nearest_centroid, closed_form.logistic_regression]
)
def test_heads_in_closed_form_tell_clusters_apart(head):
    chances = np.exp(head(SUPPORT, LABELS, QUERY, 10.0))
    np.testing.assert_allclose(chances.sum(-1), 1)
    np.testing.assert_array_equal(chances.argmax(-1), [0, 1, 2])
    longer = np.exp(head(3 * SUPPORT, LABELS, 5 * QUERY, 10.0))
    np.testing.assert_allclose(longer, chances, rtol=1e-4)


def test_the_scale_of_centroids_changes_the_loss_only():
    soft, sharp = (
        closed_form.nearest_centroid(SUPPORT, LABELS, QUERY, scale)
        for scale in (1.0, 30.0)
    )
    np.testing.assert_array_equal(soft.argmax(-1), sharp.argmax(-1))
    assert (sharp.max(-1) > soft.max(-1)).all()
