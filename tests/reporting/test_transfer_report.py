"""The section on transfer, on fine-tunings made by hand, against numbers by hand."""

import re

import numpy as np
import pytest
import scipy.stats
from small_transfer import FAST, run, transfer
from test_tables import cells

from metainit.evaluation import intervals
from metainit.reporting import plain_text, transfer_report

OURS = "meta-learned from pretrained"
LONG, PROBE = "joint pretraining, equal FLOPs", "probe then fine-tune"
FINAL = {"pets": (0.8, 0.82, 0.87), "sun397": (0.7, 0.78, 0.71)}
AHEAD = {"pets": (0.1, 0.11, 0.12), "sun397": (0.05, -0.02, 0.01)}


def seeds(count):
    """Two heads of ours, the second given up once, and two of a baseline."""
    return [
        [
            fine_tuning
            for name, final in FINAL.items()
            for fine_tuning in (
                run(OURS, "zero", 5, final[s], 0.9, name),
                run(OURS, "prototype", (5, 20, None)[s], 0.9, 0.1, name, 0.123),
                run(LONG, PROBE, 50, final[s] - AHEAD[name][s], 0.6, name),
                run(LONG, "zero", 50, 0.5, 0.5, name),
            )
        ]
        for s in range(count)
    ]


def over_seeds(count):
    costs = {OURS: 9.0, LONG: 3.0}
    return list(transfer_report.over_seeds(seeds(count), costs, (0.5, 0.999), "a.png"))


def rows(parts, number):
    """Of one of the tables, by initialisation and head; the heading, too."""
    table = [part for part in parts if part.startswith("|")][number]
    return {tuple(x[:2]): x[2:] for x in cells(table)}


def text(whole):
    section = transfer_report.section(whole, "transfer.png")
    return "\n\n".join([*section, transfer_report.account(whole)])


def test_the_section_says_all():
    whole = transfer(*FAST)._replace(accuracies=(0.5, 0.999))
    for words in (
        "pets: steps to 76.0 % accuracy (95% of what joint pretraining, prototype head",
        "meta-learned 5; joint pretraining 50, random 100.",
        "Against random, meta-learned pays for itself after 7 new data sets",
        "](transfer.png)",
        "| zero | 20.0 | 80.0 | 40.0 | 75.5 |",
        "In every row: Setting optimizer sgd, learning_rate 0.1.",
        "Until 72.0 %, 90% of ",
        "| random | prototype | > 100 | > 10 | > 100 |",
        "Until 50 %, fixed beforehand",
        "| meta-learned | prototype | 5 | 0.5 | 5 |",
        "| making meta-learned | cpu x1 | 0.167 | 6e+14 |",
        "| trials, all | cpu x1 | 0.01 | 3e+15 |",
        "| fine-tuning on pets, all | cpu x1 | 0.167 | 6e+11 |",
        "- chosen on: birds",
    ):
        assert words in text(whole)
    assert "| making random" not in text(whole)
    slow = (run("meta-learned", "prototype", 100, validation=0.9), *FAST[2:])
    assert "Against joint pretraining, meta-learned never pays" in text(transfer(*slow))
    assert text(whole).count("| > 100 | > 10 | > 100 |") == 2 + 2 + 3 + 2
    never = "In every row: Steps > 100, Epochs > 10, Device seconds > 100."
    assert text(whole).count(never) == 1  # of 0.999, which none has reached
    # Without a baseline there is no threshold.
    for others in ([], [run("random", "zero", 1, final=0.0)]):
        runs = run("meta-learned", "zero", 1), *others
        told = text(transfer(*runs)._replace(accuracies=(0.5,)))
        assert "no threshold" in told and "95%" not in told
        # A head that all have stands below.
        row = "| meta-learned | 1 |" if others else "| meta-learned | zero | 1 |"
        assert row in told and told.count("In every row: Head zero") == 2 * len(others)


@pytest.mark.parametrize(
    "before, told",
    [
        (0.75, "has 93.8 % of the best .* before any step: what steps can win is"),
        (0.76, "has 95.0 % of the .*: steps have nothing to win here"),
        (None, None),
    ],
)
def test_what_needs_no_step_is_said_first(before, told):
    """Of the features of the baseline that is best in the end, at 80 %."""
    closed = "logistic regression"
    lines = [run("random", closed, 0, 0.7)]  # of features of another one
    if before:
        lines.append(run("joint pretraining", closed, 0, before))
    whole = text(transfer(*FAST, *lines))
    heading = whole.index("### pets")
    if told is None:
        assert "before any step" not in whole
    else:
        assert re.search(f"Logistic .* joint pretraining {told}", whole[heading:])


def test_accuracy_has_intervals_and_paired_differences():
    accuracy = rows(over_seeds(3), 0)
    assert accuracy["Initialisation", "Head"][4:] == ["Ours minus this", "p"]
    tests = [scipy.stats.ttest_1samp(100 * np.array(x), 0) for x in AHEAD.values()]
    p, _ = intervals.holm([test.pvalue for test in tests])
    low, high = tests[0].confidence_interval()
    row = accuracy[LONG, "probe then fine-tune"]
    assert row[4:] == [f"+11.0 [{low:.1f}, {high:.1f}]", f"{p:.3f}*"]
    of_sun397 = rows(over_seeds(3), 6)
    assert of_sun397[LONG, "probe then fine-tune"][5][-1].isdigit()
    ends = scipy.stats.ttest_1samp(100 * np.array(FINAL["pets"]), 0)
    low, high = ends.confidence_interval()
    row = accuracy[OURS, "zero"]
    assert row[1] == f"83.0 [{low:.1f}, {high:.1f}]" and row[2] == "41.5"
    assert row[3].endswith("]") and row[4:] == ["ours", "-"]
    accuracy = rows(over_seeds(1), 0)  # one seed has neither interval nor mark
    columns = ["0 steps, %", "End, %", "F1, %", "Area, %"]
    assert accuracy["Initialisation", "Head"] == columns
    assert accuracy[OURS, "zero"][:3] == ["20.0", "80.0", "40.0"]
    assert "Holm" not in plain_text.render(over_seeds(1))


def test_times_over_seeds():
    """Of 5, 20 and more than 100: half of the seeds got there in 20."""
    effort = rows(over_seeds(3), 2)
    assert effort["Initialisation", "Head"][:3] == ["Reached", "Median", "Steps"]
    reached, median, steps, epochs, took = effort[OURS, "prototype"]
    assert (reached, median) == ("2 of 3", "20")
    assert steps == ">= 42 [0, 100] up to 100" and epochs == ">= 4.2 up to 10"
    assert took == ">= 5.1 [0, 12] up to 12"
    assert effort[LONG, "zero"] == ["0 of 3", "-", "> 100", "> 10", "> 100"]
    fixed = rows(over_seeds(3), 4)
    assert fixed[LONG, "zero"][:3] == ["3 of 3", "50", "50 [50, 50]"]
    told = plain_text.render(over_seeds(3))
    assert max(map(len, told.splitlines())) <= plain_text.WIDTH and told.isascii()
    assert f"reaches in the end): {OURS} 5 (3 of 3); {LONG}" in " ".join(told.split())
    begins = [line.partition(" ")[0] for line in told.splitlines()]
    # Beside both of its heads, in each part of a table that is too wide.
    assert begins.count("joint") == 2 * begins.count("Initialisation") > 2 * 14


def test_hours_of_another_device_are_not_added_to_these():
    """Nor do they make a break-even."""
    whole = transfer(*FAST)
    made_for_hours = ("meta-learned", "joint pretraining")
    for elsewhere, other in (made_for_hours, made_for_hours[::-1]):
        made = whole.costs[elsewhere]._replace(device="H100")
        runs = [
            run._replace(points=[x | {"init_device_seconds": None} for x in run.points])
            if run.init == elsewhere
            else run
            for run in FAST
        ]
        told = text(whole._replace(runs=runs, costs=whole.costs | {elsewhere: made}))
        for words in (
            f"| making {elsewhere} | H100 x1 | 0.167 | 6e+14 |",
            "| total | H100 x1 | 0.167 | 6e+14 |",
            f"| making {other} | cpu x1 | 0.167 | 6e+14 |",
            "| total | cpu x1 | 0.343 | 3.6e+15 |",
        ):
            assert words in told
        assert "Against joint pretraining" not in told
        assert ("Against random" in told) == (elsewhere != "meta-learned")
    here = whole.costs["meta-learned"]._replace(device="cpu", flops=None)
    told = text(whole._replace(costs=whole.costs | {"meta-learned": here}))
    assert "| total | cpu x1 | 0.51 | - |" in told


@pytest.mark.parametrize(
    "final, word", [(0.7, "beats"), (0.8, "equals"), (0.9, "loses to")]
)
def test_the_best_on_validation_meets_the_next_best(final, word):
    """Of the better one's heads the second best is no initialisation of its own."""
    runs = (
        run("random", "zero", 1, final=0.99, validation=0.3),
        run("b/net.pth", "zero", 1, final=final, validation=0.5),
        run("net.safetensors", "zero", 1, final=0.85, validation=0.6),
        run("net.safetensors", "prototype", 1, final=0.8, validation=0.7),
    )
    verdict = transfer_report.best_against_next(transfer(*runs), 3)
    assert verdict.startswith(f"net.safetensors (prototype) {word} ")
    assert f"b/net.pth (zero), on pets: 80.0 % against {100 * final:.1f} %" in verdict
    assert verdict.endswith("(seed 3).")
    alone = transfer_report.best_against_next(transfer(*runs[2:]), 3)
    assert alone.startswith("net.safetensors (prototype) is alone on pets: 80.0 %")
