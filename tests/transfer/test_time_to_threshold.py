"""Time to threshold against numbers worked out by hand."""

import math

import numpy as np
import pytest
import scipy.stats
from small_transfer import FAST, got, run

from metainit.transfer.time_to_threshold import (
    Time,
    against,
    area_over_log_steps,
    best_heads,
    by_data_set,
    from_baselines,
    in_words,
    line_of,
    mean_in_words,
    our_line,
    summarise,
    time_to,
)

STEPS = np.array([0, 1, 2, 5, 10])


def test_the_first_point_that_meets_the_threshold():
    accuracy, diverged = [0.2, 0.5, 0.7, 0.6, 0.9], [0.2, 0.5, *[math.nan] * 3]
    assert time_to(STEPS, accuracy, 0.2) == Time(0, True)
    assert time_to(STEPS, accuracy, 0.65) == Time(2, True)  # and it fell again later
    assert time_to(STEPS, accuracy, 0.75) == Time(10, True)  # not interpolated
    assert time_to(STEPS, accuracy, 0.95) == Time(10, False)
    assert time_to(STEPS, diverged, 0.5) == Time(1, True)
    assert time_to(STEPS, diverged, 0.6) == Time(10, False)
    assert time_to(STEPS * 0.5 + 3, accuracy, 0.65) == Time(4, True)


def test_thresholds_are_shares_of_the_best_baseline():
    found = from_baselines({"random": [0.5, 0.6], "imagenet": [0.8, 0.9, 1.0]})
    assert found.baseline == "imagenet" and found.final == pytest.approx(0.9)
    assert found.values == pytest.approx({0.9: 0.81, 0.95: 0.855, 0.99: 0.891})
    assert from_baselines({}) is from_baselines({"random": [0.0]}) is None
    (pets,) = by_data_set([FAST])
    assert pets.thresholds.baseline == "joint pretraining, prototype"
    assert pets.thresholds.values == pytest.approx({0.9: 0.72, 0.95: 0.76, 0.99: 0.792})
    line = line_of(pets, "random", "zero")
    assert line.times[0.95]["epochs"] == (Time(10, True),)
    assert line.times[0.99]["steps"] == (Time(100, False),)  # 0.79 is not 0.792
    ours = line_of(pets, "meta-learned", "prototype").times[0.95]
    values = {unit: time.value for unit, (time,) in ours.items()}
    assert values == {"steps": 5, "epochs": 0.5, "device seconds": 5}


def test_without_censoring_it_is_the_mean_with_its_t_interval():
    values = [1.0, 2.0, 2.0, 5.0, 10.0]
    summary = summarise(got(*values))
    low, high = scipy.stats.ttest_1samp(values, 0).confidence_interval()
    assert summary.mean == pytest.approx(4)
    assert (summary.low, summary.high) == pytest.approx((max(0, low), high))
    assert (summary.median, summary.reached, summary.runs) == (2, 5, 5)
    assert in_words(got(2, 4)) == "3 (2 of 2)"
    # The interval may reach beyond the slowest.
    there = summarise(got(5, 20, 50))
    assert mean_in_words(there, interval=True) == "25 [0, 82]"
    assert summarise(got(5)) == (1, 1, 5, 5, None, None, 5)
    assert in_words(got(5)) == "5"


def test_a_run_that_never_got_there_counts_up_to_the_horizon():
    """Reached at 2 and 4, one given up at 10: (2 + 4 + 10) / 3."""
    times = [*got(2, 4), Time(10, False)]
    summary = summarise(times)
    assert summary.mean == pytest.approx(16 / 3)
    assert (summary.horizon, summary.median, summary.reached) == (10, 4, 2)
    half = 4.30265 * math.sqrt(np.var([2, 4, 10], ddof=1) / 3)  # t, 2 degrees
    assert summary.low == max(0, 16 / 3 - half)
    assert summary.high == pytest.approx(min(10, 16 / 3 + half))
    assert in_words(times) == ">= 5.3 up to 10 (2 of 3)"
    assert mean_in_words(summary, True) == ">= 5.3 [0, 10] up to 10"
    # The horizon is named once where it is the mean as well.
    assert in_words([*got(10), Time(10, False)]) == ">= 10 (1 of 2)"


def test_the_median_is_kaplan_and_meiers():
    """Given up at 3 between those who got there at 2, 4 and 6.

    Survival: 3/4 from 2, 3/4 * 1/2 from 4, 0 from 6; all were watched up to 3.
    """
    summary = summarise([*got(2, 4, 6), Time(3, False)])
    assert (summary.horizon, summary.median) == (3, 4)
    assert summary.mean == pytest.approx((2 + 3 + 3 + 3) / 4)


def test_runs_that_all_are_cut_have_no_interval():
    """Their pseudo-values are the horizon each, not times that were measured."""
    for times in (
        [Time(500, True), Time(500, False), Time(500, False)],
        [Time(80, True), Time(90, True), Time(30, False)],
    ):
        summary = summarise(times)
        assert summary.mean == summary.horizon and summary.low is summary.high is None
    same = summarise(got(500, 500, 500))
    assert (same.low, same.high) == (500, 500)
    never = [Time(10, False), Time(10, False), Time(12, False)]
    assert summarise(never) == (0, 3, 10, 10, None, None, None)
    assert in_words(never) == "> 10 (0 of 3)"
    assert in_words([Time(1000, False)]) == "> 1,000"


def test_area_over_log_steps_by_hand():
    assert area_over_log_steps([0, 1, 9], [0.5, 0.5, 0.5]) == pytest.approx(0.5)
    # log(1 + step) is 0, log 2, log 4 for steps 0, 1, 3: two spans of equal length.
    area = area_over_log_steps([0, 1, 3], [0, 1, 0.5])
    assert area == pytest.approx((0.5 + 0.75) / 2)
    assert area_over_log_steps([0], [0.7]) == 0.7  # of a head in closed form


def test_what_cannot_be_judged():
    with pytest.raises(ValueError, match="above 0 and at most 1, got 95"):
        time_to(STEPS, STEPS / 10, 95)
    with pytest.raises(ValueError, match="x that does not fall"):
        time_to(STEPS[::-1], STEPS / 10, 0.5)
    with pytest.raises(ValueError, match="no run"):
        summarise([])
    with pytest.raises(ValueError, match="ascend from 0"):
        area_over_log_steps([1, 2], [0.5, 0.5])


# Over the fine-tunings of an experiment, made by hand


def test_a_head_in_closed_form_stays_as_it_is():
    """It has one point; where it is not good enough, no waiting helps."""
    whole = run("random", "zero", 50)
    point = {**whole.points[0], "accuracy": 0.7, "device_seconds": 3.0}
    fitted = whole._replace(head="logistic regression", points=(point,))
    (pets,) = by_data_set([(whole, fitted)])
    assert pets.horizon["steps"] == 100
    line = line_of(pets, "random", "logistic regression")
    assert line.area == line.final == pytest.approx(0.7)
    assert line.times[0.9]["steps"] == (Time(100, False),)
    assert line.times[0.9]["device seconds"] == (Time(100, False),)
    better = fitted._replace(points=({**point, "accuracy": 0.9},))
    (pets,) = by_data_set([(whole, better)])
    line = line_of(pets, "random", "logistic regression")
    assert line.times[0.95]["device seconds"] == (Time(3, True),)
    assert pets.thresholds.baseline == "random, logistic regression"


def test_heads_are_chosen_on_meta_validation():
    assert best_heads([FAST]) == {
        "meta-learned": "prototype",  # although zero is faster on meta-test
        "joint pretraining": "prototype",
        "random": "zero",
    }
    assert our_line([FAST]) == ("meta-learned", "prototype")
    warm = run("meta-learned from pretrained", "zero", 0, validation=0.8)
    assert our_line([(*FAST, warm)]) == (warm.init, "zero")
    assert our_line([FAST[2:]]) is None
    named = [x._replace(init=f"a run: {x.init}") for x in FAST]
    assert our_line([named]) == ("a run: meta-learned", "prototype")


def test_censored_seeds_count_up_to_one_horizon():
    """By hand: 5, 20 and never of 100 steps; without the last, the mean is 12.5."""
    random = run("random", "zero", 100)
    seeds = [(run("meta-learned", "zero", at), random) for at in (5, 20, None)]
    (pets,) = by_data_set(seeds)
    line = line_of(pets, "meta-learned", "zero")
    assert in_words(line.times[0.95]["steps"]) == ">= 42 up to 100 (2 of 3)"
    with pytest.raises(ValueError, match="lack those of another: pets, random, zero"):
        by_data_set([seeds[0], seeds[1][:1]])


def test_a_cheap_line_cuts_no_other():
    """60, 61 and 65 s are their own mean, although a probe was over after 2 s."""
    cheap = run("random", "linear probe", None, seconds=0.02)
    others = run("random", "zero", 50), cheap
    ours = [run("meta-learned", "zero", 50, seconds=s / 50) for s in (60, 61, 65)]
    (pets,) = by_data_set([(one, *others) for one in ours])
    line = line_of(pets, "meta-learned", "zero")
    found = summarise(line.times[0.95]["device seconds"])
    assert mean_in_words(found, interval=True) == "62 [55, 69]"
    line = line_of(pets, "random", "linear probe")
    assert in_words(line.times[0.95]["device seconds"]) == "> 2 (0 of 3)"


def test_differences_of_equal_runs():
    seeds = [[run("meta-learned", "zero", 5), run("random", "zero", 50)]] * 3
    compared = against(by_data_set(seeds), ("meta-learned", "zero"))
    pets = compared["random", "zero"]["pets"]
    assert pets.difference[:3] == (0, 0, 0) and pets.p == 1 and not pets.different
