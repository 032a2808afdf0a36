"""What must hold between fields: every mistake is named, with what would work."""

import operator

import pytest

from metainit.config.checks import validate
from metainit.config.fields import ConfigError, Experiment, TransferExperiment
from metainit.config.parsing import replaced

NO_TEST, TRANSFER = {"evaluate.episodes": 0}, {"transfer.steps": 9}
ENCODER = {"encoder.name": "resnet", "data.channels": 3}
ADAPTED = ENCODER | {"encoder.use": "adapted", "model.name": "linear"}
PRETRAINED = ADAPTED | {"encoder.weights": "some.pth"}
FROZEN = PRETRAINED | {"encoder.use": "frozen"}
META = {"encoder.use": "meta"}
SEVERAL = {"data.name": "", "data.train": ("a", "b")}
LEARNED = {"method.head": "learned"}
WAYS = "method.head train_task.way task.way evaluate.variable"
NO_STEPS = {"inner.steps": 0}
ALPHAS = "evaluate.alphas encoder.weights warm_start"
REPTILE = {"method.algorithm": "reptile"}
BOIL = {"method.algorithm": "boil"}
IMPLICIT = {"method.gradient": "implicit"}
TENSORS = {"method.step_sizes": "tensor"}
CACHED = {"encoder.cached": True}
FROM_STEM = "encoder.cached encoder.use encoder.learn_from"
UPPER = PRETRAINED | {"encoder.learn_from": "stage3", "encoder.adapt_from": "stage4"}
NOTHING = "encoder.use encoder.learn_from model.name method.head"
UNLEARNED = PRETRAINED | {"encoder.learn_from": "none"}
SHIFTED = ENCODER | CACHED | {"augment.shift": 1}
STEP_SIZES = {"learned_rates": ("pretrained",)}
NO_RATES = {"evaluate.sgd_rates": (), "evaluate.adam_rates": ()}
NO_TRANSFER_RATES = TRANSFER | {"transfer.sgd_rates": (), "transfer.adam_rates": ()}
MICRO = {"inner.microbatch": 5}
FILM, ADAPTERS = {"model.added": "film"}, {"model.added": "adapters"}
PLACE = "model.added model.name model.norm encoder.use"
COMPARISON = {"data.name": "glyphs", "inits": ("runs/a",)}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"warm_start": 1000}, "warm_start iterations: give warm_start=200"),
        ({"cold_start": False}, "warm_start cold_start: cold_start=True"),
        ({"outer.decay_steps": 999}, "outer.decay_steps iterations: or 0"),
        ({"evaluate.alphas": (0.5, 1)}, f"{ALPHAS}: or alphas=(1.0,)"),
        (
            {"evaluate.alphas": (0.5,), "encoder.weights": "some.pth"},
            f"{ALPHAS}: random weights; give one of these",
        ),
        ({"model.norm": "group", "model.filters": 12}, "model.filters model.norm: 8"),
        (
            {"model.norm": "group", "model.filters": 6, "model.name": "resnet12"},
            "model.filters model.norm: give 8",
        ),
        (
            {"model.name": "mlp", "model.scale": 0.1},
            "model.scale model.name model.unit_length: 1.0",
        ),
        (NO_RATES, "evaluate.sgd_rates evaluate.adam_rates: give one rate"),
        (NO_STEPS | {"method.head": "zero"}, "inner.steps method.head: prototype"),
        (NO_STEPS | REPTILE, "inner.steps method.algorithm: maml"),
        (PRETRAINED | NO_STEPS | STEP_SIZES, "inner.steps learned_rates: 1 or more"),
        (STEP_SIZES, "learned_rates encoder.name encoder.weights: encoder.weights"),
        ({"learned_rates": ("warm start",)}, "learned_rates warm_start: warm_start"),
        (LEARNED | {"evaluate.variable": True}, f"{WAYS}: prototype"),
        (LEARNED | {"train_task.way": 20}, f"{WAYS}: one way"),
        (LEARNED | {"train_task.way": 0}, f"{WAYS}: not 0"),
        # The encoder.
        (PRETRAINED | META | REPTILE, "method.algorithm encoder.use: adapted"),
        (FROZEN, f"{NOTHING}: model.name=conv4"),
        (UNLEARNED, f"{NOTHING}: learn_from=''"),
        (PRETRAINED | CACHED, f"{FROM_STEM} encoder.adapt_from: use=frozen"),
        (
            UPPER | CACHED | {"encoder.adapt_from": "stem"},
            "encoder.cached encoder.use encoder.adapt_from: above the stem",
        ),
        (ENCODER | META | CACHED, f"{FROM_STEM}: above the stem"),
        (
            UPPER | CACHED | {"encoder.norm": "support"},
            "encoder.cached encoder.norm: norm=frozen",
        ),
        (SHIFTED, "encoder.cached augment.shift augment.flip: 0 and False"),
        (ENCODER | {"model.name": "mlp"}, "model.name encoder.name: conv4 or linear"),
        (ENCODER | {"data.channels": 1}, "encoder.name data.channels: 3"),
        ({"model.name": "linear"}, "model.name encoder.name: conv4"),
        # The method.
        ({"method.head": "ridge"}, "method.head model.unit_length: True"),
        (IMPLICIT | NO_STEPS, "method.gradient inner.steps: give 1 or more"),
        (REPTILE | IMPLICIT, "method.gradient method.algorithm: give mixed, or maml"),
        (
            IMPLICIT | {"inner.optimizer": "adam"},
            "method.gradient inner.optimizer inner.batch: sgd",
        ),
        (
            {"method.gradient": "truncated", "method.last": 11},
            "method.last inner.steps: 10 at most",
        ),
        (IMPLICIT | {"method.multi_step": 9}, "method.gradient method.multi_step: 0"),
        (
            REPTILE | {"method.multi_step": 9},
            "method.multi_step method.algorithm: maml",
        ),
        (
            {"method.multi_step": 9, "warm_start": 9},
            "method.multi_step warm_start cold_start: cold_start=False",
        ),
        (NO_STEPS | {"method.multi_step": 9}, "method.multi_step inner.steps: 0"),
        (
            {"method.leave_one_out": True},
            "method.leave_one_out inner.steps method.head: give 0",
        ),
        (
            NO_STEPS | {"method.leave_one_out": True},
            "method.leave_one_out train_task.shot: 2 or more",
        ),
        (
            REPTILE | {"method.step_sizes": "tensor"},
            "method.step_sizes method.algorithm inner.steps: maml",
        ),
        ({"method.phases": (0, 3)}, "method.phases method.step_sizes: tensor"),
        (
            TENSORS | IMPLICIT,
            "method.gradient method.step_sizes learned_rates: or fixed and ()",
        ),
        (
            TENSORS
            | {"method.gradient": "truncated", "method.last": 7}
            | {"method.phases": (0, 3)},
            "method.phases method.gradient method.last inner.steps: a larger last",
        ),
        (TENSORS | {"method.phases": (0, 10)}, "method.phases inner.steps: below"),
        (
            {"method.step_sizes": "element", "method.phases": (0, 3)},
            "method.step_sizes method.phases: tensor",
        ),
        (BOIL | FROZEN | LEARNED, "method.algorithm model.name encoder.use: adapted"),
        (BOIL | {"method.head": "zero"}, "method.algorithm method.head: prototype"),
        # What is added.
        (FILM | {"method.algorithm": "anil"}, "model.added method.algorithm: maml"),
        (FILM | REPTILE, "model.added method.algorithm encoder.weights: maml"),
        (FILM | BOIL, "model.added method.algorithm: maml"),
        (ADAPTERS | REPTILE, "model.added method.algorithm encoder.weights: maml"),
        (FILM | NO_STEPS, "model.added inner.steps: 1 or more"),
        (ADAPTERS | {"model.name": "mlp"}, "model.added model.name: give film"),
        (FILM | {"model.norm": "none"}, "model.added model.norm: norm=support"),
        (ENCODER | META | FILM | {"model.name": "linear"}, f"{PLACE}: use=adapted"),
        (FROZEN | LEARNED | ADAPTERS, f"{PLACE}: use=adapted"),
        (ENCODER | FILM | {"model.norm": "none"}, f"{PLACE}: use=adapted"),
        # Microbatches.
        (MICRO, "inner.microbatch model.norm: group"),
        (
            MICRO | ADAPTED | {"encoder.norm": "support"},
            "inner.microbatch encoder.norm: frozen",
        ),
        (
            {"inner.microbatch": 3, "model.norm": "none"},
            "inner.microbatch: divisor of the 5 support images",
        ),
        # Data.
        ({"data.train": ("a",)}, "data.name data.train: data.name=''"),
        ({"data.name": ""}, "data.name data.train: data.name=''"),
        ({"data.test": ("a",)}, "data.validation data.test: data.train"),
        (SEVERAL | {"data.archive": "x"}, "data.train data.archive: leave it out"),
        (
            SEVERAL | {"data.held_out": 0.0},
            "data.held_out data.validation data.test: 0.1",
        ),
        (SEVERAL | {"data.test": ("b@32",)}, "data.test data.train: two roles"),
        (
            SEVERAL | {"data.validation": ("c",), "data.test": ("d", "c@8")},
            "data.test data.validation: : c",
        ),
        (
            SEVERAL | {"data.train": ("a@32", "b"), "model.output": "flatten"},
            "model.name model.output: sizes [28, 32]",
        ),
        # Transfer.
        (TRANSFER | NO_TEST, "transfer.steps evaluate.episodes: give episodes"),
        (NO_TRANSFER_RATES, "transfer.sgd_rates transfer.adam_rates: give one rate"),
        (COMPARISON | {"data.name": ""}, "data.name: folder:PATH"),
        (COMPARISON | {"inits": ()}, "inits: 'runs/quickstart','random'"),
        (COMPARISON | {"inits": ("random",)}, "inits: name that before it"),
        (COMPARISON | {"transfer.steps": 0}, "transfer.steps: 1 or more"),
    ],
    ids=str,
)
def test_a_mistake_is_named(changes, words):
    start = TransferExperiment() if "inits" in changes else Experiment()
    config = replaced(start, changes)
    with pytest.raises(ConfigError) as refused:
        validate(config)
    fields, _, instead = words.partition(": ")
    message = str(refused.value)
    values = [f"{x}={operator.attrgetter(x)(config)!r}" for x in fields.split()]
    assert message.startswith(f"{', '.join(values)}: ")
    assert instead in message and "\n" not in message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        NO_TEST | NO_STEPS | {"outer.decay_steps": 1000, "train_task.way": 0},
        LEARNED | NO_STEPS,
        PRETRAINED | META | NO_STEPS,
        PRETRAINED | REPTILE,
        IMPLICIT,
        TENSORS | {"method.phases": (0, 9)},
        TENSORS
        | {"method.gradient": "truncated", "method.last": 7}
        | {"method.phases": (0, 4)},
        {"method.gradient": "truncated", "method.last": 0},
        NO_STEPS | {"method.leave_one_out": True, "train_task.shot": 2},
        META | REPTILE,  # without an encoder
        {"warm_start": 999, "cold_start": False, "outer.clip": 0.0},
        {"warm_start": 9, "evaluate.alphas": (0, 0.5, 1)},
        PRETRAINED | {"evaluate.alphas": (0.5,)},
        {"evaluate.sgd_rates": (1, 0.1), "evaluate.adam_rates": ()},
        {"data.split": (1, 0, 0), "train_task.way": 20},
        TRANSFER | LEARNED | {"transfer.accuracies": (1, 0.5)},
        MICRO | {"model.norm": "group"},
        UPPER | CACHED,
        ENCODER | META | CACHED | {"encoder.learn_from": "stage3"},
        FILM | {"model.name": "mlp"},
        ADAPTERS | {"model.norm": "none"},
        UNLEARNED | FILM | REPTILE,
        UNLEARNED | CACHED | ADAPTERS | {"encoder.adapt_from": "stage4"},
        ENCODER | FILM,
        SEVERAL,
        SEVERAL | {"data.held_out": 0, "data.validation": ("c",), "data.test": ("d",)},
        SEVERAL | {"data.train": ("a@32", "b")},
    ],
    ids=str,
)
def test_what_works_passes(changes):
    validate(replaced(Experiment(), changes))
