"""How many episodes there are: by what is asked, what there is, and the time."""

import numpy as np
import pytest
import small_runs

from metainit.config.fields import Evaluate
from metainit.evaluation import episode_count, intervals
from metainit.evaluation.episode_count import Seconds, floor, spread, that_fit

NO_HURRY = Seconds(before=1e6, choosing=1.0, each=0.01)


def choose(section, rows, sets, seconds):
    """With no held-out classes."""
    fewest = episode_count.floor(section, sets)
    return episode_count.choose(section, rows, sets, fewest, seconds)


def row(init, values, head="prototype", steps=1):
    """A row of these accuracies on meta-validation, and others before a step."""
    accuracy = np.stack([np.zeros(len(values)), values])
    made = small_runs.row(init, head, 0.5)
    measured = {"accuracy": accuracy}
    quality = float(np.mean(values))
    return made._replace(measurements=measured, validation_accuracy=quality)


def rows(ahead=0.1, deviation=0.06, count=400, seed=0):
    """Ours by a tenth, with two heads, over joint pretraining and random weights."""
    rng = np.random.default_rng(seed)
    hard, noise = rng.normal(0.6, 0.2, count), rng.normal(0, deviation, count)
    return [
        row("random", rng.normal(0.2, 0.2, count)),
        row("meta-learned", hard - 0.3, "zero"),
        row("meta-learned", hard + ahead + noise),
        row("joint pretraining", hard),
    ]


def test_it_is_the_difference_of_ours_and_the_strongest_other():
    found = spread(rows())
    assert [(x.init, x.head) for x in found.rows] == [
        ("meta-learned", "prototype"),
        ("joint pretraining", "prototype"),
    ]
    ours, other = (x.measurements["accuracy"][1] for x in found.rows)
    _, low, high = intervals.mean_interval(100 * (ours - other))
    assert found.half_width == pytest.approx((high - low) / 2)
    assert found.expected(4 * 400) == pytest.approx(found.half_width / 2)
    assert found.needed(found.half_width / 2) in (1600, 1601)
    assert found.needed(1e9) == 1
    few = [x._replace(measurements={"accuracy": np.ones((2, 1))}) for x in rows()]
    for nothing in (rows()[:1], rows()[1:3], few):
        assert spread(nothing) is None


def test_the_interval_of_other_episodes_is_as_wide_as_asked():
    section = Evaluate(episodes=10_000, half_width=0.4)
    count, words = choose(section, rows(), 1, NO_HURRY)
    assert f"±0.4 (evaluate.half_width) takes {count:,}." in words
    widths = []
    for seed in range(1, 21):
        sides = spread(rows(count=count, seed=seed)).rows
        ours, other = (100 * x.measurements["accuracy"][1] for x in sides)
        interval = intervals.paired_interval(ours, other)
        widths.append((interval.high - interval.low) / 2)
    assert np.mean(widths) == pytest.approx(0.4, rel=0.1)
    # Over two data sets together, each has half of them.
    assert choose(section, rows(), 2, NO_HURRY)[0] == -(-count // 2)


@pytest.mark.parametrize(
    "fields, deviation, count, words",
    [
        ({}, 0.001, 100, "; ±0.5 (evaluate.half_width) takes 1."),
        ({"episodes": 60}, 0.001, 60, "; ±0.5 (evaluate.half_width) takes 1."),
        ({}, 0.2, 600, "; ±0.5 (evaluate.half_width) takes 6,"),
        ({"half_width": 0.0}, 0.001, 600, " points."),
    ],
)
def test_the_floor_and_all_there_are(fields, deviation, count, words):
    section, validated = Evaluate(**fields), rows(0.1, deviation)
    found, said = choose(section, validated, 1, NO_HURRY)
    assert found == count and words in said and "max_share" not in said
    most = f"{count} episodes, and may have {section.episodes} (evaluate.episodes). By"
    assert most in said and "By what 400 meta-validation episodes show" in said
    sides = "meta-learned (prototype) minus joint pretraining (prototype)"
    assert f"{sides} to ±{spread(validated).expected(count):.2f} points" in said


def test_the_floor_is_of_all_sets_together():
    """So that a run with five test sets need not be half a meta-test."""
    assert [floor(Evaluate(), sets) for sets in (1, 2, 3, 5)] == [100, 50, 34, 30]
    assert floor(Evaluate(episodes=20), 5) == 20
    tight = Seconds(before=1.0, choosing=1.0, each=1.0)
    assert choose(Evaluate(), rows(), 2, tight)[0] == 50


def test_without_two_sides_there_are_all():
    count, said = choose(Evaluate(), rows()[:1], 1, NO_HURRY)
    assert count == 600 and "no two sides to compare" in said and "tell" not in said


@pytest.mark.parametrize("share", [0.1, 0.25, 0.9])
def test_time_is_a_share_of_the_run(share):
    section = Evaluate(episodes=10**6, max_share=share)
    seconds = Seconds(before=1000.0, choosing=20.0, each=0.1)
    count = that_fit(section, 100, seconds)
    assert seconds.share(count) <= share < seconds.share(count + 1)
    assert that_fit(Evaluate(max_share=share), 100, seconds) == min(count, 600)
    # Without a limit; where nothing is known; and at least so many.
    assert that_fit(Evaluate(max_share=1.0), 100, seconds) == 600
    assert that_fit(section, 100, Seconds(1.0, 0.0, 0.0)) == 10**6
    assert that_fit(section, 100, seconds._replace(choosing=1e6)) == 100
    assert that_fit(Evaluate(episodes=60), 60, seconds._replace(choosing=1e6)) == 60


def test_a_plan_is_kept_or_what_it_would_take_is_said():
    wide = rows(deviation=0.2)  # for which 600 are too few
    seconds = Seconds(before=300.0, choosing=40.0, each=0.2)
    count, said = choose(Evaluate(), wide, 1, seconds)
    assert count == 300
    assert " 600 would take 35 % of the run's time; at most 25 % are asked" in said
    assert "; ±0.5 (evaluate.half_width) takes 6," in said  # all the same
    count, said = choose(Evaluate(), wide, 1, seconds._replace(before=100.0))
    assert count == 100 and " 600 would take " in said
    assert "It takes about 38 % of the run's time, and not at most 25 %" in said
    count, said = choose(Evaluate(max_share=1.0), wide, 1, seconds)
    assert count == 600 and "of the run's time" not in said
