"""Transfer in an experiment: chosen on meta-validation, the same for all, resumed."""

import itertools
from types import SimpleNamespace

import compiling
import jax
import numpy as np
import pytest
import tiny
from small_transfer import record, rows

from metainit.config.fields import ConfigError
from metainit.data.loading import Roles, Source
from metainit.experiments import configs
from metainit.experiments.meta_learning import train
from metainit.runtime.cost import Cost
from metainit.transfer import comparison

HEADS = ("prototype", "probe then fine-tune", "logistic regression")
INITS = {"meta-learned", "joint pretraining", "random"}


def small(images, **transfer):
    """Networks of a few weights, three initialisations, five fine-tuning steps."""
    config = tiny.config(images)
    config.model.update(name="mlp", hidden=(8,))
    config.update(iterations=4, warm_start=0)
    config.transfer.update({"steps": 5, "heads": HEADS, **transfer})
    return config


@pytest.fixture(scope="module")
def whole(images):
    with pytest.MonkeyPatch.context() as patch:
        calls, compiled = record(patch), compiling.counted(patch)
        workdir = images.parent / "whole"
        text = train(small(images), workdir)
    about = {"workdir": workdir, "text": text}
    return SimpleNamespace(calls=calls, compiled=compiled, **about)


def test_each_program_is_compiled_once(whole):
    """Where several initialisations and settings need it."""
    assert len(whole.compiled) > 8 and compiling.repeated(whole.compiled) == []


def test_every_initialisation_and_head_is_measured_on_meta_test(whole):
    found = rows(whole.workdir)
    pairs = {(row["init"], row["head"]) for row in found}
    assert pairs == set(itertools.product(INITS, HEADS))
    assert len(found) == 6 * 4 + 3 and {row["step"] for row in found} == {0, 1, 2, 5}
    stepped = [row for row in found if row["head"] != "logistic regression"]
    assert len({row["order"] for row in stepped}) == 1  # the same batches for all
    assert {row["probe_steps"] for row in stepped} == {0, 2}
    for row in found:
        assert 0 <= row["validation_accuracy"] <= 1
        looked = 0 if row["head"] == "probe then fine-tune" else 9
        assert row["images"] == looked + 4 * row["step"]
        assert row["epoch"] == row["images"] / 9  # 3 classes, 3 of 5 images each
        assert (row["init_device_seconds"] == 0) == (row["init"] == "random")
    assert not [*whole.workdir.glob("transfer/*/checkpoints")]


def test_nothing_is_chosen_on_meta_test(whole):
    """All trials come first, on other classes, as many for each, and decide."""
    roles = ["validation"] * 12 + ["test"] * 6
    for role, (_, split, spec, _, about) in zip(roles, whole.calls, strict=True):
        assert about["role"] == role
        assert all(name.startswith(role) for name in split.train.class_names)
        assert spec.steps == {"validation": 2, "test": 5}[role]
    rates = [("sgd", 0.1), ("adam", 0.01)]
    stepped = [{"optimizer": name, "learning_rate": rate} for name, rate in rates]
    grid = dict.fromkeys(HEADS[:2], stepped) | {HEADS[2]: [{"C": 0.1}, {"C": 1.0}]}
    for pair in itertools.product(INITS, HEADS):
        tried, measured = (
            [x for x in rows(whole.workdir, name) if (x["init"], x["head"]) == pair]
            for name in ("transfer_trials.jsonl", "transfer.jsonl")
        )
        assert [row["setting"] for row in tried] == grid[pair[1]]
        best = max(row["accuracy"] for row in tried)
        first, setting = measured[0], measured[0]["setting"]
        assert first["validation_accuracy"] == best
        assert setting in [row["setting"] for row in tried if row["accuracy"] == best]
        if pair[1] != "logistic regression":
            assert measured[-1]["learning_rate"] == setting["learning_rate"]


def test_the_report_has_a_section_and_a_figure(whole):
    report = (whole.workdir / "report.md").read_text()
    section = report.split("<summary>Transfer efficiency")[1].split("\n</details>")[0]
    assert "(transfer.png)" in section and (whole.workdir / "transfer.png").exists()
    for words in (
        "5 steps of 4 images, all labels, 40 % of each class held out",
        "| random | logistic regression | C 1 |",
    ):
        assert words in section
    for words in (
        "- trials of each head: prototype 2, probe then fine-tune 2, logistic",
        "- steps of a trial: 2",
    ):
        assert words in report
    *lines, _, _ = whole.text.splitlines()  # the last two have paths
    assert whole.text.isascii() and max(map(len, lines)) <= 80
    words = " ".join(whole.text.split("Transfer efficiency")[1].split())
    assert "meta-learned probe then fine-tune" in words


@pytest.mark.slow
def test_other_settings_go_on_with_a_finished_run(whole, images, monkeypatch):
    assert "is finished" in train(small(images), whole.workdir)
    made = record(monkeypatch)
    before = rows(whole.workdir, "transfer_trials.jsonl")
    text = train(small(images, steps=3, shot=2, adam_rates=()), whole.workdir)
    assert "is finished" not in text and "3 steps of 4 images, 2 of each" in text
    # Few labels are few in trials too.
    assert len(made) == 12 and {given[2].shot for given in made} == {2}
    assert max(row["step"] for row in rows(whole.workdir)) == 3
    made.clear()
    train(small(images), whole.workdir)
    assert made == [] and rows(whole.workdir, "transfer_trials.jsonl") == before


def test_data_that_cannot_be_split_are_refused_first(images, tmp_path):
    few, none = small(images, shot=4), small(images)
    none.evaluate.episodes = 0
    for config, message in (
        (few, "shot=4 is more than the 3 training images"),
        (none, r"transfer.steps=5, evaluate.episodes=0"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(config, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_meta_test_stays_closed_until_all_is_chosen():
    """Held-out classes have a name of their own in it."""
    images = np.zeros((4, 1, 1, 1), np.uint8)
    source = Source("a", images, np.array([0, 0, 1, 1], np.int32), ("x", "y"))
    config = tiny.shrink(configs.default())
    config.transfer.steps = 1
    roles = Roles((), (), (source,), (source,))
    _, test = comparison.of_roles(config.transfer, config.seed, roles)
    chosen = {("random", "zero"): ({"optimizer": "sgd"}, 0.5)}
    inits = {"random": None, "meta-learned": None}
    with pytest.raises(RuntimeError, match=r"nothing was chosen yet for.*meta-"):
        comparison.measure(None, inits, chosen, test)
    names = [split.name for split in test.open(chosen, list(chosen))]
    assert names == ["a", "a, held-out classes"]


@pytest.mark.parametrize("device", [None, jax.devices()[0].device_kind, "other"])
def test_only_what_this_kind_of_device_made_has_its_seconds(device):
    cost = Cost(3.0, 0, 0, device=device)
    inits = {"random": SimpleNamespace(name="random", cost=cost)}
    split = SimpleNamespace(name="a")
    test = SimpleNamespace(open=lambda chosen, wanted: [split])
    point = {"dataset": "a", "init": "random", "head": "zero", "setting": {}}
    chosen = {("random", "zero"): ({}, 0.5)}
    (run,) = comparison.measure(lambda *given: [[point]], inits, chosen, test)
    wanted = None if device == "other" else 3.0
    assert run.points[0]["init_device_seconds"] == wanted
