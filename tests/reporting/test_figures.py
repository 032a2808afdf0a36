"""What the figures show, by their pixels."""

import numpy as np
import pytest
from PIL import Image
from small_runs import WINNING
from small_transfer import run

from metainit.reporting import figures

BLUE = (0x00, 0x72, 0xB2)  # the first colour, that of ours and of training


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_adaptation_shows_each_initialisation_in_its_colour(tmp_path):
    figures.adaptation(tmp_path / "a.png", WINNING)
    picture = pixels(tmp_path / "a.png")
    assert picture.shape[1] >= 1000
    for colour in (BLUE, (0xD5, 0x5E, 0x00)):
        assert (picture == colour).all(-1).sum() > 100


@pytest.fixture
def drawn(monkeypatch):
    """Figures before they are files."""
    figures_drawn = []
    monkeypatch.setattr(
        figures, "_write", lambda figure, *rest: figures_drawn.append((figure, *rest))
    )
    return figures_drawn


def test_training_and_validation_have_axes_of_their_own_and_so_has_pretraining(drawn):
    """Which say what they are of."""
    ours = [
        {"step": 60, "train/accuracy": 0.25, "train/loss": 2.0},
        {"step": 60, "validation/accuracy": 0.5},
    ]
    joint = [
        {"step": 9, "pretraining/accuracy": 0.75, "pretraining/loss": 1.0},
        {"step": 9, "validation/accuracy": 1.0, "validation/loss": 0.5},
    ]
    curves = [
        figures.Curve("meta-learned", "train", "20-way 1-shot", ours),
        figures.Curve("joint pretraining", "pretraining", "61 classes", joint),
    ]
    figures.learning_curve("a.png", curves, "5-way 1-shot")
    ((figure, _, lines, _),) = drawn
    seen = [axes for axes in figure.axes if axes.get_visible()]
    assert [
        (axes.get_title(), axes.get_ylabel(), axes.lines[0].get_xydata().tolist())
        for axes in seen
    ] == [
        ("training: 20-way 1-shot", "accuracy, %", [[60, 25]]),
        ("training: 20-way 1-shot", "loss", [[60, 2]]),
        ("validation: 5-way 1-shot", "accuracy, %", [[60, 50]]),
        ("training: 61 classes", "accuracy, %", [[9, 75]]),
        ("training: 61 classes", "loss", [[9, 1]]),
        ("validation: 5-way 1-shot", "accuracy, %", [[9, 100]]),
        ("validation: 5-way 1-shot", "loss", [[9, 0.5]]),
    ]
    colours = {line.get_label(): line.get_color() for line in lines}
    assert [*colours] == ["meta-learned", "joint pretraining"]
    assert seen[0].lines[0].get_color() == colours["meta-learned"]
    assert seen[-1].lines[0].get_color() == colours["joint pretraining"]


def test_a_closed_form_that_wins_stands_beside_the_best_head_that_steps(drawn):
    """Of `random` a head that steps wins: there is its curve alone."""
    closed = run("meta-learned", "logistic regression", 0, 0.9, validation=0.9)
    runs = [
        closed._replace(points=closed.points[:1]),
        run("meta-learned", "zero", 5, 0.7, validation=0.5),
        run("meta-learned", "prototype", 5, 0.8, validation=0.6),
        run("random", "zero", 50, 0.3, validation=0.4),
    ]
    figures.transfer("a.png", [runs])
    ((figure, _, legend, _),) = drawn
    (axes,) = figure.axes
    *lines, threshold = axes.lines
    assert threshold.get_linestyle() == ":"
    curves = {line.get_color(): line for line in lines if len(line.get_xdata()) > 2}
    levels = {line.get_color(): line for line in lines if len(line.get_xdata()) == 2}
    assert len(curves) == 2 and [*levels] == ["#0072B2"]
    assert curves["#0072B2"].get_ydata()[-1] == pytest.approx(80)  # not "zero"
    assert levels["#0072B2"].get_ydata() == pytest.approx([90, 90])
    words = [line.get_label() for line in legend]
    assert words[:3] == [
        "meta-learned, prototype head",
        "random, zero head",
        "logistic regression, chosen",
    ]


def test_nothing_is_cut_off(tmp_path):
    ours, joint = "meta-learned from pretrained", "joint pretraining, equal FLOPs"
    seeds = [], [], []
    for seed, at in zip(seeds, (5, 20, None), strict=True):
        for name in ("pets", "sun397"):
            for init, step in ((ours, at), (joint, 20), ("random", 20)):
                seed.append(run(init, "probe then fine-tune", step, dataset=name))
            fitted = run("fitted", "nearest centroid", 0, 0.5, dataset=name)
            seed.append(fitted._replace(points=fitted.points[:1]))
    figures.transfer(tmp_path / "a.png", seeds)
    picture = pixels(tmp_path / "a.png")
    for edge in (picture[:3], picture[-3:], picture[:, :3], picture[:, -3:]):
        assert (edge == 255).all()
    # A head in closed form is a horizontal line.
    pink = (picture == (0xCC, 0x79, 0xA7)).all(-1)
    assert pink.any(1).sum() < 30 and pink.sum(1).max() > 300
    # Seeds of ours that differ span a band in its colour.
    band = 0.2 * np.array(BLUE) + 0.8 * 255
    assert (np.abs(picture - band).max(-1) < 3).sum() > 100


def test_a_curve_keeps_of_rows_what_it_shows():
    rows = [
        {
            "step": 1,
            "train/loss": 2.0,
            "gradients/train/conv1": 0.5,
            "pretraining/loss": 1.0,
        },
        {"step": 2, "validation/accuracy": 0.25, "adaptation/loss_after_1": 1.0},
    ]
    assert figures.drawn("train", iter(rows)) == [
        {"step": 1, "train/loss": 2.0},
        {"step": 2, "validation/accuracy": 0.25},
    ]
