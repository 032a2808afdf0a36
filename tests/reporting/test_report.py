"""Reports: the verdict first, nothing chosen by test results, files that read back."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import figures, verdict
from metainit.reporting.run_report import show_in_tensorboard, write_report
from metainit.reporting.tables import Context
from metainit.runtime.cost import Cost

EPISODES = 60
STEPS = (0, 1, 5)
HARD = np.random.default_rng(0).normal(0, 0.05, EPISODES)


def row(init, head, accuracy, validation=None, chosen=1, seed=0):
    """A row whose accuracy is the given mean, exactly, after the chosen steps."""
    rng = np.random.default_rng([seed, *init.encode(), *head.encode()])
    steps = (0,) if head in ("nearest centroid", "logistic regression") else STEPS
    chosen = min(chosen, len(steps) - 1)
    values = HARD + rng.normal(0, 0.01, (len(steps), EPISODES))
    values += accuracy - values.mean(axis=1, keepdims=True)
    values += 0.02 * (np.arange(len(steps))[:, None] - chosen)
    setting = {"optimizer": "sgd", "learning_rate": 0.1} if len(steps) > 1 else {}
    return Row(
        init,
        head,
        setting,
        steps,
        chosen,
        accuracy if validation is None else validation,
        {"accuracy": values, "f1": values - 0.01, "loss": 1 - values},
        Cost(62.4, 51200, 400, 1.5e12),
    )


def evaluation(*rows):
    return Evaluation(
        rows,
        "glyphs",
        "5-way 1-shot, 60 episodes",
        "support moments",
        {"learning rates": [0.01, 0.1], "steps": [0, 1, 5]},
        "cpu x1",
        20.0,
        75,
        ("A note of its own.",),
    )


CONTEXT = Context(
    title="quickstart",
    command="python launch.py --config configs/quickstart.py",
    seed=3,
    versions={"jax": "0.10.2"},
    config={"inner": {"steps": 5}},
    training=[
        {"step": 1, "train/loss": 1.5, "train/accuracy": 0.3},
        {"step": 2, "train/loss": 1.0, "train/accuracy": None},
        {"step": 2, "validation/loss": 1.2, "validation/accuracy": 0.4},
    ],
    device_hours=0.05,
    epoch=2.5,
)

WINNING = (
    row("meta-learned", "prototype", 0.871),
    row("meta-learned", "zero", 0.80),
    row("joint pretraining", "nearest centroid", 0.84),
    row("joint pretraining", "zero", 0.70),
    row("random", "prototype", 0.50),
)


def results(workdir):
    lines = (workdir / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_a_win_is_the_first_sentence(tmp_path):
    text = write_report(tmp_path, evaluation(*WINNING), CONTEXT)
    first = (
        "The meta-learned initialisation (prototype head after 1 step) beats every "
        "baseline on unseen classes: 87.1 % against 84.0 % for joint pretraining "
        "(nearest centroid), a difference of +3.1 points ["
    )
    assert (tmp_path / "report.md").read_text().startswith(first)
    assert " ".join(text.split()).startswith(first)


@pytest.mark.parametrize(
    ("baseline", "ending"),
    [(0.90, r"-2\.9 points \[-3\.\d, -2\.\d\], worse on these episodes\."),
     (0.871, r"\+0\.0 points \[-0\.\d, 0\.\d\], not distinguishable\.")],
)  # fmt: skip
def test_no_win_is_the_first_sentence(tmp_path, baseline, ending):
    rows = (*WINNING, row("supervised", "prototype", baseline))
    write_report(tmp_path, evaluation(*rows), CONTEXT)
    first = (tmp_path / "report.md").read_text().splitlines()[0]
    assert "does not beat every baseline on unseen classes: 87.1 % against" in first
    assert "for supervised (prototype head after 1 step), a difference of" in first
    assert re.search(ending + "$", first)


def test_heads_are_chosen_by_validation_only():
    rows = (
        row("meta-learned", "prototype", 0.80, validation=0.9),
        row("meta-learned", "zero", 0.99, validation=0.8),
        row("meta-learned from pretrained", "zero", 0.95, validation=0.85),
        row("joint pretraining", "zero", 0.85, validation=0.9),
        row("joint pretraining", "nearest centroid", 0.70, validation=0.95),
    )
    assert verdict.our_best(rows) is rows[0]
    (difference,) = verdict.against_baselines(rows)
    assert difference.other is rows[4]
    assert "80.0 % against 70.0 %" in verdict.sentence(rows)
    # ... and our two initialisations against each other likewise.
    turned = (*rows[:2], rows[2]._replace(validation_accuracy=0.91), *rows[3:])
    assert verdict.our_best(turned) is turned[2]
    assert "(started from pretrained weights, zero head" in verdict.sentence(turned)


def test_steps_chosen_on_validation_are_the_ones_compared():
    ours = row("meta-learned", "zero", 0.80, chosen=0)  # 0.82 and 0.84 come later
    other = row("joint pretraining", "nearest centroid", 0.83)
    assert verdict.against_baselines((ours, other))[0].mean == pytest.approx(-0.03)


def test_one_run_marks_nothing(tmp_path):
    text = write_report(tmp_path, evaluation(*WINNING), CONTEXT)
    report = (tmp_path / "report.md").read_text()
    assert "**" not in report and "significantly" not in report + text
    assert "Nothing is marked as significant" in report


def test_without_baselines_nothing_is_claimed(tmp_path):
    write_report(tmp_path, evaluation(*WINNING[:2]), CONTEXT)
    first = (tmp_path / "report.md").read_text().splitlines()[0]
    assert first.endswith("87.1 % on unseen classes; no baseline was evaluated.")


def test_the_report_says_all(tmp_path):
    write_report(tmp_path, evaluation(*WINNING), CONTEXT)
    report = (tmp_path / "report.md").read_text()
    assert report.count("Conditional on this one training run") == 1
    assert (
        "| meta-learned | zero | optimizer sgd, learning_rate 0.1 | 1 | 80.0 ± 1."
        in report
    )
    for expected in (
        "| 78.0 | 82.0 (5) | 62 s | 1.5e+12 | 51,200 | support moments |",
        "| joint pretraining | nearest centroid | - | - | 84.0 ± ",
        "| meta-learned | prototype | 85.1 | 87.1 ← | 89.1 |",
        "- learning rates: 0.01, 0.1",
        "A note of its own.",
        CONTEXT["command"],
        "Seed 3, 180 s of device time",
        "jax 0.10.2",
        '"steps": 5',
        "](learning_curve.png)",
        "](adaptation.png)",
        f"tensorboard --logdir {tmp_path}",
    ):
        assert expected in report
    assert len(re.findall(r"support moments(\*\*)? \|", report)) == len(WINNING)


def test_the_terminal_text_is_narrow_and_aligned(tmp_path):
    rows = [
        row(init, head, 1.0)
        for init in ("meta-learned from pretrained", "joint pretraining")
        for head in ("prototype", "zero", "nearest centroid", "logistic regression")
    ]
    rows.append(row("random", "prototype", 0.3))
    text = write_report(tmp_path, evaluation(*rows), CONTEXT)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    assert text.isascii()  # prints on any terminal
    table = [line for line in lines if line.startswith(("head  ", "  "))]
    assert len(table) == 1 + len(rows)
    assert len({len(line) for line in table}) == 1
    assert "random: 62 s of device time, 51,200 images seen" in lines


def test_results_hold_every_number(tmp_path):
    write_report(tmp_path, evaluation(*WINNING), CONTEXT)
    *lines, summary = results(tmp_path)
    measures = [r for r in lines if r["metric"] != "accuracy_difference"]
    assert len(measures) == 3 * sum(len(r.steps) for r in WINNING)
    fields = {"init", "head", "dataset", "protocol", "metric", "value", "low", "high"}
    fields |= {"n", "batch_norm", "device_hours", "images_seen", "step"}
    assert all(fields <= r.keys() for r in measures)
    (found,) = (
        r
        for r in measures
        if (r["init"], r["head"], r["metric"]) == ("meta-learned", "prototype", "f1")
        and r["chosen"]
    )
    assert found["value"] == pytest.approx(0.861)
    assert found["low"] < found["value"] < found["high"]
    assert (found["n"], found["step"], found["images_seen"]) == (60, 1, 51200)
    assert found["device_hours"] == pytest.approx(62.4 / 3600)
    differences = [r for r in lines if r["metric"] == "accuracy_difference"]
    assert len(differences) == len(WINNING) - 1
    assert {(r["init"], r["head"]) for r in differences} == {
        ("meta-learned", "prototype")
    }
    assert differences[1]["other_head"] == "nearest centroid"
    assert differences[1]["value"] == pytest.approx(0.031)
    assert summary == {
        "eval_loss": pytest.approx(0.129),
        "eval_accuracy": pytest.approx(0.871),
        "eval_runtime": 20.0,
        "eval_samples_per_second": 5 * 60 * 75 / 20,
        "eval_steps_per_second": 5 * 60 / 20,
        "epoch": 2.5,
    }


def test_results_are_valid_json_whatever_the_values(tmp_path):
    no_loss = {"loss": np.full((3, EPISODES), np.nan)}
    odd = WINNING[0]._replace(
        setting={"C": np.float32(0.5)},
        measurements={**WINNING[0].measurements, **no_loss},
    )
    write_report(tmp_path, evaluation(odd, *WINNING[1:]), CONTEXT)
    assert "NaN" not in (tmp_path / "results.jsonl").read_text()
    first = results(tmp_path)[0]
    assert first["setting"] == {"C": 0.5}


def test_figures_are_drawn_where_there_is_something_to_draw(tmp_path):
    write_report(tmp_path, evaluation(*WINNING), CONTEXT)
    files = {"report.md", "report.html", "results.jsonl"}
    files |= {"episodes.npz"}
    names = {"learning_curve.png", "adaptation.png"}
    assert {p.name for p in tmp_path.iterdir()} == names | files
    for name in ("learning_curve.png", "adaptation.png"):
        image = np.asarray(Image.open(tmp_path / name).convert("RGB"))
        assert image.shape[1] >= 1000
        flat = image.reshape(-1, 3)
        for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
            assert (flat == colour).all(axis=1).sum() > 100
    empty = tmp_path / "empty"
    closed = [r for r in WINNING if r.head == "nearest centroid"]
    ours = row("meta-learned", "nearest centroid", 0.9)
    write_report(empty, evaluation(ours, *closed), {**CONTEXT, "training": []})
    assert {p.name for p in empty.iterdir()} == files
    assert ".png" not in (empty / "report.md").read_text()


def test_tensorboard_has_the_figures_and_the_text(tmp_path):
    write_report(tmp_path, evaluation(*WINNING), CONTEXT)
    show_in_tensorboard(tmp_path, 7)
    events = EventAccumulator(str(tmp_path / "report"))
    events.Reload()
    assert set(events.Tags()["images"]) == {
        f"report/{name}" for name in ("adaptation", "learning_curve")
    }
    (shown,) = events.Images("report/adaptation")
    with Image.open(tmp_path / "adaptation.png") as picture:
        assert (shown.step, shown.width) == (7, picture.width)
    (text,) = events.Tensors("report/text/text_summary")
    assert b"The meta-learned initialisation" in text.tensor_proto.string_val[0]


def test_a_long_learning_curve_shows_its_mean(tmp_path):
    rows = [{"step": i, "train/accuracy": (i % 2) / 2} for i in range(1, 1000)]
    assert figures.learning_curve(tmp_path / "a.png", rows)
    assert figures.learning_curve(tmp_path / "c.png", [{"step": 1, "train/loss": 2}])
    with Image.open(tmp_path / "c.png") as picture:  # one point is seen, too
        blue = (np.asarray(picture.convert("RGB")) == (0x00, 0x72, 0xB2)).all(-1)
    assert blue[:, : blue.shape[1] // 2 + 50].sum() > 20
    assert figures.learning_curve(tmp_path / "b.png", [{"step": 1}]) is False
    assert not (tmp_path / "b.png").exists()


def test_rows_that_do_not_fit_together_are_named(tmp_path):
    measured = WINNING[3].measurements
    short = WINNING[3]._replace(measurements={**measured, "f1": measured["f1"][:, 1:]})
    with pytest.raises(ValueError, match=r"joint pretraining, zero: f1 \(3, 59\)"):
        write_report(tmp_path, evaluation(*WINNING[:3], short), CONTEXT)
    with pytest.raises(ValueError, match="initialisations joint pretraining; "):
        write_report(tmp_path, evaluation(WINNING[2]), CONTEXT)
    with pytest.raises(ValueError, match="initialisations none"):
        write_report(tmp_path, evaluation(), CONTEXT)
    assert not list(tmp_path.iterdir())
