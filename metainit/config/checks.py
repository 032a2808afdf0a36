"""What must hold between the fields of a config, told before data are opened."""

import itertools
import operator
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from metainit.config import fields
from metainit.config.fields import ConfigError, Experiment, TransferExperiment

# Of each broken rule: the fields, and why with what would work.
Broken: TypeAlias = Iterator[tuple[str, str]]
_CONVOLUTIONAL = ("conv4", "resnet12")  # from pixels or maps, normalised and scaled


def validate(config: Experiment | TransferExperiment) -> None:
    """Raises ConfigError for what can be refused before data are opened."""
    rules: tuple[Callable[[Any], Broken], ...] = (_comparison, _transfer)
    if isinstance(config, Experiment):
        rules = (
            *(_training, _data, _network, _inner_loop),
            *(_encoder, _method, _added, _transfer),
        )
    for names, words in itertools.chain.from_iterable(rule(config) for rule in rules):
        values = (f"{x}={operator.attrgetter(x)(config)!r}" for x in names.split())
        raise ConfigError(f"{', '.join(values)}: {words}")


def _training(c: Experiment) -> Broken:
    if c.warm_start >= c.iterations:
        words = f"more iterations than {c.warm_start}"
        if fitting := c.iterations // 5:
            words = f"warm_start={fitting}, or {words}"
        yield "warm_start iterations", f"no meta-iteration is left; give {words}"
    if not (c.warm_start or c.cold_start or c.learned_rates):
        words = "nothing is meta-learned; give cold_start=True"
        yield "warm_start cold_start", words
    if 0 < c.outer.decay_steps < c.iterations:
        words = "the rate would be 0 from there on; raise it, or 0 for a constant rate"
        yield "outer.decay_steps iterations", words
    has_weights = c.encoder.name != "none" and c.encoder.weights
    if set(c.evaluate.alphas) != {1.0} and not (has_weights or c.warm_start):
        words = "all begins with random weights; give one of these, or alphas=(1.0,)"
        yield "evaluate.alphas encoder.weights warm_start", words
    if not (c.evaluate.sgd_rates or c.evaluate.adam_rates):
        yield "evaluate.sgd_rates evaluate.adam_rates", "give one rate"
    if c.transfer.steps and not c.evaluate.episodes:
        yield "transfer.steps evaluate.episodes", "give episodes, or transfer.steps=0"


def _transfer(c: Experiment | TransferExperiment) -> Broken:
    if c.transfer.steps and not (c.transfer.sgd_rates or c.transfer.adam_rates):
        yield "transfer.sgd_rates transfer.adam_rates", "give one rate"


def _comparison(c: TransferExperiment) -> Broken:
    if not c.data.name:
        yield "data.name", "name a data set, such as folder:PATH"
    if not c.inits:
        yield "inits", "give runs, weights or random: \"('runs/quickstart','random')\""
    if c.inits[0] == "random":
        yield "inits", "random takes the network of the first; name that before it"
    if not c.transfer.steps:
        yield "transfer.steps", "give 1 or more"


def _data(c: Experiment) -> Broken:
    data = c.data
    if bool(data.name) == bool(data.train):
        yield "data.name data.train", "give one set, or several with data.name=''"
    if (data.validation or data.test) and not data.train:
        yield "data.validation data.test", "they go with data.train, not data.name"
    if data.train and data.archive:
        yield "data.train data.archive", "an archive is of data.name; leave it out"
    if data.train and not (data.held_out or (data.validation and data.test)):
        words = "no classes are left for the empty ones; give a share such as 0.1"
        yield "data.held_out data.validation data.test", words
    roles = {"train": data.train, "validation": data.validation, "test": data.test}
    sized = {r: [fields.own_size(x, data.size) for x in roles[r]] for r in roles}
    for one, other in itertools.combinations(("test", "validation", "train"), 2):
        if shared := sorted(dict(sized[one]).keys() & dict(sized[other]).keys()):
            words = f"none may have two roles, whatever its size: {', '.join(shared)}"
            yield f"data.{one} data.{other}", words
    sizes = {size for of_role in sized.values() for _, size in of_role}
    flat = c.model.name == "mlp" or c.model.output == "flatten"
    if flat and len(sizes) > 1:
        words = f"only averaged features (conv4, resnet12) take sizes {sorted(sizes)}"
        yield "model.name model.output", words


def _network(c: Experiment) -> Broken:
    model, has_encoder = c.model, c.encoder.name != "none"
    is_scaled = model.name in _CONVOLUTIONAL or model.unit_length
    if model.scale != 1 and not is_scaled:
        words = "it has no scale; leave it at 1.0, or give model.unit_length=True"
        yield "model.scale model.name model.unit_length", words
    if c.method.head in ("cosine", "ridge") and not model.unit_length:
        words = "it is of features of unit length; give model.unit_length=True"
        yield "method.head model.unit_length", words
    # Conv-4's layers of up to 8 channels have a group each; ResNet-12's double them.
    may_be = model.filters <= 8 and (model.name != "resnet12" or 8 % model.filters == 0)
    if model.norm == "group" and model.filters % 8 and not may_be:
        least = max(1, model.filters // 8) * 8
        yield "model.filters model.norm", f"8 groups; give {least}"
    is_of_one_way = 0 < c.train_task.way == c.task.way and not c.evaluate.variable
    if c.method.head == "learned" and not is_of_one_way:
        words = "give one way, not 0 and not variable, or use method.head=prototype"
        yield "method.head train_task.way task.way evaluate.variable", words
    if "pretrained" in c.learned_rates and not (has_encoder and c.encoder.weights):
        yield "learned_rates encoder.name encoder.weights", "give encoder.weights"
    if "warm start" in c.learned_rates and not c.warm_start:
        yield "learned_rates warm_start", "there is none; give warm_start"
    if model.name == "linear" and not has_encoder:
        yield "model.name encoder.name", "choose an encoder, or model.name=conv4"


def _inner_loop(c: Experiment) -> Broken:
    size, task = c.inner.microbatch, c.train_task
    step = c.inner.batch or task.way * task.shot
    whole = "moments are of the whole batch; use microbatch=0, or as norm"
    is_normalised = c.model.name in _CONVOLUTIONAL
    if size and is_normalised and c.model.norm in ("support", "batch"):
        yield "inner.microbatch model.norm", f"{whole} group or none"
    if size and c.encoder.name != "none" and c.encoder.norm != "frozen":
        yield "inner.microbatch encoder.norm", f"{whole} frozen"
    if size and (not step or step % size):
        words = f"take a divisor of the {step or 'varying'} support images of a step"
        yield "inner.microbatch", f"{words}, or 0"
    # Without inner steps a prototype or a learned head can still be meta-learned.
    nothing = "nothing is left to learn; give inner.steps=1 or more, or"
    if not c.inner.steps and c.method.head == "zero":
        yield "inner.steps method.head", f"{nothing} method.head=prototype"
    if not c.inner.steps and c.method.algorithm == "reptile":
        yield "inner.steps method.algorithm", f"{nothing} method.algorithm=maml"
    if not c.inner.steps and c.learned_rates:
        yield "inner.steps learned_rates", f"{nothing} learned_rates=()"


def _encoder(c: Experiment) -> Broken:
    encoder, head = c.encoder, c.method.head
    if encoder.name == "none":
        return
    if c.model.name == "mlp":
        yield "model.name encoder.name", "an MLP takes no map; use conv4 or linear"
    if c.data.channels != 3:
        yield "encoder.name data.channels", "an encoder sees colour; give channels=3"
    is_fixed = encoder.use == "frozen" or encoder.learn_from == c.model.added == "none"
    scaled = c.model.unit_length or c.method.step_sizes != "fixed"
    if is_fixed and c.model.name == "linear" and head != "learned" and not scaled:
        words = (
            "nothing is learned; give use=adapted and learn_from='', model.name=conv4, "
            "a learned head, model.unit_length=True or method.step_sizes=tensor"
        )
        yield "encoder.use encoder.learn_from model.name method.head", words
    if encoder.use == "meta" and c.method.algorithm == "reptile":
        words = "it learns only what inner steps change; use adapted, or maml"
        yield "method.algorithm encoder.use", words
    bounds = {"frozen": "", "meta": "learn_from", "adapted": "learn_from adapt_from"}
    of_use = [f"encoder.{field}" for field in bounds[encoder.use].split()]
    lowest = [x for x in of_use if operator.attrgetter(x)(c) in ("", "stem")]
    if encoder.cached and lowest:
        words = "no stage is frozen: give use=frozen, or a stage above the stem"
        yield " ".join(["encoder.cached encoder.use", *lowest]), words
    if encoder.cached and encoder.norm != "frozen":
        words = "features that depend on the batch are not kept; give norm=frozen"
        yield "encoder.cached encoder.norm", words
    if encoder.cached and (c.augment.shift or c.augment.flip):
        words = "features are kept of images as they are; give 0 and False"
        yield "encoder.cached augment.shift augment.flip", words


def _method(c: Experiment) -> Broken:
    method, inner = c.method, c.inner
    by_gradient = method.algorithm != "reptile"
    fitted = ("prototype", "cosine", "ridge")
    if method.gradient == "implicit" and (inner.optimizer != "sgd" or inner.batch):
        words = "it takes plain SGD on the whole support; give sgd and 0"
        yield "method.gradient inner.optimizer inner.batch", words
    if method.gradient == "implicit" and not inner.steps:
        yield "method.gradient inner.steps", "no minimum is looked for; give 1 or more"
    if method.gradient in ("truncated", "implicit") and not by_gradient:
        words = "it takes no gradient through inner steps; give mixed, or maml"
        yield "method.gradient method.algorithm", words
    if method.gradient == "truncated" and method.last > inner.steps:
        yield "method.last inner.steps", f"give {inner.steps} at most, or mixed"
    if method.gradient in ("truncated", "implicit") and method.multi_step:
        yield ("method.gradient method.multi_step", "it cuts such steps off; give 0")
    for name in ("multi_step", "leave_one_out"):
        if getattr(method, name) and not by_gradient:
            yield f"method.{name} method.algorithm", "it has no query; give maml"
    if method.multi_step and c.warm_start and c.cold_start:
        words = "two runs begin at two iterations; give cold_start=False, or 0"
        yield "method.multi_step warm_start cold_start", words
    if method.multi_step and not inner.steps:
        yield "method.multi_step inner.steps", "there is no step to weigh; give 0"
    if method.leave_one_out and (inner.steps or method.head not in fitted):
        words = "a head that has taken steps has seen all; give 0 and a fitted head"
        yield "method.leave_one_out inner.steps method.head", words
    if method.leave_one_out and c.train_task.shot < 2:
        yield "method.leave_one_out train_task.shot", "nothing is left; give 2 or more"
    if method.step_sizes != "fixed" and not (by_gradient and inner.steps):
        words = "steps are not differentiated; give maml and inner.steps=1 or more"
        yield "method.step_sizes method.algorithm inner.steps", words
    learns_rates = method.step_sizes != "fixed" or c.learned_rates
    if method.gradient == "implicit" and learns_rates:
        words = (
            "its minimum is the same for all step sizes; give mixed, or fixed and ()"
        )
        yield "method.gradient method.step_sizes learned_rates", words
    first_ends = (*method.phases, inner.steps)[1]
    is_cut = method.gradient == "truncated" and first_ends <= inner.steps - method.last
    if is_cut and learns_rates:
        words = "no step of the first phase is differentiated; give a larger last"
        yield "method.phases method.gradient method.last inner.steps", words
    if len(method.phases) > 1 and not learns_rates:
        words = "no step size is learned; give (0,), or step_sizes=tensor"
        yield "method.phases method.step_sizes", words
    if method.phases[-1] >= max(1, inner.steps):
        words = "training never gets there; give first steps below inner.steps"
        yield "method.phases inner.steps", words
    if method.step_sizes == "element" and len(method.phases) > 1:
        words = "an element has one step size; give (0,), or tensor"
        yield "method.step_sizes method.phases", words
    if (
        method.algorithm == "boil"
        and c.model.name == "linear"
        and (c.encoder.use != "adapted")
    ):
        words = "nothing but the head could adapt; give encoder.use=adapted, or maml"
        yield "method.algorithm model.name encoder.use", words
    if method.algorithm == "boil" and method.head == "zero":
        words = "a head of zeros that never changes says nothing; give prototype"
        yield "method.algorithm method.head", words


def _added(c: Experiment) -> Broken:
    model, method, name = c.model, c.method, c.encoder.name
    if model.added == "none":
        return
    if method.algorithm in ("anil", "boil"):
        words = "inner steps would not change what is added and the head; give maml"
        yield "model.added method.algorithm", words
    if method.algorithm == "reptile" and (name == "none" or not c.encoder.weights):
        words = "only what is added would be learned, on random weights; give maml"
        yield "model.added method.algorithm encoder.weights", words
    if not c.inner.steps:
        yield "model.added inner.steps", "no inner step changes it; give 1 or more"
    if model.added == "adapters" and model.name == "mlp":
        words = "an MLP has no convolutions; give film, or model.name=conv4"
        yield "model.added model.name", words
    is_plain = model.name == "linear" or (
        model.name in _CONVOLUTIONAL and model.norm == "none" and model.added == "film"
    )
    if is_plain and name != "none" and c.encoder.use != "adapted":
        words = "nothing that adapts has a place for it; give use=adapted"
        yield "model.added model.name model.norm encoder.use", words
    if is_plain and name == "none":
        yield "model.added model.norm", "nothing is normalised; give norm=support"
