"""The break-even against numbers worked out by hand."""

import pytest

from metainit.transfer.accounting import (
    Saving,
    break_even,
    in_words,
    saving,
)
from metainit.transfer.time_to_threshold import Time


def got(*values: float) -> list[Time]:
    return [Time(value, True) for value in values]


def test_the_saving_is_paired_by_seed_and_a_mean_over_data_sets() -> None:
    ours = {"pets": got(10, 12), "sun": got(100, 100)}
    theirs = {"pets": got(14, 18), "sun": got(110, 104)}
    found = saving(ours, theirs)
    # By seed (4 + 10) / 2 = 7 and (6 + 4) / 2 = 5; t of one degree is 12.7062.
    assert found.mean == 6
    assert found.low == pytest.approx(6 - 12.7062 * 1, rel=1e-4)
    assert found.high == pytest.approx(6 + 12.7062 * 1, rel=1e-4)
    assert (found.ours, found.theirs, found.runs) == (4, 4, 4)


def test_a_run_that_never_got_there_counts_to_the_horizon() -> None:
    found = saving({"pets": got(10, 30)}, {"pets": [Time(20, False), Time(25, True)]})
    # The horizon is 20: 20 - 10 and 20 - 20, and nobody else got there by then.
    assert found.mean == 5 and (found.ours, found.theirs) == (1, 0)
    with pytest.raises(ValueError, match="same data sets and seeds"):
        saving({"pets": got(1, 2)}, {"pets": got(1)})
    with pytest.raises(ValueError, match="same data sets and seeds"):
        saving({}, {})


def test_no_break_even_where_a_side_never_got_there_within_the_horizon() -> None:
    """At 80 s one may not say what 30 s of the baseline are worth, and at 50 s nor."""
    late, given_up = {"pets": got(80, 80, 80)}, {"pets": [Time(30, False)] * 3}
    for ours, theirs, within in (
        (late, given_up, 30),
        ({"pets": [Time(20, False)] * 3}, {"pets": got(50, 50, 50)}, 20),
    ):
        found = break_even(100, 0, saving(ours, theirs))
        assert (found.saving.ours, found.saving.theirs) == (0, 0)
        assert (found.data_sets, found.fewest, found.most) == (None, None, None)
        assert in_words(found) == (
            "has no break-even that can be given: neither reached the threshold "
            f"within {within} s on pets"
        )
    early = {"pets": got(10, 10, 10)}
    told = in_words(break_even(100, 0, saving(early, given_up)))
    assert told.endswith(
        ": the baseline never reached the threshold within 30 s on pets"
    )
    told = in_words(break_even(100, 0, saving(given_up, early)))
    assert told.endswith(": it never reached the threshold within 30 s on pets")


def saved(mean: float, low: float | None = None, high: float | None = None) -> Saving:
    return Saving(mean, low, high, 3, 3, 3)


@pytest.mark.parametrize(
    "ours, baseline, each, expected",
    [
        (3600, 600, 30, 100),
        (3600, 600, 31, 97),  # 96.8 of them
        (0.3, 0, 0.1, 3),  # and not 4, by rounding
        (600, 600, 30, 0),
        (500, 600, 30, 0),
        (600, 600, 0, 0),
        (3600, 600, 0, None),
        (3600, 600, -5, None),
        (500, 600, -5, None),
    ],
)
def test_break_even(
    ours: float, baseline: float, each: float, expected: int | None
) -> None:
    assert break_even(ours, baseline, saved(each)).data_sets == expected


def test_break_even_at_the_ends_of_the_interval_and_in_words() -> None:
    found = break_even(3600, 600, saved(30, 10, 60))
    assert (found.data_sets, found.fewest, found.most) == (100, 50, 300)
    assert in_words(found) == (
        "pays for itself after 100 new data sets: it saves 30 s a data set "
        "(95 %: 50 to 300)"
    )
    unsure = break_even(3600, 600, saved(30, -10, 60))
    assert unsure.most is None and in_words(unsure).endswith("(95 %: 50 to never)")
    assert in_words(break_even(3600, 600, saved(30))).endswith("(one seed)")
    never = in_words(break_even(3600, 600, saved(-30, -60, -10)))
    assert never.endswith(
        "itself: it takes 30 s more on a data set, and took 3e+03 s more to make"
    )
    cheaper = in_words(break_even(0, 600, saved(-30, -60, -10)))
    assert cheaper.endswith("and took 600 s less to make")
    at_once = in_words(break_even(600, 600, saved(30, 10, 60)))
    assert at_once.startswith("pays for itself at once")


@pytest.mark.parametrize(
    "mean, extra, ours, theirs, words",
    [
        (
            30,
            3000,
            3,
            2,
            "pays for itself after at most 100 new data sets: it saves at",
        ),
        (30, 3000, 2, 3, "after at least 100 new data sets, if ever: it saves at most"),
        (30, 0, 3, 2, "pays for itself at once: it saves at least 30 s"),
        (30, 0, 2, 3, "may or may not pay for itself: it saves at most 30 s"),
        (-30, 3000, 3, 2, "may or may not pay for itself: it takes at most 30 s more"),
        (-30, 3000, 2, 3, "never pays for itself: it takes at least 30 s more"),
        (30, 3000, 2, 2, "data set (runs of both that did not get there count up to"),
    ],
)
def test_bounds_are_true(
    mean: float, extra: float, ours: int, theirs: int, words: str
) -> None:
    found = break_even(extra, 0, Saving(mean, mean - 9, mean + 9, ours, theirs, 3))
    assert words in in_words(found)
    assert ("95 %" in in_words(found)) == (ours == theirs)
