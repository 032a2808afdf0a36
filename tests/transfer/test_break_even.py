"""The break-even against numbers worked out by hand."""

import math

import pytest
from small_transfer import FAST, run

from metainit.transfer.break_even import (
    BreakEven,
    against_baselines,
    break_even,
    data_sets,
    in_words,
)
from metainit.transfer.time_to_threshold import Time


def got(*values: float) -> list[Time]:
    return [Time(value, True) for value in values]


def test_the_saving_is_paired_by_seed_and_a_mean_over_data_sets() -> None:
    ours = {"pets": got(10, 12), "sun": got(100, 100)}
    theirs = {"pets": got(14, 18), "sun": got(110, 104)}
    found = break_even(100, ours, theirs)
    # By seed (4 + 10) / 2 = 7 and (6 + 4) / 2 = 5; t of one degree is 12.7062.
    assert (found.extra, found.saved) == (100, 6)
    assert found.low == pytest.approx(6 - 12.7062 * 1, rel=1e-4)
    assert found.high == pytest.approx(6 + 12.7062 * 1, rel=1e-4)
    assert (found.ours, found.theirs, found.runs) == (4, 4, 4)
    assert "after 17 new data sets" in in_words(found)
    for other in ({"pets": got(1)}, {}):
        with pytest.raises(ValueError, match="same data sets and seeds"):
            break_even(0, other, {"pets": got(1, 2)} if other else other)


@pytest.mark.parametrize(
    "ours, theirs, counts",
    [
        (got(10, 30), [Time(20, False), Time(25, True)], ("2 of 2", "1")),
        ([Time(20, False)] * 2, got(50, 50), ("0 of 2", "2")),
    ],
)
def test_none_is_given_where_a_run_did_not_get_there(
    ours: list[Time], theirs: list[Time], counts: tuple[str, str]
) -> None:
    """At 80 s one may not say what 30 s of the baseline are worth."""
    found = break_even(100, {"pets": ours}, {"pets": theirs})
    assert math.isnan(found.saved) and found.low is found.high is None
    told = in_words(found)
    assert "no break-even" in told and f"in {counts[0]} runs" in told
    assert told.endswith(f"baseline in {counts[1]}")


@pytest.mark.parametrize(
    "extra, saved, expected",
    [
        (3000, 30, 100),
        (3000, 31, 97),  # 96.8 of them
        (0.3, 0.1, 3),  # and not 4, by rounding
        (0, 30, 0),
        (-100, 30, 0),
        (0, 0, 0),
        (3000, 0, None),
        (3000, -5, None),
        (-100, -5, None),
    ],
)
def test_break_even(extra: float, saved: float, expected: int | None) -> None:
    assert data_sets(extra, saved) == expected


@pytest.mark.parametrize(
    "extra, saved, low, high, words",
    [
        (3600, 36, 12, 72, ["after 100 new", "+1 device hours", "(95 %: 50 to 300)"]),
        (3600, 36, -12, 72, ["(95 %: 50 to never)"]),
        (3600, 36, None, None, ["(one seed)"]),
        (3600, -36, -60, -10, ["never pays", "+1 device hours", "saves -36 s"]),
        (-3600, -36, -60, -10, ["never pays", "-1 device hours"]),
        (0, 36, 10, 60, ["pays for itself at once", "saves 36 s"]),
    ],
)
def test_in_words(
    extra: float, saved: float, low: float | None, high: float | None, words: list[str]
) -> None:
    told = in_words(BreakEven(extra, saved, low, high, 3, 3, 3))
    for word in words:
        assert word in told


def test_against_each_baseline() -> None:
    costs = {"meta-learned": 600.0, "joint pretraining": 600.0, "random": 0.0}
    found = against_baselines([FAST], costs)
    assert list(found) == ["joint pretraining", "random"]
    # 45 s saved, no dearer to make; 95 s saved, for 600.
    assert "at once" in in_words(found["joint pretraining"])
    assert (found["random"].extra, found["random"].saved) == (600, 95)
    assert "after 7 new data sets" in in_words(found["random"])
    slow = (run("meta-learned", "prototype", 100, validation=0.9), *FAST[2:])
    told = in_words(against_baselines([slow], costs)["joint pretraining"])
    assert "never pays" in told
    no_threshold = [run("meta-learned", "zero", 1), run("random", "zero", 1, final=0.0)]
    assert against_baselines([no_threshold], costs) == {}
