"""Metrics against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from metainit.evaluation.metrics import calibration_error, macro_f1


@pytest.mark.parametrize("way", [2, 5, 20])
def test_macro_f1_is_that_of_scikit_learn(way):
    """Labels [episodes, n] of predictions [steps, episodes, n]."""
    rng = np.random.default_rng(way)
    labels = rng.integers(0, way, (40, 15))
    some_right = np.where(rng.random((40, 15)) < 0.5, labels, 0)
    # All right, and most classes never predicted, too.
    predictions = np.stack([some_right, labels, np.zeros_like(labels)])
    f1 = macro_f1(labels, predictions, way)
    about = {"average": "macro", "zero_division": 0, "labels": range(way)}
    for step, episode in np.ndindex(3, 40):
        wanted = f1_score(labels[episode], predictions[step, episode], **about)
        assert f1[step, episode] == pytest.approx(wanted, abs=1e-12)


def test_calibration_error_by_hand():
    """Bins of a fifth: (0.4, 0.6] has 0.6 wrong and 0.5 right, (0.8, 1] has 0.9."""
    for chances, labels, expected in (
        ([0.6, 0.5, 0.1], [1, 0, 1], 2 / 3 * abs(0.5 - 0.55) + 1 / 3 * abs(1 - 0.9)),
        # The edge 0.6 belongs to the bin below it.
        ([0.6, 0.61], [1, 0], (0.6 + 0.39) / 2),
    ):
        probabilities = np.stack([chances, 1 - np.array(chances)], 1)
        found = calibration_error(probabilities, np.array(labels), bins=5)
        assert found == pytest.approx(expected, abs=1e-12)
    assert calibration_error(np.eye(3), np.arange(3)) == 0
    assert np.isnan(calibration_error(np.full((2, 2), np.nan), np.zeros(2, int)))
