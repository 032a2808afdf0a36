"""Plain values become typed fields, or one line says which of them cannot and why."""

import dataclasses
import json
import operator
import typing

import numpy as np
import pytest

from metainit.config import fields
from metainit.config.fields import ConfigError, Experiment, Supervised
from metainit.config.parsing import names, parse, replaced
from metainit.core.hypergradient import MODES
from metainit.core.task_batching import STRATEGIES
from metainit.data.episodes import WEIGHTS
from metainit.models import conv4, normalisation
from metainit.models.heads import CLASSIFIERS, HEADS, STEPPED

INF = float("inf")
POSITIVE, SHARE = "above 0 and finite", "above 0 and below 1"
NATURAL, COUNT, WAY = "0 or more", "1 or more", "2 or more"
WHOLE, NUMBER, NAME = "a whole number", "a number", "a name in quotes"
RISING, THREE, ONE = "rise from 0, such as (0, 1", "three shares", "one value or more"

# Fields, of any kind of config; a value; what would work. "[0]" is of one element.
MISTAKES = (
    ("seed warm_start augment.shift", -1, NATURAL),
    ("inner.steps inner.batch transfer.steps", -1, NATURAL),
    ("outer.patience", -1, NATURAL),
    ("outer.clip joint.steps_per_iteration", -1.0, NATURAL),
    ("iterations meta_batch log_every validate_every checkpoint_every", 0, COUNT),
    ("data.size task.queries train_task.shot model.filters joint.batch", 0, COUNT),
    ("evaluate.validation_episodes evaluate.max_queries epochs batch", 0, COUNT),
    ("transfer.batch transfer.trial_steps", 0, COUNT),
    ("task.way evaluate.min_way evaluate.episodes", 1, WAY),
    ("max_hours inner.learning_rate joint.learning_rate", 0.0, POSITIVE),
    ("outer.learning_rate learning_rate transfer.sgd_rates[0]", -0.001, POSITIVE),
    ("evaluate.ridge_penalties[0] evaluate.inverse_penalties[0]", 0.0, POSITIVE),
    ("max_hours", INF, POSITIVE),
    ("inner.learning_rate", float("nan"), POSITIVE),
    ("choose_on transfer.held_out", 1.0, SHARE),
    ("model.dropout joint.label_smoothing outer.average", 1.0, "below 1"),
    ("joint.weight_decay", -0.1, NATURAL),
    ("joint.head", "margin", "linear, cosine"),
    ("transfer.layer_decays[0]", 0.0, "above 0 and at most 1"),
    ("transfer.accuracies[0]", 1.5, "above 0 and at most 1"),
    ("data.held_out", 0.5, "below 0.5"),
    *(("data.split", shares, THREE) for shares in ((0.6, 0.4), (0.5, 0.5, 0.5))),
    *(("evaluate.steps", x, RISING) for x in ((), (1, 2), (0, 5, 2), (0, 2, 2))),
    ("model.hidden evaluate.centroid_scales transfer.heads", (), ONE),
    ("evaluate.alphas", (), ONE),
    ("evaluate.alphas[0]", 1.5, "from 0 to 1"),
    ("evaluate.alphas[0]", -0.5, "from 0 to 1"),
    ("transfer.schedules transfer.layer_decays", (), ONE),
    ("evaluate.sgd_rates[0] transfer.accuracies[0] data.split[0]", "x", NUMBER),
    ("evaluate.sgd_rates[0]", True, NUMBER),
    ("data.size evaluate.steps[0] model.hidden[0] encoder.stage_sizes[0]", 1.5, WHOLE),
    ("warm_start evaluate.steps[0]", True, WHOLE),
    ("data.train[0] inits[0]", 5, NAME),
    ("data.train", "glyphs", "(VALUE,)"),
    ("cold_start", 1, "True or False"),
    ("data", 3, "a section with the fields name, train"),
    ("compute", "float16", "float32, bfloat16"),
    ("data.channels", True, "1, 3"),
    ("transfer.heads[0]", "best", "prototype, zero, linear probe"),
)


@pytest.mark.parametrize(
    "field, value, words",
    [(field, value, x) for fields, value, x in MISTAKES for field in fields.split()],
    ids=str,
)
def test_a_value_that_cannot_be_is_named(field, value, words):
    name, element, _ = field.partition("[")
    kinds = (Experiment, Supervised, fields.TransferExperiment)
    (kind, *_) = (kind for kind in kinds if name.split(".")[0] in vars(kind()))
    with pytest.raises(ConfigError) as refused:
        replaced(kind(), {name: (value,) if element else value})
    message = str(refused.value)
    assert message.startswith(f"{field}={value!r} must be ")
    assert words in message and "\n" not in message


@pytest.mark.parametrize("kind", [Experiment, Supervised, fields.TransferExperiment])
def test_every_field_has_a_type_or_choices_that_are_told(kind):
    words = {bool: "True or False", int: WHOLE, float: NUMBER, str: NAME, tuple: "(VA"}
    for field in names(kind):
        default = operator.attrgetter(field)(kind())
        with pytest.raises(ConfigError) as refused:
            replaced(kind(), {field: None})
        _, given, wanted = str(refused.value).partition(f"{field}=None must be ")
        assert given and (words[type(default)] in wanted or str(default) in wanted)


def test_an_unknown_field_is_told_the_nearest():
    for field, nearest in (
        ("iteration", "iterations"),
        ("learning_rate", "inner.learning_rate"),
        ("inner.lerning_rate", "inner.learning_rate"),
        ("method.algoritm", "method.algorithm"),
    ):
        with pytest.raises(ConfigError, match=f"^{field}: .* {nearest}$"):
            replaced(Experiment(), {field: 1})


def test_what_is_stored_reads_back():
    half = np.float64(0.5)  # a subclass of float
    changes = {"inner.steps": 3, "evaluate.steps": (0, 3), "max_hours": half}
    changed = replaced(Experiment(), changes)
    stored = json.loads(json.dumps(dataclasses.asdict(changed)))
    assert parse(stored, Experiment) == changed != Experiment()
    assert type(changed.max_hours) is float
    network = changed.network
    assert parse(dataclasses.asdict(network), fields.Network) == network
    assert parse({}, Experiment) == Experiment()


def test_names_of_choices_are_those_that_there_are():
    for section, field, known in (
        (fields.Method, "gradient", {*MODES, "truncated", "implicit"}),
        (fields.Method, "tasks", STRATEGIES),
        (fields.Data, "weights", WEIGHTS),
        (fields.Model, "norm", normalisation.TRAINED_HERE),
        (fields.Model, "downsample", conv4.DOWNSAMPLE),
        (fields.Model, "output", conv4.OUTPUT),
        (fields.Encoder, "norm", normalisation.PRETRAINED),
    ):
        choices = typing.get_type_hints(section)[field]
        assert set(typing.get_args(choices)) == set(known)
    of_transfer = set(typing.get_args(fields.TransferHead))
    assert of_transfer == STEPPED.keys() | CLASSIFIERS.keys()
    choices = typing.get_type_hints(fields.Method)["head"]
    tasks = {name for name, head in HEADS.items() if head.start}
    assert set(typing.get_args(choices)) == tasks | {"learned"}


def test_what_may_change_exists():
    sections = {field.name for field in dataclasses.fields(Experiment)}
    may_change = set(fields.MAY_CHANGE + fields.ONLY_UP)
    assert may_change <= sections | set(names(Experiment))
