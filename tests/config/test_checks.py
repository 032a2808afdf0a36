"""What must hold between fields: every mistake is named, with what would work."""

from typing import Any

import pytest

from metainit.config.checks import validate
from metainit.config.fields import ConfigError, Experiment
from metainit.config.parsing import replaced

TRANSFER = {"transfer.steps": 9}
PRETRAINED = {
    "encoder.name": "resnet",
    "encoder.weights": "some.pth",
    "encoder.use": "adapted",
    "model.name": "linear",
    "data.channels": 3,
}
SEVERAL = {"data.name": "", "data.train": ("a", "b")}
LEARNED = {"method.head": "learned"}
META = {"encoder.use": "meta"}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"warm_start": 1000}, ["warm_start=1000", "iterations=1000"]),
        ({"cold_start": False}, ["cold_start=False", "warm_start=0"]),
        (
            {"model.norm": "group", "model.filters": 12},
            ["model.filters=12", "model.norm='group'", "give 8"],
        ),
        (
            {"model.name": "mlp", "model.scale": 0.1},
            ["model.scale=0.1", "model.name='mlp'", "conv4"],
        ),
        (
            {"inner.steps": 0, "method.head": "zero"},
            ["inner.steps=0, method.head='zero'", "1 or more", "prototype"],
        ),
        (
            {"inner.steps": 0, "method.algorithm": "reptile"},
            ["inner.steps=0, method.algorithm='reptile'", "1 or more", "maml"],
        ),
        (
            PRETRAINED | {"inner.steps": 0, "learned_rates": True},
            ["inner.steps=0, learned_rates=True", "1 or more"],
        ),
        (
            PRETRAINED | META | {"method.algorithm": "reptile"},
            ["method.algorithm='reptile'", "encoder.use='meta'", "adapted", "maml"],
        ),
        ({"learned_rates": True}, ["learned_rates=True", "give encoder.weights"]),
        (
            PRETRAINED | {"encoder.use": "frozen"},
            [
                "encoder.use='frozen'",
                "model.name='linear'",
                "head='prototype'",
                "conv4",
            ],
        ),
        (
            PRETRAINED | {"encoder.cached": True},
            ["encoder.cached=True", "encoder.use='adapted'", "frozen"],
        ),
        (
            PRETRAINED
            | {"encoder.cached": True, "encoder.use": "frozen", "augment.shift": 1}
            | LEARNED,
            ["encoder.cached=True", "augment.shift=1", "augment.flip=False", "0 and"],
        ),
        (PRETRAINED | {"model.name": "mlp"}, ["model.name='mlp'", "conv4 or linear"]),
        (PRETRAINED | {"data.channels": 1}, ["data.channels=1", "3"]),
        (
            {"model.name": "linear"},
            ["model.name='linear'", "encoder.name='none'", "conv4"],
        ),
        (
            TRANSFER | {"evaluate.episodes": 0},
            ["transfer.steps=9", "evaluate.episodes=0"],
        ),
        (
            TRANSFER | {"transfer.fraction": 0.5, "transfer.shot": 5},
            ["transfer.shot=5", "transfer.fraction=0.5", "one of them"],
        ),
        (
            TRANSFER | {"transfer.sgd_rates": (), "transfer.adam_rates": ()},
            ["transfer.sgd_rates=()", "transfer.adam_rates=()", "give one rate"],
        ),
        (
            {"evaluate.sgd_rates": (), "evaluate.adam_rates": ()},
            ["evaluate.sgd_rates=()", "evaluate.adam_rates=()", "give one rate"],
        ),
        (
            LEARNED | {"evaluate.variable": True},
            ["method.head='learned'", "evaluate.variable=True", "prototype"],
        ),
        (
            LEARNED | {"train_task.way": 20},
            ["method.head='learned'", "train_task.way=20", "task.way=5"],
        ),
        (
            LEARNED | {"train_task.way": 0},
            ["method.head='learned'", "train_task.way=0", "prototype"],
        ),
        (
            {"inner.microbatch": 5},
            ["inner.microbatch=5", "model.norm='support'", "group"],
        ),
        (
            PRETRAINED | {"inner.microbatch": 5, "encoder.norm": "support"},
            ["inner.microbatch=5", "encoder.norm='support'", "frozen"],
        ),
        (
            {"inner.microbatch": 3, "model.norm": "none"},
            ["inner.microbatch=3", "5 support images", "divisor"],
        ),
        ({"outer.decay_steps": 999}, ["outer.decay_steps=999", "iterations=1000"]),
        ({"data.train": ("a",)}, ["data.name='glyphs'", "data.train=('a',)"]),
        ({"data.name": ""}, ["data.name=''", "data.train=()"]),
        ({"data.test": ("a",)}, ["data.test=('a',)", "data.train"]),
        (SEVERAL | {"data.archive": "x"}, ["data.archive='x'", "data.train"]),
        (
            SEVERAL | {"data.held_out": 0.0},
            ["data.held_out=0.0", "data.validation=()", "0.1"],
        ),
        (
            SEVERAL | {"data.test": ("b@32",)},
            ["data.test=('b@32',)", "data.train=('a', 'b')", ": b"],
        ),
        (
            SEVERAL | {"data.validation": ("c",), "data.test": ("d", "c@8")},
            ["data.test=('d', 'c@8')", "data.validation=('c',)", ": c"],
        ),
        (
            SEVERAL | {"data.train": ("a@32", "b"), "model.output": "flatten"},
            ["sizes [28, 32]", "model.output='flatten'", "average"],
        ),
    ],
    ids=str,
)
def test_a_mistake_is_named(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        validate(replaced(Experiment(), changes))
    message = str(refused.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"evaluate.episodes": 0},
        {"inner.steps": 0},
        LEARNED | {"inner.steps": 0},
        PRETRAINED | META | {"inner.steps": 0},
        PRETRAINED | {"method.algorithm": "reptile"},
        META | {"method.algorithm": "reptile"},  # without an encoder
        {"outer.clip": 0.0},
        {"outer.decay_steps": 1000},
        {"warm_start": 999, "cold_start": False},
        {"evaluate.sgd_rates": ()},
        {"evaluate.sgd_rates": (1, 0.1), "data.split": (1, 0, 0)},
        TRANSFER | {"transfer.accuracies": (1, 0.5)},
        LEARNED,
        {"train_task.way": 20},
        {"train_task.way": 0},
        {"inner.microbatch": 5, "model.norm": "group"},
        {"compute": "bfloat16"},
        SEVERAL,
        SEVERAL
        | {"data.held_out": 0.0, "data.validation": ("c",), "data.test": ("d",)},
        SEVERAL | {"data.train": ("a@32", "b")},
    ],
    ids=str,
)
def test_what_works_passes(changes: dict[str, Any]) -> None:
    validate(replaced(Experiment(), changes))
