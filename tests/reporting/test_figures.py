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


def test_curves_show_each_initialisation_in_its_colour(tmp_path):
    rows = [{"step": 1, "train/accuracy": 0.5}]  # one point is seen, too
    figures.learning_curve(tmp_path / "a.png", rows)
    blue = (pixels(tmp_path / "a.png") == BLUE).all(-1)
    assert blue[: blue.shape[0] // 2, : blue.shape[1] // 2].sum() > 20
    figures.adaptation(tmp_path / "a.png", WINNING)
    picture = pixels(tmp_path / "a.png")
    assert picture.shape[1] >= 1000
    for colour in (BLUE, (0xD5, 0x5E, 0x00)):
        assert (picture == colour).all(-1).sum() > 100


@pytest.mark.parametrize("data_sets", [["pets"], ["pets", "sun397"]])
def test_nothing_is_cut_off(tmp_path, data_sets):
    ours, joint = "meta-learned from pretrained", "joint pretraining, equal FLOPs"
    seeds = [], [], []
    for seed, at in zip(seeds, (5, 20, None), strict=True):
        for name in data_sets:
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
