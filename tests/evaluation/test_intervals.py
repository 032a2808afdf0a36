"""Intervals over seeds and episodes: against SciPy, by hand, refusals, and coverage."""

import numpy as np
import pytest
import scipy.stats

from metainit.evaluation.intervals import (
    compare,
    holm,
    mean_interval,
    over_seeds,
    paired_interval,
    wilson,
)


def test_the_interval_over_seeds_is_students():
    table = np.random.default_rng(0).normal(0.02, 0.1, (4, 50))
    expected = scipy.stats.ttest_1samp(table.mean(1), 0)
    interval = over_seeds(table)
    low, high = expected.confidence_interval()
    assert interval[:3] == pytest.approx((table.mean(), low, high))
    assert interval.p == pytest.approx(expected.pvalue)
    # One seed says nothing of the next.
    episodes = table[0]
    low, high = scipy.stats.ttest_1samp(episodes, 0).confidence_interval()
    assert mean_interval(episodes) == pytest.approx((episodes.mean(), low, high))
    assert over_seeds(episodes[None]) == (*mean_interval(episodes), None)
    only = compare({"pets": episodes[None] + 1}, {"pets": episodes[None]})["pets"]
    assert only.low > 0.9
    assert only.p is None and not only.different  # however large


@pytest.mark.parametrize("value, p", [(0.5, 0), (0, 1)])
def test_nothing_varies(value, p):
    assert over_seeds(np.full((3, 9), value)) == (value, value, value, p)
    assert mean_interval(np.full(5, value)) == (value, value, value)
    same = paired_interval(np.full(9, 2 * value), np.full(9, value))
    assert same == (value, value, value, None)


def test_holm_by_hand():
    """In order 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04, raised to the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert holm([0.02]) == pytest.approx([0.02])
    assert len(holm([])) == 0


def test_differences_are_paired_and_corrected_over_data_sets():
    rng = np.random.default_rng(0)
    gains = {"cars": 0.02, "pets": 0.003, "sun": 0.0}
    hard = {name: rng.normal(0.7, 0.2, (5, 300)) for name in gains}  # for both
    first, second = (
        {
            name: hard[name] + sign * gain + rng.normal(0, 0.03, (5, 300))
            for name, gain in gains.items()
        }
        for sign in (1, 0)
    )
    compared = compare(first, second)
    assert compared["cars"].different and not compared["sun"].different
    means = ((first[name].mean(1), second[name].mean(1)) for name in gains)
    raw = [scipy.stats.ttest_rel(*pair).pvalue for pair in means]
    assert [x.p for x in compared.values()] == pytest.approx(holm(raw))
    assert compared["cars"].mean == pytest.approx(0.02, abs=0.005)


def test_paired_intervals_use_the_pairing():
    rng = np.random.default_rng(0)
    episode = rng.normal(0, 0.1, 600)  # how hard each episode is, for both
    a, b = (mean + episode + rng.normal(0, 0.01, 600) for mean in (0.81, 0.80))
    difference = paired_interval(a, b)
    mean, low, high = difference[:3]
    half = 1.96 * np.std(a - b) / np.sqrt(600)
    expected = np.mean(a - b), mean - half, mean + half
    assert (mean, low, high) == pytest.approx(expected, abs=1e-4)
    assert 0 < low < mean < high and paired_interval(b, a).high < 0
    assert paired_interval(a, b) == difference


def test_what_cannot_be_judged():
    table = np.zeros((3, 5))
    for other in ({"pets": np.zeros((3, 6))}, {"sun": table}, {}):
        with pytest.raises(ValueError, match="same data sets, seeds and episodes"):
            compare({"pets": table}, other)
    with pytest.raises(ValueError, match="at least 2 of them"):
        over_seeds(np.ones((1, 1)))
    with pytest.raises(ValueError, match="episodes: 3 against 4"):
        paired_interval(np.ones(3), np.ones(4))


def test_wilsons_interval():
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    np.testing.assert_allclose(wilson(81 / 263, 263), (0.2553, 0.3662), atol=5e-5)
    np.testing.assert_allclose(wilson(0.0, 20), (0.0, 0.1611), atol=5e-5)
