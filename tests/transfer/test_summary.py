"""Times to threshold and break-even, on fine-tunings made by hand."""

import numpy as np
import pytest
from small_transfer import FAST, run

from metainit.transfer import summary, time_to_threshold
from metainit.transfer.time_to_threshold import Time


def test_thresholds_are_those_of_the_best_baseline() -> None:
    (pets,) = summary.by_data_set([FAST])
    assert pets.thresholds is not None
    assert pets.thresholds.baseline == "joint pretraining, prototype"
    assert pets.thresholds.values == pytest.approx({0.9: 0.72, 0.95: 0.76, 0.99: 0.792})
    line = summary.line_of(pets, "random", "zero")
    assert line.times[0.95]["epochs"] == (Time(10, True),)
    assert line.times[0.99]["steps"] == (Time(100, False),)  # 0.79 is not 0.792
    ours = summary.line_of(pets, "meta-learned", "prototype")
    assert {unit: t[0].value for unit, t in ours.times[0.95].items()} == {
        "steps": 5,
        "epochs": 0.5,
        "device seconds": 5,
    }


def test_no_baseline_no_threshold() -> None:
    runs = [run("meta-learned", "zero", 1), run("random", "zero", 1, final=0.0)]
    (pets,) = summary.by_data_set([runs])
    assert pets.thresholds is None and pets.lines[0].times == {}
    assert summary.break_even([runs], {"meta-learned": 1, "random": 0}) == {}


def test_a_head_in_closed_form_stays_as_it_is() -> None:
    """It has one point; where it is not good enough, no waiting helps."""
    whole = run("random", "zero", 50)
    points = ({**whole.points[0], "accuracy": 0.7, "device_seconds": 3.0},)
    fitted = whole._replace(head="logistic regression", points=points)
    (pets,) = summary.by_data_set([(whole, fitted)])
    assert pets.horizon["steps"] == 100
    line = summary.line_of(pets, "random", "logistic regression")
    assert line.area == line.final == pytest.approx(0.7)
    assert line.times[0.9]["steps"] == (Time(100, False),)
    assert line.times[0.9]["device seconds"] == (Time(100, False),)
    better = fitted._replace(points=({**points[0], "accuracy": 0.9},))
    (pets,) = summary.by_data_set([(whole, better)])
    line = summary.line_of(pets, "random", "logistic regression")
    assert line.times[0.95]["device seconds"] == (Time(3, True),)
    assert pets.thresholds is not None
    assert pets.thresholds.baseline == "random, logistic regression"


def test_heads_are_chosen_on_meta_validation() -> None:
    assert summary.best_heads([FAST]) == {
        "meta-learned": "prototype",  # although zero is faster on meta-test
        "joint pretraining": "prototype",
        "random": "zero",
    }
    warm = run("meta-learned from pretrained", "zero", 0, validation=0.8)
    assert summary.our_best([(*FAST, warm)]) == warm.init
    assert summary.our_best([FAST[2:]]) is None
    named = [one._replace(init=f"a run: {one.init}") for one in FAST]
    assert summary.our_best([named]) == "a run: meta-learned"


def test_break_even_against_each_baseline() -> None:
    costs = {"meta-learned": 600.0, "joint pretraining": 600.0, "random": 0.0}
    found = summary.break_even([FAST], costs)
    assert list(found) == ["joint pretraining", "random"]
    assert found["joint pretraining"].data_sets == 0  # 45 s saved, no dearer to make
    assert found["random"].saving.mean == 95 and found["random"].data_sets == 7
    slow = (run("meta-learned", "prototype", 100, validation=0.9), *FAST[2:])
    assert summary.break_even([slow], costs)["joint pretraining"].data_sets is None


def test_censored_seeds_count_up_to_one_horizon() -> None:
    """By hand: 5, 20 and never of 100 steps; without the last, the mean is 12.5."""
    seeds = [
        (run("meta-learned", "zero", at), run("random", "zero", 100))
        for at in (5, 20, None)
    ]
    (pets,) = summary.by_data_set(seeds)
    line = summary.line_of(pets, "meta-learned", "zero")
    told = time_to_threshold.in_words(line.times[0.95]["steps"])
    assert told == ">= 42 up to 100 (2 of 3)"
    np.testing.assert_allclose((5 + 20 + 100) / 3, 41.67, atol=0.01)
    never = time_to_threshold.in_words([Time(100, False)] * 2)
    assert never == "> 100 (0 of 2)"
    # All get there: the interval may reach beyond the slowest.
    there = time_to_threshold.summarise([Time(5, True), Time(20, True), Time(50, True)])
    assert time_to_threshold.mean_in_words(there, interval=True) == "25 [0, 82]"
    with pytest.raises(ValueError, match="lack those of another: pets, random, zero"):
        summary.by_data_set([seeds[0], seeds[1][:1]])


def test_a_cheap_line_cuts_no_other() -> None:
    """60, 61 and 65 s are their own mean, although a probe was over after 2 s."""
    cheap = run("random", "linear probe", None, seconds=0.02)
    baseline = run("random", "zero", 50)
    seeds = [
        (run("meta-learned", "zero", 50, seconds=s / 50), baseline, cheap)
        for s in (60, 61, 65)
    ]
    (pets,) = summary.by_data_set(seeds)
    line = summary.line_of(pets, "meta-learned", "zero")
    found = time_to_threshold.summarise(line.times[0.95]["device seconds"])
    assert time_to_threshold.mean_in_words(found, interval=True) == "62 [55, 69]"
    line = summary.line_of(pets, "random", "linear probe")
    told = time_to_threshold.in_words(line.times[0.95]["device seconds"])
    assert told == "> 2 (0 of 3)"


def test_differences_of_equal_runs() -> None:
    seeds = [[run("meta-learned", "zero", 5), run("random", "zero", 50)]] * 3
    against = summary.against(summary.by_data_set(seeds), ("meta-learned", "zero"))
    difference, p, different = against["random", "zero"]["pets"]
    assert difference[:3] == (0, 0, 0) and p == 1 and different is False
