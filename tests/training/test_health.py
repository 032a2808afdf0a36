"""The rules by which a training is told to be unwell."""

import numpy as np
import pytest

from metainit.training import health

CHANCE = np.log(20)
FIVE = (5, 5)


@pytest.mark.parametrize(
    "losses",
    [
        [CHANCE] * 5,  # features are all zero
        [np.float32(CHANCE), *[CHANCE - 1e-6] * 4],
        [1e9, 3e8, 2e9, 8e8, 1e9],
        [3.3, 3.2, 3.3, 3.1, 3.2],
        [2.0, 2.0, 3.3, 3.2, 3.3, 3.1, 3.2],  # of late
    ],
)
def test_a_loss_that_stays_above_chance_is_stuck(losses):
    assert health.is_stuck(losses, CHANCE, FIVE)
    assert not health.is_stuck(losses[-4:], CHANCE, FIVE)


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
    assert not health.is_stuck(losses, CHANCE, FIVE)


def test_near_chance_more_lines_decide_than_far_above_it():
    """Joint pretraining of 1347 classes, 5 steps a line, begins with zeros."""
    chance, begin = np.log(1347), [7.207, 7.213, 7.22, 7.225, 7.21, 7.19, 7.178, 7.117]
    for lines in range(1, 9):
        assert not health.is_stuck(begin[:lines], chance, (5, 8))
    assert health.is_stuck([11.0] * 5, chance, (5, 8))
    assert not health.is_stuck([7.3] * 7, chance, (5, 8))
    assert health.is_stuck([7.3] * 8, chance, (5, 8))


@pytest.mark.parametrize(
    "steps, every, wanted",
    [
        (4000, 200, (5, 5)),
        (1000, 20, (5, 25)),
        (5000, 20, (25, 25)),
        (60000, 20, (50, 50)),
        (150, 5, (10, 100)),
        (8, 1, (50, 500)),
    ],
)
def test_windows_are_a_tenth_within_bounds_and_steps_enough(steps, every, wanted):
    assert health.windows(steps, every) == wanted
