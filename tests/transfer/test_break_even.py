"""The break-even against numbers worked out by hand."""

import pytest
from small_transfer import FAST, got, run

from metainit.transfer.break_even import against_baselines, data_sets, sentence
from metainit.transfer.time_to_threshold import Time, efficiency


def test_the_saving_is_paired_by_seed_and_a_mean_over_data_sets():
    ours, theirs = [got(10, 20), got(100, 100)], [got(60, 72), got(110, 112)]
    # By seed (50 + 10) / 2 = 30 and (52 + 12) / 2 = 32; t of one degree is 12.7062:
    # 31 - 12.7062 = 18.3 and 43.7.
    told = sentence(3600, ours, theirs)
    for words in ("after 117 new", "+1 device h", "saves 31 s", "(95 %: 83 to 197)"):
        assert words in told
    assert "to never)" in sentence(3600, ours, [got(60, 30), theirs[1]])


@pytest.mark.parametrize(
    "ours, theirs, counts",
    [
        (got(10, 30), [Time(20, False), Time(25, True)], ("2 of 2", "1")),
        ([Time(20, False)] * 2, got(50, 50), ("0 of 2", "2")),
    ],
)
def test_none_is_given_where_a_run_did_not_get_there(ours, theirs, counts):
    """At 80 s one may not say what 30 s of the baseline are worth."""
    told = sentence(100, [ours], [theirs])
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
def test_new_data_sets(extra, saved, expected):
    assert data_sets(extra, saved) == expected
    told = sentence(extra, [got(10)], [got(10 + saved)])
    if expected:
        assert told.endswith("(one seed)") and f"after {expected:,} new" in told
    else:
        assert ("never pays" if expected is None else "at once") in told


def test_against_each_baseline():
    costs = {"meta-learned": 600.0, "joint pretraining": 600.0, "random": 0.0}
    told = against_baselines(efficiency([FAST]), costs)
    assert list(told) == ["joint pretraining", "random"]
    # 45 s saved, no dearer to make; 95 s saved, for 600.
    assert "at once" in told["joint pretraining"]
    assert "after 7 new data sets" in told["random"]
    runs = [run("meta-learned", "zero", 1), run("random", "zero", 1, final=0.0)]
    assert against_baselines(efficiency([runs]), costs) == {}
