"""The fields of an experiment: every mistake is named, every shipped config valid."""

from typing import Any

import pytest
import shipped
from ml_collections import ConfigDict

from metainit.config import fields as config_module
from metainit.config.checks import validate
from metainit.config.fields import ConfigError, default
from metainit.experiments import supervised, sweep, transfer
from metainit.runtime import run_folder

TRANSFER = {"transfer.steps": 9}
PRETRAINED = {
    "encoder.name": "resnet",
    "encoder.weights": "some.pth",
    "encoder.use": "adapted",
    "model.name": "linear",
    "data.channels": 3,
}
SEVERAL = {"data.name": "", "data.train": ("a", "b")}


def changed(fields: dict[str, Any]) -> ConfigDict:
    config = default()
    config.update_from_flattened_dict(fields)
    return config


def test_the_defaults_are_valid() -> None:
    validate(default())


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"seed": -1}, ["seed", "-1", "0 or more"]),
        ({"iterations": 0}, ["iterations", "0", "1 or more"]),
        ({"meta_batch": 0}, ["meta_batch", "1 or more"]),
        ({"log_every": 0}, ["log_every"]),
        ({"validate_every": -3}, ["validate_every", "-3"]),
        ({"checkpoint_every": 0}, ["checkpoint_every"]),
        ({"max_hours": 0.0}, ["max_hours", "0.0", "above 0"]),
        ({"max_hours": float("inf")}, ["max_hours", "inf"]),
        ({"warm_start": -1}, ["warm_start", "-1"]),
        ({"warm_start": 1000}, ["warm_start=1000", "iterations=1000"]),
        ({"cold_start": False}, ["cold_start=False", "warm_start=0"]),
        ({"data.size": 0}, ["data.size", "0"]),
        ({"data.channels": 4}, ["data.channels", "1, 3", "4"]),
        ({"data.split_seed": -1}, ["data.split_seed"]),
        ({"augment.shift": -1}, ["augment.shift"]),
        ({"task.way": 1}, ["task.way", "2 or more", "1"]),
        ({"train_task.shot": 0}, ["train_task.shot"]),
        ({"task.queries": 0}, ["task.queries"]),
        ({"model.name": "resnet"}, ["model.name", "conv4, mlp", "'resnet'"]),
        ({"model.filters": 0}, ["model.filters"]),
        ({"model.norm": "layer"}, ["model.norm", "support", "'layer'"]),
        ({"model.norm": "group", "model.filters": 12}, ["model.filters=12", "give 8"]),
        ({"data.split": (0.6, 0.4)}, ["data.split=(0.6, 0.4)", "three shares"]),
        ({"data.split": (0.5, 0.5, 0.5)}, ["data.split=(0.5, 0.5, 0.5)", "up to 1"]),
        ({"model.downsample": "blur"}, ["model.downsample", "pool, stride"]),
        ({"model.output": "max"}, ["model.output", "average, flatten"]),
        ({"model.name": "mlp", "model.hidden": ()}, ["model", "hidden"]),
        ({"model.name": "mlp", "model.dropout": 1.0}, ["model", "dropout", "1.0"]),
        ({"inner.optimizer": "lion"}, ["inner.optimizer", "sgd, adam", "'lion'"]),
        ({"inner.learning_rate": 0.0}, ["inner.learning_rate", "above 0"]),
        ({"inner.learning_rate": float("nan")}, ["inner.learning_rate", "nan"]),
        ({"inner.steps": -1}, ["inner.steps"]),
        (
            {"inner.steps": 0, "method.head": "zero"},
            ["inner.steps=0 and method.head=zero", "1 or more", "prototype"],
        ),
        (
            {"inner.steps": 0, "method.algorithm": "reptile"},
            ["inner.steps=0 and method.algorithm=reptile", "1 or more", "maml"],
        ),
        (
            PRETRAINED | {"inner.steps": 0, "learned_rates": True},
            ["inner.steps=0 and learned_rates=True", "1 or more"],
        ),
        (
            PRETRAINED | {"encoder.use": "meta", "method.algorithm": "reptile"},
            ["method.algorithm=reptile", "encoder.use=meta", "adapted", "maml"],
        ),
        ({"inner.batch": -1}, ["inner.batch"]),
        ({"transfer.steps": -1}, ["transfer.steps", "0 or more", "-1"]),
        ({"transfer.price_per_hour": -1.0}, ["transfer.price_per_hour", "-1.0"]),
        (
            {"transfer.steps": 9, "evaluate.episodes": 0},
            ["transfer.steps=9", "evaluate.episodes=0"],
        ),
        ({**TRANSFER, "transfer.batch": 0}, ["transfer.batch", "1 or more"]),
        ({**TRANSFER, "transfer.trial_steps": 0}, ["transfer.trial_steps"]),
        ({**TRANSFER, "transfer.held_out": 1.0}, ["transfer.held_out=1.0", "below 1"]),
        ({**TRANSFER, "transfer.fraction": 0.0}, ["transfer.fraction=0.0"]),
        (
            {**TRANSFER, "transfer.fraction": 0.5, "transfer.shot": 5},
            ["transfer.shot=5", "transfer.fraction=0.5", "one of them"],
        ),
        ({**TRANSFER, "transfer.momentum": 1.0}, ["transfer.momentum=1.0"]),
        ({**TRANSFER, "transfer.heads": ("best",)}, ["transfer.heads", "'best'"]),
        ({**TRANSFER, "transfer.accuracies": (1.5,)}, ["transfer.accuracies", "1.5"]),
        ({**TRANSFER, "transfer.heads": ()}, ["transfer.heads is empty"]),
        ({"learned_rates": True}, ["learned_rates=True", "encoder.weights"]),
        (
            {**TRANSFER, "transfer.sgd_rates": (), "transfer.adam_rates": ()},
            ["transfer.sgd_rates", "transfer.adam_rates", "both empty"],
        ),
        ({**TRANSFER, "transfer.sgd_rates": (-0.1,)}, ["transfer.sgd_rates", "-0.1"]),
        (
            {"model.name": "mlp", "model.scale": 0.1},
            ["model.scale=0.1", "model.name=conv4"],
        ),
        ({"evaluate.min_way": 1}, ["evaluate.min_way", "2 or more"]),
        ({"evaluate.max_queries": 0}, ["evaluate.max_queries", "1 or more"]),
        ({"evaluate.max_way": 4}, ["evaluate.min_way=5", "evaluate.max_way=4"]),
        ({"evaluate.max_support": 9}, ["evaluate.max_way=50", "max_support=9"]),
        (
            {"evaluate.variable": True, "method.head": "learned"},
            ["method.head=learned", "evaluate.variable=True", "prototype"],
        ),
        ({"compute": "float16"}, ["compute", "float32, bfloat16"]),
        ({"inner.microbatch": 5}, ["inner.microbatch=5", "norm=support", "group"]),
        (
            {
                "inner.microbatch": 5,
                "encoder.name": "resnet",
                "encoder.norm": "support",
                "encoder.use": "adapted",
                "model.name": "linear",
                "data.channels": 3,
            },
            ["inner.microbatch=5", "encoder.norm=support", "frozen"],
        ),
        (
            {"inner.microbatch": 3, "model.norm": "none"},
            ["inner.microbatch=3", "5 support images", "divisor"],
        ),
        ({"outer.learning_rate": -1e-3}, ["outer.learning_rate", "-0.001"]),
        ({"outer.warmup_steps": -1}, ["outer.warmup_steps", "-1"]),
        ({"outer.decay_steps": 999}, ["outer.decay_steps=999", "iterations=1000"]),
        ({"outer.clip": -1.0}, ["outer.clip"]),
        ({"method.algorithm": "imaml"}, ["method.algorithm", "maml, anil, reptile"]),
        ({"method.gradient": "exact"}, ["method.gradient", "mixed", "exact"]),
        ({"method.tasks": "pmap"}, ["method.tasks", "scan", "pmap"]),
        ({"method.head": "cosine"}, ["method.head", "prototype, zero, learned"]),
        (
            {"method.head": "learned", "train_task.way": 20},
            ["method.head=learned", "train_task.way=20", "task.way=5"],
        ),
        (
            {"method.head": "learned", "train_task.way": 0},
            ["method.head=learned", "train_task.way=0", "prototype"],
        ),
        ({"data.weights": "even"}, ["data.weights", "uniform, classes, sqrt_size"]),
        ({"data.train": ("a",)}, ["data.name='glyphs'", "data.train=('a',)"]),
        ({"data.name": ""}, ["data.name=''", "data.train=()"]),
        ({"data.test": ("a",)}, ["data.test", "data.train"]),
        (SEVERAL | {"data.archive": "x"}, ["data.archive", "data.train"]),
        (SEVERAL | {"data.held_out": 0.5}, ["data.held_out=0.5"]),
        (SEVERAL | {"data.held_out": 0.0}, ["data.held_out=0", "data.validation"]),
        (SEVERAL | {"data.test": ("b@32",)}, ["data.test", "data.train", "both", "b"]),
        (
            SEVERAL | {"data.validation": ("c",), "data.test": ("d", "c@8")},
            ["data.test and data.validation both have c"],
        ),
        (
            SEVERAL | {"data.train": ("a@32", "b"), "model.output": "flatten"},
            ["sizes 28, 32", "model.output=flatten", "average"],
        ),
        ({"joint.batch": 0}, ["joint.batch"]),
        ({"joint.learning_rate": 0.0}, ["joint.learning_rate"]),
        ({"joint.steps_per_iteration": -1.0}, ["joint.steps_per_iteration"]),
        ({"evaluate.episodes": 1}, ["evaluate.episodes=1", "2 or more"]),
        ({"evaluate.validation_episodes": 0}, ["evaluate.validation_episodes"]),
        ({"evaluate.steps": ()}, ["evaluate.steps", "()"]),
        ({"evaluate.steps": (1, 2)}, ["evaluate.steps", "(1, 2)"]),
        ({"evaluate.steps": (0, 5, 2)}, ["evaluate.steps", "(0, 5, 2)"]),
        ({"evaluate.steps": (0, 2, 2)}, ["evaluate.steps", "(0, 2, 2)"]),
        ({"evaluate.steps": (0, 1.5)}, ["evaluate.steps", "1.5"]),
        ({"evaluate.sgd_rates": (0.1, -0.1)}, ["evaluate.sgd_rates", "-0.1"]),
        (
            {"evaluate.sgd_rates": (), "evaluate.adam_rates": ()},
            ["evaluate.sgd_rates", "evaluate.adam_rates"],
        ),
        ({"evaluate.steps": (False, 1)}, ["evaluate.steps", "False", "whole number"]),
        ({"evaluate.sgd_rates": ("x",)}, ["evaluate.sgd_rates", "'x'", "a number"]),
        ({"evaluate.sgd_rates": (True,)}, ["evaluate.sgd_rates", "True", "(0.01,)"]),
        ({"data.train": (5,)}, ["data.train: 5", "a name in quotes", "cifar100"]),
        ({"data.split": ("a", "b", "c")}, ["data.split", "'a'", "(0.6,)"]),
        ({"model.hidden": ("a",)}, ["model.hidden", "'a'", "whole number"]),
        ({"model.hidden": (64.5,)}, ["model.hidden", "64.5", "whole number"]),
        ({"encoder.stage_sizes": ("a", 1, 1, 1)}, ["encoder.stage_sizes", "'a'"]),
        ({"encoder.stage_sizes": (1.5, 1, 1, 1)}, ["encoder.stage_sizes", "1.5"]),
        ({"transfer.accuracies": ("x",)}, ["transfer.accuracies", "'x'", "0.9"]),
        ({"transfer.heads": (1,)}, ["transfer.heads: 1", "a name in quotes"]),
        ({"evaluate.centroid_scales": ()}, ["evaluate.centroid_scales", "empty"]),
        ({"evaluate.inverse_penalties": (0.0,)}, ["evaluate.inverse_penalties", "0"]),
    ],
    ids=str,
)
def test_a_mistake_is_named(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        validate(changed(fields))
    message = str(refused.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "fields",
    [
        {"evaluate.episodes": 0},
        {"inner.steps": 0},
        {"inner.steps": 0, "method.head": "learned"},
        PRETRAINED | {"encoder.use": "meta", "inner.steps": 0},
        PRETRAINED | {"encoder.use": "adapted", "method.algorithm": "reptile"},
        {"encoder.use": "meta", "method.algorithm": "reptile"},  # without an encoder
        {"outer.clip": 0.0},
        {"outer.decay_steps": 1000},
        {"warm_start": 999, "cold_start": False},
        {"evaluate.sgd_rates": ()},
        {"evaluate.sgd_rates": (1, 0.1), "data.split": (1, 0, 0)},
        TRANSFER | {"transfer.accuracies": (1, 0.5)},
        {"method.head": "learned"},
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
def test_what_works_passes(fields: dict[str, Any]) -> None:
    validate(changed(fields))


def test_what_may_change_exists() -> None:
    fields = {*default(), *run_folder.flat(default().to_dict())}
    assert fields.issuperset(config_module.MAY_CHANGE + config_module.ONLY_UP)


@pytest.mark.parametrize("name", shipped.names())
def test_a_shipped_config_is_valid(name: str) -> None:
    config = shipped.load(name)
    if config.get("kind") == "supervised":
        supervised.validate(config)
    elif config.get("kind") == "transfer":
        config.data.name, config.inits = "folder:images", ("runs/a", "random")
        transfer.validate(config)
    elif config.get("kind") == "tune":
        assert sweep.settings(config)
    else:
        validate(config)


@pytest.mark.parametrize("file", shipped.modules())
def test_no_variant_means_one_of_them(file: str) -> None:
    variants = getattr(shipped.modules()[file], "VARIANTS", ("",))
    named = [shipped.load(f"{file}:{variant}").to_dict() for variant in variants]
    assert shipped.load(file).to_dict() in named


@pytest.mark.parametrize("file", shipped.modules())
def test_an_unknown_variant_is_refused(file: str) -> None:
    variants = getattr(shipped.modules()[file], "VARIANTS", ())
    takes_any = bool(variants) or file == "tune"  # of which a variant is a config
    with pytest.raises(ValueError if takes_any else TypeError) as refused:
        shipped.load(f"{file}:no such variant")
    for variant in variants:
        assert variant in str(refused.value)


@pytest.mark.parametrize(
    "fields, words",
    [
        ({"seed": -1}, ["seed", "0 or more", "-1"]),
        ({"epochs": 0}, ["epochs", "1 or more", "0"]),
        ({"batch": 0}, ["batch", "1 or more"]),
        ({"learning_rate": -1.0}, ["learning_rate", "-1.0"]),
        ({"max_hours": float("inf")}, ["max_hours", "inf"]),
        ({"model.hidden": ()}, ["model", "hidden"]),
        ({"model.hidden": ("a",)}, ["model.hidden", "'a'", "whole number"]),
        ({"model.dropout": 1.5}, ["model", "dropout", "1.5"]),
    ],
    ids=str,
)
def test_a_mistake_in_supervised_learning_is_named(
    fields: dict[str, Any], words: list[str]
) -> None:
    config = supervised.default()
    config.update_from_flattened_dict(fields)
    with pytest.raises(ConfigError) as refused:
        supervised.validate(config)
    for word in words:
        assert word in str(refused.value)
