"""Time to threshold against numbers worked out by hand."""

import math

import pytest
from small_transfer import FAST, got, run

from metainit.transfer.time_to_threshold import (
    Time,
    against,
    area_over_log_steps,
    efficiency,
    restricted_mean,
    summarise,
    time_to,
)


def points(steps, accuracies):
    pairs = zip(steps, accuracies, strict=True)
    return [{"step": x, "seconds": 3 + x / 2, "accuracy": y} for x, y in pairs]


def test_the_first_point_that_meets_the_threshold():
    whole = points([0, 1, 2, 5, 10], [0.2, 0.5, 0.7, 0.6, 0.9])
    diverged = points([0, 1, 2, 5, 10], [0.2, 0.5, *[math.nan] * 3])
    assert time_to(0.2, whole) == Time(0, True)
    assert time_to(0.65, whole) == Time(2, True)  # and it fell again later
    assert time_to(0.75, whole) == Time(10, True)  # not interpolated
    assert time_to(0.95, whole) == Time(10, False)
    assert time_to(0.5, diverged) == Time(1, True)
    assert time_to(0.6, diverged) == Time(10, False)
    assert time_to(0.65, whole, "seconds") == Time(4, True)


def data_set(*seeds):
    """The only one of these fine-tunings."""
    (found,) = efficiency(seeds).data_sets
    return found


def test_thresholds_are_shares_of_the_best_baseline():
    pets = data_set(FAST)
    assert pets.baseline == ("joint pretraining", "prototype")
    assert pets.thresholds == pytest.approx({0.9: 0.72, 0.95: 0.76, 0.99: 0.792})
    random = pets.times(("random", "zero"), pets.thresholds[0.95])
    assert random["epochs"] == (Time(10, True),)
    slow = pets.times(("random", "zero"), pets.thresholds[0.99])
    assert slow["steps"] == (Time(100, False),)  # 0.79 is not 0.792
    ours = pets.times(("meta-learned", "prototype"), pets.thresholds[0.95])
    values = {unit: time.value for unit, (time,) in ours.items()}
    assert values == {"steps": 5, "epochs": 0.5, "device seconds": 5}
    of_seeds = ([run("random", "zero", 1, x), FAST[2]] for x in (0.8, 0.9, 1.0))
    thresholds = data_set(*of_seeds).thresholds
    assert thresholds == pytest.approx({x: 0.9 * x for x in (0.9, 0.95, 0.99)})
    for none in (FAST[:1], [run("random", "zero", 1, final=0.0)]):
        assert data_set(none).baseline is None and data_set(none).thresholds == {}


def never(*values):
    return [Time(value, False) for value in values]


@pytest.mark.parametrize(
    "times, expected",
    [
        (got(5), (1, 1, 5, 5, None, 5)),
        (got(500, 500, 500), (3, 3, 500, 500, (500, 500), 500)),
        # Not censored, it is the mean: t of 4 degrees is 2.77645, the error 2.7**0.5.
        (got(1, 2, 2, 5, 10), (5, 5, 10, 4, (0, 8.56216), 2)),
        # t of 2 degrees is 4.30265: half of the interval is 10.3.
        ([*got(2, 4), *never(10)], (2, 3, 10, 16 / 3, (0, 10), 4)),
        # Survival: 3/4 from 2, 3/4 * 1/2 from 4, 0 from 6; all were watched up to 3. t
        # of 3 degrees is 3.18245, the standard error 0.25.
        ([*got(2, 4, 6), *never(3)], (3, 4, 3, 2.75, (1.95439, 3), 4)),
        # What all are cut to was not measured, and has no interval.
        ([*got(500), *never(500, 500)], (1, 3, 500, 500, None, None)),
        ([*got(80, 90), *never(30)], (2, 3, 30, 30, None, 80)),
        (never(10, 10, 12), (0, 3, 10, 10, None, None)),
    ],
)
def test_runs_that_never_got_there_count_up_to_the_horizon(times, expected):
    """Reached, runs, horizon, mean, interval, and Kaplan and Meier's median."""
    *found, interval, median = summarise(times)
    assert (*found, median) == pytest.approx((*expected[:4], expected[5]))
    assert interval == pytest.approx(expected[4], abs=1e-5)


@pytest.mark.parametrize(
    "times, words, with_interval",
    [
        (got(5), "5", "5"),
        (got(5, 20, 50), "25", "25 [0, 82]"),  # beyond the slowest
        ([*got(2, 4), *never(10)], ">= 5.3 up to 10", ">= 5.3 [0, 10] up to 10"),
        # The horizon is named once where it is the mean as well.
        ([*got(10), *never(10)], ">= 10", ">= 10"),
        (never(10, 10, 12), "> 10", "> 10"),
        (never(1000), "> 1,000", "> 1,000"),
    ],
)
def test_times_restricted_mean(times, words, with_interval):
    assert restricted_mean(times) == words
    assert restricted_mean(times, interval=True) == with_interval


def test_area_over_log_steps_by_hand():
    # log(1 + step) is 0, log 2, log 4 for steps 0, 1, 3: two spans of equal length.
    area = area_over_log_steps(points([0, 1, 3], [0, 1, 0.5]))
    assert area == pytest.approx((0.5 + 0.75) / 2)
    assert area_over_log_steps(points([0], [0.7])) == 0.7  # of a head in closed form


@pytest.mark.parametrize(
    "judge, given, message",
    [
        (time_to, (0.5, points([1, 0], [0.5, 0.5])), "step must not fall"),
        (area_over_log_steps, (points([1, 2], [0.5, 0.5]),), "ascend from 0"),
        (efficiency, ([FAST, FAST[:5]],), "of another: pets, random, zero"),
    ],
)
def test_what_cannot_be_judged(judge, given, message):
    with pytest.raises(ValueError, match=message):
        judge(*given)


def test_a_head_in_closed_form_stays_as_it_is():
    """It has one point; where it is not good enough, no waiting helps."""
    whole = run("random", "zero", 50)
    point = {**whole.points[0], "accuracy": 0.7, "device_seconds": 3.0}
    fitted = whole._replace(head="logistic regression", points=(point,))
    line = "random", "logistic regression"
    pets = data_set([whole, fitted])
    assert pets.horizon["steps"] == 100
    times = pets.times(line, pets.thresholds[0.9])
    assert times["steps"] == times["device seconds"] == (Time(100, False),)
    better = fitted._replace(points=({**point, "accuracy": 0.9},))
    pets = data_set([whole, better])
    seconds = pets.times(line, pets.thresholds[0.95])["device seconds"]
    assert seconds == (Time(3, True),) and pets.baseline == line


def test_heads_are_chosen_on_meta_validation():
    _, heads, ours = efficiency([FAST])
    baselines = {"joint pretraining": "prototype", "random": "zero"}
    assert heads == {"meta-learned": "prototype"} | baselines
    assert ours == ("meta-learned", "prototype")  # although zero is faster on meta-test
    warm = run("meta-learned from pretrained", "zero", 0, validation=0.8)
    assert efficiency([(*FAST, warm)]).ours == (warm.init, "zero")
    assert efficiency([FAST[2:]]).ours is None
    named = [x._replace(init=f"a run: {x.init}") for x in FAST]
    assert efficiency([named]).ours == ("a run: meta-learned", "prototype")


def test_a_cheap_line_cuts_no_other():
    """60, 61 and 65 s are their own mean, although a probe was over after 2 s."""
    cheap = run("random", "linear probe", None, seconds=0.02)
    others = run("random", "zero", 50), cheap
    ours = [run("meta-learned", "zero", 50, seconds=s / 50) for s in (60, 61, 65)]
    pets = data_set(*((one, *others) for one in ours))
    ours, probed = (
        pets.times(line, pets.thresholds[0.95])["device seconds"]
        for line in (("meta-learned", "zero"), ("random", "linear probe"))
    )
    assert restricted_mean(ours, interval=True) == "62 [55, 69]"
    assert restricted_mean(probed) == "> 2"


def test_differences_of_equal_runs():
    runs = [run("meta-learned", "zero", 5), run("random", "zero", 50)]
    pets = against(efficiency([runs] * 3))["random", "zero"]["pets"]
    assert pets[:3] == (0, 0, 0) and pets.p == 1 and not pets.different
    assert against(efficiency([runs])) == against(efficiency([runs[1:]] * 3)) == {}
