"""Plain values become typed fields, or one line says which of them cannot and why."""

import dataclasses
import json
import typing
from typing import Any

import pytest

from metainit.config import fields
from metainit.config.fields import (
    ConfigError,
    Experiment,
    Network,
    Supervised,
    TransferExperiment,
)
from metainit.config.parsing import names, parse, replaced
from metainit.core.hypergradient import MODES
from metainit.core.task_batching import STRATEGIES
from metainit.data.episodes import WEIGHTS
from metainit.models import conv4, normalisation
from metainit.transfer import spec

NAN, INF = float("nan"), float("inf")
POSITIVE, SHARE = "above 0 and finite", "above 0 and below 1"
NATURAL, COUNT = "0 or more", "1 or more"
WHOLE, NUMBER, NAME = "a whole number", "a number", "a name in quotes"
RISING, THREE, ONE = "rise from 0, such as (0, 1", "three shares", "one value or more"


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("seed", -1, NATURAL),
        ("iterations", 0, COUNT),
        ("meta_batch", 0, COUNT),
        ("log_every", 0, COUNT),
        ("validate_every", -3, COUNT),
        ("checkpoint_every", 0, COUNT),
        ("max_hours", 0.0, POSITIVE),
        ("max_hours", INF, POSITIVE),
        ("max_hours", "1", NUMBER),
        ("cold_start", 1, "True or False"),
        ("warm_start", -1, NATURAL),
        ("warm_start", True, WHOLE),
        ("compute", "float16", "float32, bfloat16"),
        ("data", 3, "a section with the fields name, train"),
        ("data.size", 0, COUNT),
        ("data.size", 1.5, WHOLE),
        ("data.channels", 4, "1, 3"),
        ("data.channels", True, "1, 3"),
        ("data.split_seed", -1, NATURAL),
        ("data.split", (0.6, 0.4), THREE),
        ("data.split", (0.5, 0.5, 0.5), THREE),
        ("data.held_out", 0.5, "below 0.5"),
        ("data.weights", "even", "uniform, classes, sqrt_size"),
        ("data.train", "glyphs", "(VALUE,)"),
        ("augment.shift", -1, NATURAL),
        ("task.way", 1, "2 or more"),
        ("task.queries", 0, COUNT),
        ("train_task.shot", 0, COUNT),
        ("encoder.name", "vgg", "none, resnet, efficientnet_lite0"),
        ("encoder.use", "tuned", "frozen, meta, adapted"),
        ("encoder.norm", "group", "frozen, support, batch"),
        ("model.name", "resnet", "conv4, mlp, linear"),
        ("model.filters", 0, COUNT),
        ("model.norm", "layer", "support, batch, group, none"),
        ("model.downsample", "blur", "pool, stride"),
        ("model.output", "max", "average, flatten"),
        ("model.hidden", (), ONE),
        ("model.dropout", 1.0, "below 1"),
        ("inner.optimizer", "lion", "sgd, adam"),
        ("inner.learning_rate", 0.0, POSITIVE),
        ("inner.learning_rate", NAN, POSITIVE),
        ("inner.steps", -1, NATURAL),
        ("inner.batch", -1, NATURAL),
        ("outer.learning_rate", -1e-3, POSITIVE),
        ("outer.warmup_steps", -1, NATURAL),
        ("outer.clip", -1.0, NATURAL),
        ("method.algorithm", "imaml", "maml, anil, reptile"),
        ("method.gradient", "exact", "mixed, reverse, first_order"),
        ("method.tasks", "pmap", "scan, vmap, unroll"),
        ("method.head", "cosine", "prototype, zero, learned"),
        ("joint.batch", 0, COUNT),
        ("joint.learning_rate", 0.0, POSITIVE),
        ("joint.steps_per_iteration", -1.0, NATURAL),
        ("evaluate.episodes", 1, "2 or more, or 0"),
        ("evaluate.validation_episodes", 0, COUNT),
        ("evaluate.min_way", 1, "2 or more"),
        ("evaluate.max_queries", 0, COUNT),
        ("evaluate.steps", (), RISING),
        ("evaluate.steps", (1, 2), RISING),
        ("evaluate.steps", (0, 5, 2), RISING),
        ("evaluate.steps", (0, 2, 2), RISING),
        ("evaluate.centroid_scales", (), ONE),
        ("transfer.steps", -1, NATURAL),
        ("transfer.batch", 0, COUNT),
        ("transfer.trial_steps", 0, COUNT),
        ("transfer.held_out", 1.0, SHARE),
        ("transfer.fraction", 0.0, "above 0 and at most 1"),
        ("transfer.heads", (), ONE),
        ("transfer.price_per_hour", -1.0, NATURAL),
        # An element, the first of a tuple.
        ("evaluate.steps[0]", 1.5, WHOLE),
        ("evaluate.steps[0]", False, WHOLE),
        ("evaluate.sgd_rates[0]", -0.1, POSITIVE),
        ("evaluate.sgd_rates[0]", "x", NUMBER),
        ("evaluate.sgd_rates[0]", True, NUMBER),
        ("evaluate.inverse_penalties[0]", 0.0, POSITIVE),
        ("data.train[0]", 5, NAME),
        ("data.split[0]", "a", NUMBER),
        ("model.hidden[0]", "a", WHOLE),
        ("model.hidden[0]", 64.5, WHOLE),
        ("encoder.stage_sizes[0]", "a", WHOLE),
        ("encoder.stage_sizes[0]", 1.5, WHOLE),
        ("transfer.sgd_rates[0]", -0.1, POSITIVE),
        ("transfer.accuracies[0]", 1.5, "above 0 and at most 1"),
        ("transfer.accuracies[0]", "x", NUMBER),
        ("transfer.heads[0]", 1, "prototype, zero, linear probe"),
        ("transfer.heads[0]", "best", "prototype, zero, linear probe"),
        # Of other kinds of configs.
        ("epochs", 0, COUNT),
        ("batch", 0, COUNT),
        ("learning_rate", -1.0, POSITIVE),
        ("use", "meta", "frozen, adapted"),
        ("choose_on", 1.0, SHARE),
        ("inits[0]", 1, NAME),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_named(field: str, value: Any, words: str) -> None:
    name, element, _ = field.partition("[")
    kinds = (Experiment, Supervised, TransferExperiment)
    (kind, *_) = (kind for kind in kinds if name.split(".")[0] in vars(kind()))
    with pytest.raises(ConfigError) as refused:
        replaced(kind(), {name: (value,) if element else value})
    message = str(refused.value)
    assert message.startswith(f"{field}={value!r} must be ")
    assert words in message and "\n" not in message


@pytest.mark.parametrize(
    "field, nearest",
    [
        ("iteration", "iterations"),
        ("learning_rate", "inner.learning_rate"),
        ("inner.lerning_rate", "inner.learning_rate"),
        ("method.algoritm", "method.algorithm"),
    ],
)
def test_an_unknown_field_is_told_the_nearest(field: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as refused:
        replaced(Experiment(), {field: 1})
    message = str(refused.value)
    assert message.startswith(f"{field}: ") and message.endswith(f" {nearest}")


def test_what_is_stored_reads_back() -> None:
    changes = {"inner.steps": 3, "evaluate.steps": (0, 3), "max_hours": 2}
    changed = replaced(Experiment(), changes)
    stored = json.loads(json.dumps(dataclasses.asdict(changed)))
    assert parse(stored, Experiment) == changed != Experiment()
    assert isinstance(changed.max_hours, float)
    network = changed.network
    assert parse(dataclasses.asdict(network), Network) == network
    assert parse({}, Experiment) == Experiment()


def test_names_of_choices_are_those_that_there_are() -> None:
    for section, field, known in (
        (fields.Method, "gradient", MODES),
        (fields.Method, "tasks", STRATEGIES),
        (fields.Data, "weights", WEIGHTS),
        (fields.Model, "norm", normalisation.TRAINED_HERE),
        (fields.Model, "downsample", conv4.DOWNSAMPLE),
        (fields.Model, "output", conv4.OUTPUT),
        (fields.Encoder, "norm", normalisation.PRETRAINED),
    ):
        choices = typing.get_type_hints(section)[field]
        assert set(typing.get_args(choices)) == set(known)
    assert set(typing.get_args(fields.TransferHead)) == set(spec.HEADS)


def test_what_may_change_exists() -> None:
    sections = {field.name for field in dataclasses.fields(Experiment)}
    may_change = set(fields.MAY_CHANGE + fields.ONLY_UP)
    assert may_change <= sections | set(names(Experiment))
