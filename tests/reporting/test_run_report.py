"""Reports: the verdict first, nothing chosen by test results, files that read back."""

import json
import re

import numpy as np
import pytest
from small_runs import CONTEXT, WINNING, evaluation, row
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_tables import cells

from metainit.reporting import plain_text, run_report, verdict
from metainit.reporting.run_report import show_in_tensorboard, write_report
from metainit.runtime import atomic
from metainit.runtime.cost import EQUAL_FLOPS, JOINT, NAMES, OURS


def told(rows, **more):
    text = plain_text.render([verdict.verdict(evaluation(*rows, **more))])
    return " ".join(text.split())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report with two parts and a metric of another version."""
    rows = [x._replace(measurements=x[6] | {"ece": x[6]["f1"]}) for x in WINNING]
    first = evaluation(*rows, dataset="birds, held-out classes or not")
    parts = first, evaluation(*rows, dataset="cars", held_out=True)
    folder = tmp_path_factory.mktemp("run")
    text = write_report(folder, evaluation(*rows, parts=parts), CONTEXT)
    (folder / "report.txt").write_text(text)
    return folder


@pytest.mark.parametrize(
    "rivals, words",
    [
        ((), r"Better\. .* 84.0 % \(\+3.1, 2.\d to 3.\d\), random weights 50.0 %\.$"),
        ([0.90], r"Worse\. .*, supervised 90.0 % \(-2.9, -3.\d to -2.\d\), random"),
        ([0.871], r"Tie\. .*, supervised 87.1 % \(\+0.\d+, -0.\d+ to 0.\d+\), random"),
        ([0.875, 0.872], r"Worse\. .*, supervised 87.5 % \(-0.4, "),
    ],
)
def test_the_verdict(rivals, words):
    names = "supervised", "another"
    pairs = zip(names, rivals, strict=False)
    rows = [*WINNING, *(row(init, "prototype", x) for init, x in pairs)]
    verdict = told(rows)
    assert "5-way 1-shot, unseen classes: meta-learned 87.1 %, " in verdict
    assert re.search(words, verdict) and len(verdict.split()) <= 25
    assert told(WINNING[:2]).endswith("meta-learned 87.1 %; there is no baseline.")


def test_a_verdict_tells_of_more_time_than_the_rival_had():
    ours, rival = row("meta-learned", "zero", 0.8), row(NAMES[JOINT], "zero", 0.7)
    seconds = ours.cost.device_seconds
    for more, words in (1.2, "80.0 % in 20 % more time, "), (1.04, "80.0 %, "):
        slower = ours.cost._replace(device_seconds=more * seconds)
        assert f"meta-learned {words}joint" in told([ours._replace(cost=slower), rival])


def test_the_verdict_has_25_words_whatever_the_names_are():
    for ours in OURS:
        inits = {ours: 0.8, NAMES[EQUAL_FLOPS]: 0.79, "random": 0.3}
        rows = [row(init, "zero", accuracy) for init, accuracy in inits.items()]
        assert 19 <= len(told(rows, protocol="any way, by a long rule").split()) <= 25
        assert len(told(rows).split()) <= 25


def test_heads_and_steps_are_chosen_by_validation_only():
    rows = (
        row("meta-learned", "prototype", 0.80, validation=0.9),
        row("meta-learned", "zero", 0.99, validation=0.8),
        row("meta-learned from pretrained", "zero", 0.95, validation=0.85),
        row("joint pretraining", "zero", 0.85, validation=0.9),
        row("joint pretraining", "nearest centroid", 0.70, validation=0.95),
    )
    assert verdict.our_best(rows) is rows[0]
    assert "meta-learned 80.0 %, joint pretraining 70.0 %" in told(rows)
    assert [about for _, about, *_ in cells(run_report.bars(rows))[1::2]] == [
        "prototype head after 1 step",
        "nearest centroid",
    ]
    # ... and our two initialisations against each other likewise.
    turned = (*rows[:2], rows[2]._replace(validation_accuracy=0.91), *rows[3:])
    assert verdict.our_best(turned) is turned[2]
    assert "meta-learned from pretrained 95.0 %" in told(turned)
    early = row("meta-learned", "zero", 0.80, chosen=0)  # 0.82 and 0.84 come later
    other = row("joint pretraining", "nearest centroid", 0.83)
    (difference,) = verdict.differences((early, other)).values()
    assert difference.mean == pytest.approx(-0.03)


def test_the_report_says_all(folder):
    report = (folder / "report.md").read_text()
    badge, words = told(WINNING).split(". ", 1)
    assert report.splitlines()[0] == f"**{badge}.** {words}"
    text = (folder / "report.txt").read_text()
    *_, first, second, page, use = text.splitlines()
    assert f"{first} {second}" == told(WINNING)
    assert page == f"report: {folder}/report.html"
    assert use == f"for images like glyphs: metainit finetune MY_IMAGES --init {folder}"
    assert max(map(len, text.splitlines()[:-2])) <= 80
    for expected in (
        "| meta-learned | zero | optimizer sgd, learning_rate 0.1 | 1 | 80.0 ± 1.",
        "| 0.200 | 0.79 | +7.1 [",
        "In every row: Device time 62 s, Images 51,200, FLOPs 1.5e+12.",
        "| joint pretraining | nearest centroid | 84.0 % [8",
        "| joint pretraining | nearest centroid | - | - | 84.0 ± ",
        "| meta-learned | prototype | 85.1 | 87.1 ← | 89.1 |",
        "A note of its own.",
        CONTEXT["command"],
        "180 s of device time",
        "jax 0.10.2",
        '"steps": 5',
        "](adaptation.png)",
        f"tensorboard --logdir {folder}",
    ):
        assert expected in report
    # One run tells nothing of the next.
    assert report.count("One training run: ") == 1
    assert report.count("**") == 2 and "significantly" not in report
    # Held-out classes are such by a field, whatever a name or the protocol says.
    table = report.split("<summary>By data set")[1]
    assert "| birds, held-out classes or not | meta-learned | 87.1 ± " in table
    assert "| cars, held-out classes | random | 50.0 ± " in table


def test_results_hold_every_number(folder):
    *lines, summary = atomic.read_rows(folder / "results.jsonl")
    lines = [line for line in lines if line["dataset"] == "glyphs"]
    differences = [x for x in lines if x["metric"] == "accuracy_difference"]
    assert len(lines) == 4 * sum(len(x.steps) for x in WINNING) + len(differences)
    f1 = next(line for line in lines if line["metric"] == "f1" and line["chosen"])
    assert f1.pop("low") < f1["value"] < f1.pop("high")
    names = "meta-learned", "prototype", "glyphs", "5-way 1-shot, 60 episodes", "f1"
    values = pytest.approx(0.861), 60, "support moments", pytest.approx(62.4 / 3600)
    effort = 51200, 1.5e12, 2, 1, True, WINNING[0].setting
    assert list(f1.values()) == [*names, *values, *effort]
    assert len(differences) == len(WINNING) - 1
    assert differences[1]["other_head"] == "nearest centroid"
    assert differences[1]["value"] == pytest.approx(0.031)
    wanted = {"epoch": 2.5, "eval_loss": 0.129, "eval_accuracy": 0.871}
    wanted |= {"eval_runtime": 20.0, "eval_steps_per_second": 5 * 60 / 20}
    wanted |= {"eval_samples_per_second": 5 * 60 * 75 / 20}
    assert summary == pytest.approx(wanted)


def test_long_names_nothing_to_draw_and_values_that_json_lacks(tmp_path):
    odd = row("meta-learned from pretrained", "logistic regression", 1.0)
    odd.measurements["loss"][:] = np.nan
    odd.setting["C"] = np.float32(0.5)
    context = CONTEXT | {"training": []}
    text = write_report(tmp_path, evaluation(odd, WINNING[2]), context)
    assert (
        max(map(len, text.splitlines())) <= 80 + len(str(tmp_path)) and text.isascii()
    )
    lines = (tmp_path / "results.jsonl").read_text()
    assert json.loads(lines.splitlines()[0])["setting"] == {"C": 0.5}
    assert "NaN" not in lines
    files = {"report.md", "report.html", "results.jsonl", "episodes.npz"}
    assert {p.name for p in tmp_path.iterdir()} == files
    assert ".png" not in (tmp_path / "report.md").read_text()


def test_tensorboard_has_the_figures_and_the_settings(folder):
    pictures = {"support": np.zeros((3, 8, 8, 1), np.uint8), "maps": np.zeros((3, 4))}
    settings = {"inner.steps": 5, "evaluate.steps": (0, 1)}
    show_in_tensorboard(folder, 7, WINNING, settings, pictures)
    events = EventAccumulator(str(folder / "report"))
    events.Reload()
    images = ["episode/support", "report/adaptation", "report/learning_curve"]
    assert sorted(events.Tags()["images"]) == images
    assert [shown.step for shown in events.Images("report/adaptation")] == [7]
    (accuracy,) = events.Scalars("report/accuracy/meta-learned")
    assert accuracy.value == pytest.approx(0.871)
    about = events.SummaryMetadata("_hparams_/session_start_info").plugin_data
    assert b"inner.steps" in about.content and b"(0, 1)" in about.content


def test_rows_that_do_not_fit_together_are_named(tmp_path):
    measured = WINNING[3].measurements
    short = WINNING[3]._replace(measurements={**measured, "f1": measured["f1"][:, 1:]})
    for rows, message in (
        ((*WINNING[:3], short), r"joint pretraining, zero: f1 \(3, 59\)"),
        (WINNING[2:3], "initialisations joint pretraining; "),
        ((), "initialisations none"),
    ):
        with pytest.raises(ValueError, match=message):
            write_report(tmp_path, evaluation(*rows), CONTEXT)
    assert not list(tmp_path.iterdir())


def test_what_to_do_next(tmp_path):
    given = "metainit train quickstart seed=3 --yes --out 'a b' inner.steps=1"
    context = CONTEXT | {"command": given}
    text = write_report(tmp_path / "a b", evaluation(*WINNING), context)
    *_, seed, use = text.splitlines()
    out = f"--out '{tmp_path}/a b-seed4'"
    line = f"metainit train quickstart --yes inner.steps=1 seed=4 {out}"
    assert seed == f"does it hold: {line}"
    line = f"metainit finetune MY_IMAGES --init '{tmp_path}/a b'"
    assert use == f"for images like glyphs: {line}"
    assert seed.split(": ")[1] in (tmp_path / "a b" / "report.md").read_text()
