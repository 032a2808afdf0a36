"""Tables of fine-tunings over seeds, against numbers worked out by hand."""

import numpy as np
import scipy.stats
from small_transfer import run

from metainit.evaluation import intervals
from metainit.reporting import transfer_report, transfer_tables
from metainit.transfer import summary
from metainit.transfer.results import FineTuning

OURS = "meta-learned from pretrained"
LONG = "pretrained weights, learned rates"
FINAL = {"pets": (0.8, 0.82, 0.87), "sun397": (0.7, 0.78, 0.71)}
AHEAD = {"pets": (0.1, 0.11, 0.12), "sun397": (0.05, -0.02, 0.01)}


def seeds(count: int = 3) -> list[list[FineTuning]]:
    """Two heads of ours, the second given up once, and two of a baseline."""
    return [
        [
            one
            for name in FINAL
            for final, ahead in [(FINAL[name][s], AHEAD[name][s])]
            for one in (
                run(OURS, "zero", 5, final, 0.9, name),
                run(OURS, "prototype", (5, 20, None)[s], 0.9, 0.1, name, 0.123),
                run(LONG, "probe then fine-tune", 50, final - ahead, 0.6, name),
                run(LONG, "zero", 50, 0.5, 0.5, name),
            )
        ]
        for s in range(count)
    ]


def table(name: str, title: str, count: int = 3) -> dict[tuple[str, ...], list[str]]:
    """Rows by initialisation and head."""
    found = dict(transfer_tables.of_seeds(seeds(count), (0.5, 0.999)))
    ((heading, *rows),) = (t for told, t in found[name] if told.startswith(title))
    return {tuple(x[:2]): list(x[2:]) for x in (heading, *rows)}


def test_accuracy_has_intervals_and_paired_differences() -> None:
    rows = table("pets", "Accuracy")
    columns = ["0 steps", "end", "F1", "area", "ours minus this", "p"]
    assert rows["initialisation", "head"] == columns
    differences = {name: 100 * np.array(x) for name, x in AHEAD.items()}
    tests = {name: scipy.stats.ttest_1samp(x, 0) for name, x in differences.items()}
    (p, _) = intervals.holm([test.pvalue for test in tests.values()])
    low, high = tests["pets"].confidence_interval()
    row = rows[LONG, "probe then fine-tune"]
    assert row[4:] == [f"+11.0 [{low:.1f}, {high:.1f}]", f"{p:.3f}*"]
    assert table("sun397", "Accuracy")[LONG, "probe then fine-tune"][5][-1] == " "
    ends = scipy.stats.ttest_1samp(100 * np.array(FINAL["pets"]), 0)
    low, high = ends.confidence_interval()
    row = rows[OURS, "zero"]
    assert row[1] == f"83.0 [{low:.1f}, {high:.1f}]" and row[2] == "41.5"
    assert row[3].endswith("]") and row[4:] == ["ours", "-"]


def test_one_seed_has_neither_interval_nor_mark() -> None:
    rows = table("pets", "Accuracy", count=1)
    assert rows["initialisation", "head"] == ["0 steps", "end", "F1", "area"]
    assert rows[OURS, "zero"][:3] == ["20.0", "80.0", "40.0"]
    found = dict(transfer_tables.of_seeds(seeds(1), ()))
    assert len(found["pets"]) == 2 and "Holm" not in transfer_tables.explained(1)


def test_times_have_median_and_thresholds_fixed_beforehand() -> None:
    fixed = table("pets", "Steps to an accuracy that was fixed beforehand")
    assert fixed["initialisation", "head"] == ["50 %", "99.9 %"]
    assert fixed[OURS, "prototype"] == [">= 42 up to 100 (2 of 3)", "> 100 (0 of 3)"]
    assert fixed[LONG, "zero"][0] == "50 (3 of 3)"
    effort = table("pets", "Until 95%")
    assert effort["initialisation", "head"][:3] == ["reached", "median", "steps"]
    # Of 5, 20 and more than 100: half of the seeds got there in 20.
    reached, median, steps, epochs, took = effort[OURS, "prototype"]
    assert (reached, median) == ("2 of 3", "20")
    assert steps == ">= 42 [0, 100] up to 100" and epochs == ">= 4.2 up to 10"
    assert took == ">= 5.1 [0, 12] up to 12"
    assert effort[LONG, "zero"] == ["0 of 3", "-", "> 100", "> 10", "> 100"]


def test_nothing_is_wider_than_a_terminal() -> None:
    lines = list(
        transfer_report.of_seeds(seeds(), {OURS: 9.0, LONG: 3.0}, (0.5, 0.999), 100)
    )
    assert max(map(len, lines)) <= 112 and "\n".join(lines).isascii()
    assert lines.count(LONG) == 8  # above its heads, in each table


def test_differences_of_equal_runs() -> None:
    (one,) = summary.by_data_set(
        [[run("meta-learned", "zero", 5), run("random", "zero", 50)]] * 3
    )
    found = summary.against([one], ("meta-learned", "zero"))
    difference, p, different = found["random", "zero"]["pets"]
    assert difference[:3] == (0, 0, 0) and p == 1 and different is False
