"""Time to threshold against numbers worked out by hand."""

import math

import numpy as np
import pytest
import scipy.stats

from metainit.transfer.time_to_threshold import (
    Curve,
    Time,
    area_over_log_steps,
    common_horizon,
    from_baselines,
    in_words,
    mean_in_words,
    summarise,
    time_to,
)

STEPS = np.array([0, 1, 2, 5, 10])


def got(*values: float) -> list[Time]:
    return [Time(value, True) for value in values]


def test_the_first_point_that_meets_the_threshold() -> None:
    curve = Curve(STEPS, np.array([0.2, 0.5, 0.7, 0.6, 0.9]))
    assert time_to(curve, 0.2) == Time(0, True)
    assert time_to(curve, 0.65) == Time(2, True)  # and it fell again later
    assert time_to(curve, 0.75) == Time(10, True)  # not interpolated
    assert time_to(curve, 0.95) == Time(10, False)
    nan = Curve(STEPS, np.array([0.2, 0.5, *[math.nan] * 3]))  # it diverged
    assert time_to(nan, 0.5) == Time(1, True) and time_to(nan, 0.6) == Time(10, False)
    seconds = Curve(STEPS * 0.5 + 3, curve.accuracy)
    assert time_to(seconds, 0.65) == Time(4, True)


def test_thresholds_are_shares_of_the_best_baseline() -> None:
    found = from_baselines({"random": [0.5, 0.6], "imagenet": [0.8, 0.9, 1.0]})
    assert found.baseline == "imagenet" and found.final == pytest.approx(0.9)
    assert found.values == pytest.approx({0.9: 0.81, 0.95: 0.855, 0.99: 0.891})


def test_without_censoring_it_is_the_mean_with_its_t_interval() -> None:
    values = [1.0, 2.0, 2.0, 5.0, 10.0]
    summary = summarise(got(*values))
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert summary.mean == pytest.approx(4)
    assert (summary.low, summary.high) == pytest.approx((max(0, low), high))
    assert (summary.median, summary.reached, summary.runs) == (2, 5, 5)


def test_a_run_that_never_got_there_counts_up_to_the_horizon() -> None:
    """Reached at 2 and 4, one given up at 10: (2 + 4 + 10) / 3."""
    summary = summarise([*got(2, 4), Time(10, False)])
    assert summary.mean == pytest.approx(16 / 3)
    assert (summary.horizon, summary.median, summary.reached) == (10, 4, 2)
    half = 4.30265 * math.sqrt(np.var([2, 4, 10], ddof=1) / 3)  # t, 2 degrees
    assert summary.low == max(0, 16 / 3 - half)
    assert summary.high == pytest.approx(min(10, 16 / 3 + half))
    shorter = summarise([*got(2, 4), Time(10, False)], horizon=3)
    assert shorter.mean == pytest.approx((2 + 3 + 3) / 3)


def test_kaplan_and_meier_by_hand() -> None:
    """Given up at 3 between those who got there at 2, 4 and 6.

    Survival: 3/4 from 2, 3/4 * 1/2 from 4, 0 from 6. Up to 6 the area is
    2 + 2 * 3/4 + 2 * 3/8 = 4.25; the median is 4.
    """
    times = [*got(2, 4, 6), Time(3, False)]
    summary = summarise(times, horizon=6)
    assert summary.mean == pytest.approx(4.25)
    assert summary.median == 4
    # Areas up to 6 without one run: of 2, 4 + 2 * 1/2; of 4, 2 + 4 * 2/3;
    # of 6, 2 + 2 * 2/3; of the one given up, 2 + 2 * 2/3 + 2 * 1/3.
    pseudo = 17 - 3 * np.array([5, 14 / 3, 10 / 3, 4])
    half = scipy.stats.t.ppf(0.975, 3) * np.std(pseudo, ddof=1) / 2
    assert summary.low == pytest.approx(max(0, 4.25 - half))
    assert summary.high == pytest.approx(min(6, 4.25 + half))


def test_nobody_got_there() -> None:
    times = [Time(10, False), Time(10, False), Time(12, False)]
    summary = summarise(times)
    assert summary == (0, 3, 10, 10, None, None, None)
    assert in_words(times) == "> 10 (0 of 3)"


def test_one_run_has_no_interval() -> None:
    summary = summarise(got(5))
    assert summary == (1, 1, 5, 5, None, None, 5)
    assert in_words(got(5)) == "5" and in_words([Time(1000, False)]) == "> 1,000"


def test_at_least_is_said_where_a_run_did_not_reach() -> None:
    times = [*got(2, 4), Time(10, False)]
    assert in_words(times) == ">= 5.3 up to 10 (2 of 3)"
    assert mean_in_words(summarise(times), True) == ">= 5.3 [0, 10] up to 10"
    assert in_words(got(2, 4)) == "3 (2 of 2)"
    # The horizon is named once where it is the mean as well.
    assert in_words([*got(10), Time(10, False)]) == ">= 10 (1 of 2)"


def test_runs_that_all_are_cut_have_no_interval() -> None:
    """Their pseudo-values are the horizon each, not times that were measured."""
    for times in (
        [Time(500, True), Time(500, False), Time(500, False)],
        [Time(80, True), Time(90, True), Time(30, False)],
    ):
        summary = summarise(times)
        assert summary.mean == summary.horizon and summary.low is summary.high is None
    same = summarise(got(500, 500, 500))
    assert (same.low, same.high) == (500, 500)


def test_horizons() -> None:
    assert common_horizon([got(2, 5), [Time(9, False)], [Time(8, False)]]) == 8
    assert common_horizon([got(2, 5), got(7)]) == 7
    with pytest.raises(ValueError, match="horizon 20 lies beyond the longest run's 10"):
        summarise([*got(2), Time(10, False)], horizon=20)
    assert summarise(got(2, 4), horizon=20).mean == 3
    assert summarise([*got(2, 4), Time(3, False)], horizon=20).mean == 2 + 2 * 2 / 3


def test_the_interval_of_the_restricted_mean_covers_it() -> None:
    """Exponential times given up at 1.2: restricted mean 1 - exp(-1.2)."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        values = rng.exponential(size=30)
        summary = summarise([Time(min(v, 1.2), v <= 1.2) for v in values])
        assert summary.low is not None and summary.high is not None
        hits += summary.low <= 1 - math.exp(-1.2) <= summary.high
    assert 0.92 <= hits / 400 <= 0.98


def test_area_over_log_steps_by_hand() -> None:
    assert area_over_log_steps([0, 1, 9], [0.5, 0.5, 0.5]) == pytest.approx(0.5)
    # log(1 + step) is 0, log 2, log 4 for steps 0, 1, 3: two spans of equal length.
    area = area_over_log_steps([0, 1, 3], [0, 1, 0.5])
    assert area == pytest.approx((0.5 + 0.75) / 2)


def test_what_cannot_be_judged() -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1, got 95"):
        time_to(Curve(STEPS, STEPS / 10), 95)
    with pytest.raises(ValueError, match="x that does not fall"):
        time_to(Curve(STEPS[::-1], STEPS / 10), 0.5)
    with pytest.raises(ValueError, match="no baseline"):
        from_baselines({})
    with pytest.raises(ValueError, match="no run"):
        summarise([])
    with pytest.raises(ValueError, match="ascend from 0"):
        area_over_log_steps([1, 2], [0.5, 0.5])
