"""The rules by which a training is told to be unwell."""

import numpy as np
import pytest

from metainit.training import health

CHANCE = np.log(20)


@pytest.mark.parametrize(
    "losses",
    [
        [CHANCE] * 5,  # features are all zero
        [np.float32(CHANCE), *[CHANCE - 1e-6] * 4],
        [1e9, 3e8, 2e9, 8e8, 1e9],
        [3.3, 3.2, 3.3, 3.1, 3.2],
    ],
)
def test_a_loss_that_stays_above_chance_is_stuck(losses):
    assert health.is_stuck(losses, CHANCE)


@pytest.mark.parametrize(
    "losses",
    [
        [2.97, 2.95, 2.94, 2.96, 2.93],  # slow, but better than a guess
        [3.2, 3.1, 3.05, 3.0, 2.98],  # it has just come below
        [12.0, 10.0, 8.5, 7.0, 6.0],  # saturated scores that become smaller
        # Shuffled labels of 1347 classes, relative to 20: they are learned by heart.
        *np.array([[7.209, 7.201, 7.19, 7.168, 7.132], [7.21, 7.203, 7.19, 7.2, 7.2]])
        * (CHANCE / np.log(1347)),
    ],
)
def test_one_that_falls_or_is_below_chance_is_not(losses):
    assert not health.is_stuck(losses, CHANCE)


def test_a_window_is_a_tenth_within_bounds():
    assert [health.window(x) for x in (1, 16, 200, 500, 10**5)] == [5, 5, 20, 50, 50]
