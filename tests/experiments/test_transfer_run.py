"""Transfer of what exists: of a run, of weights, random; without meta-training."""

import html
import itertools
import json
import re
import shutil
from types import SimpleNamespace
from unittest import mock

import jax
import numpy as np
import pytest
import tiny
from small_transfer import record, rows, write_resnet

from metainit.config.fields import ConfigError
from metainit.data import cache
from metainit.evaluation import intervals
from metainit.experiments import configs
from metainit.experiments import transfer as transfer_run
from metainit.experiments.meta_learning import train
from metainit.models import mlp
from metainit.reporting import seeds_report
from metainit.training.initialisation import Initialisation
from metainit.transfer import fine_tuning

INITS = ("meta-learned", "joint pretraining", "random")
HEADS = ("prototype", "logistic regression")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, weights beside it, and images that it never saw."""
    root = tmp_path_factory.mktemp("transfer_run")
    write_resnet(weights := root / "resnet.safetensors")
    config = tiny.config(tiny.draw(root / "images"))
    config.model.update(name="mlp", hidden=(8,))
    config.data.channels = 3
    run = tiny.untrained(root / "run", config, "meta", "joint")
    images = tiny.draw(root / "others", seed=1) / "train"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METAINIT_DATA_DIR", str(root / "data"))
        yield SimpleNamespace(run=run, weights=weights, images=images)


def settings(place, *inits):
    config = configs.default("transfer")
    config.inits = inits or (str(place.run), f"{place.run}:joint", "random")
    config.data.name = f"folder:{place.images}"
    tiny.shrink_transfer(config.transfer)
    config.transfer.update(steps=3, heads=HEADS, adam_rates=(), sgd_rates=(0.03,))
    config.transfer.update(centroid_scales=(10.0,), inverse_penalties=(1.0,))
    return config


def test_the_initialisations_of_a_run_are_compared(place, tmp_path, monkeypatch):
    text = train(settings(place), tmp_path / "run")
    pairs = [(row["init"], row["head"]) for row in rows(tmp_path / "run")]
    assert set(pairs) == set(itertools.product(INITS, HEADS))
    report = (tmp_path / "run" / "report.md").read_text()
    assert "Against joint pretraining, meta-learned" in report
    assert "(20 % of the images to learn from)" in report
    assert "<summary>Run it again" in report
    told = report.splitlines()[0]
    assert told.startswith(INITS) and " the next best, " in told
    assert told.endswith(f"{intervals.CONDITIONAL} (seed 0).")
    page = (tmp_path / "run" / "report.html").read_text()
    assert re.findall("<p.*?>(.*?)</p>", page)[0] == html.escape(told)
    assert f"<h1>metainit: transfer to folder:{place.images}</h1>" in page
    uses = {"meta-learned": "", "joint pretraining": " --which joint"}
    of_run = [name for name in uses if told.startswith(name)]
    start = f"{place.run}{uses[of_run[0]]}" if of_run else "random"
    ending = f"{told} report: {tmp_path}/run/report.html use it: metainit finetune "
    ending += f"{place.images} --init {start}"
    assert " ".join(text.split()).endswith(ending) and text.isascii()
    with pytest.raises(ValueError, match="is a run of kind transfer, without episodes"):
        seeds_report.compare([tmp_path / "run"])
    monkeypatch.setattr(fine_tuning, "fine_tune", None)
    assert train(settings(place), tmp_path / "run") == text  # finished: at once


def test_what_is_chosen_on_is_not_measured_on(place, tmp_path, monkeypatch):
    """Trials learn from and look at images to learn from, and at no others."""
    images = shutil.copytree(place.images, tmp_path / "images")
    config = settings(place, str(place.run))
    config.data.name = f"folder:{images}"
    config.transfer.heads = HEADS[:1]
    made = record(monkeypatch)
    train(config, tmp_path / "run")
    trial, test = (
        [{x.tobytes() for x in side.images[side.labels >= 0]} for side in split[1:]]
        for _, split, *_ in made
    )
    assert len(test[1]) == 10 and len(trial[0] | trial[1]) == 15
    assert not (trial[0] | trial[1]) & test[1]
    assert not trial[0] & trial[1] and not test[0] & test[1]
    # Replaced pictures are learned from.
    shutil.copytree(images / "train1", images / "train0", dirs_exist_ok=True)
    train(config, tmp_path / "run")
    assert [given[-1]["role"] for given in made] == ["validation", "test"] * 2


def test_a_frozen_encoder_sees_every_image_once(place, tmp_path, monkeypatch):
    allocated = mock.Mock(wraps=cache.allocated)
    monkeypatch.setattr(cache, "allocated", allocated)
    images = shutil.copytree(place.images, tmp_path / "caltech")
    config = settings(place, str(place.weights), str(place.run))
    config.data.update(name=f"folder:{images}", size=tiny.SIDE)
    text = train(config, tmp_path / "run")
    made = [call.args[1:] for call in allocated.call_args_list]
    maps = [shape for dtype, shape in made if dtype == np.float32]
    assert sum(count for count, *_ in maps) == 25
    found = rows(tmp_path / "run")
    assert {row["init"] for row in found} == {str(place.weights), "meta-learned"}
    report = (tmp_path / "run" / "report.md").read_text()
    assert f"Features of a frozen encoder ({place.weights}) were made once" in report
    assert np.isfinite([row["loss"] for row in found]).all()
    # What was seen before is told below the verdict.
    verdict, _, warning, _, title, *_ = report.splitlines()
    assert verdict.startswith((str(place.weights), *INITS))
    assert title.startswith("# metainit")
    named = f"pretrained weights of {place.weights}", "ImageNet", f"{images}"
    assert all(words in warning for words in named)
    assert "Overlap: the pretrained weights of" in text


@pytest.mark.parametrize(
    "data, warned",
    [
        ({"name": "folder:a/../b"}, True),
        ({"name": "folder:a"}, False),
        ({"name": "", "train": ("cifar100", "folder:b@32")}, True),
        ({"name": "", "train": ("a",), "validation": ("folder:b",)}, True),
        ({"name": "", "train": ("a",), "test": ("folder:b",)}, False),
    ],
)
def test_a_run_is_warned_of_on_its_own_data(data, warned, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"data": data}))
    inits = {x: Initialisation(x, None, None, None) for x in ("meta-learned", "random")}
    told = "Overlap: meta-learned was trained or chosen on classes of folder:b; "
    told += "these are not unseen classes."
    sources = (str(tmp_path), "random")
    assert list(transfer_run._overlaps("folder:b", sources, inits)) == [told] * warned


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"inits": ()}, "inits=\\(\\): give runs"),
        ({"inits": ("gone",)}, "there is no folder gone"),
        ({"inits": ("omnigolt",)}, "nearest: omniglot"),
        ({"data.name": "folder:gone"}, "there is no folder gone"),
        ({"data.name": "letters"}, "data.name='letters'; choose folder:PATH"),
        ({"transfer.shot": 4}, "shot=4 is more than the 3"),
        ({}, "model: .* networks of its own"),
    ],
)
def test_mistakes_are_named_before_anything_is_done(changed, message, place, tmp_path):
    config = settings(place)
    config.update_from_flattened_dict(changed)
    with pytest.raises(ConfigError, match=message):
        train(config, tmp_path / "run", model=None if changed else mlp.mlp((4,)))
    assert not (tmp_path / "run").exists()


def test_runs_of_one_kind_are_told_apart_by_their_folders(place, tmp_path):
    other = shutil.copytree(place.run, tmp_path / "other")
    config = settings(place, str(place.run), f"{other}/", f"{other}:joint")
    config.transfer.heads = HEADS[1:]
    train(config, tmp_path / "run")
    ours = {f"meta-learned ({run})" for run in (place.run, other)}
    found = rows(tmp_path / "run")
    assert {row["init"] for row in found} == {*ours, "joint pretraining"}
    report = (tmp_path / "run" / "report.md").read_text()
    # A threshold is of a baseline, which neither of ours is.
    assert "% of what joint pretraining, logistic regression head reaches" in report
    assert "Against meta-learned" not in report
    kind = jax.devices()[0].device_kind
    for run in (place.run, other):
        assert f"| making meta-learned ({run}) | {kind} x1 |" in report
    config = settings(place, str(place.run), f"{place.run}/")
    with pytest.raises(ConfigError, match=r"two of meta-learned \(.*run0/run\)"):
        train(config, tmp_path / "twice")
