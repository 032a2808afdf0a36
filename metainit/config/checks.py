"""What must hold between the fields of a config, told before data are opened."""

from __future__ import annotations

import operator
from typing import NoReturn

from metainit.config.fields import (
    ConfigError,
    Experiment,
    TransferExperiment,
    own_size,
)


def validate(config: Experiment | TransferExperiment) -> None:
    """Raises ConfigError for what can be refused before data are opened."""
    if isinstance(config, Experiment):
        _check_training(config)
        _check_data(config)
        _check_network(config)
        _check_inner_loop(config)
        if config.encoder.name != "none":
            _check_encoder(config)
    else:
        _check_comparison(config)
    if config.transfer.steps:
        _check_transfer(config)


def _refuse(config: object, fields: str, words: str) -> NoReturn:
    """Names the fields and their values, then says why and what would work."""
    values = (f"{x}={operator.attrgetter(x)(config)!r}" for x in fields.split())
    raise ConfigError(f"{', '.join(values)}: {words}")


def _check_training(c: Experiment) -> None:
    if c.warm_start >= c.iterations:
        words = "no meta-iteration is left; lower warm_start, or 0 for none"
        _refuse(c, "warm_start iterations", words)
    if not c.warm_start and not c.cold_start:
        words = "nothing is meta-learned; give cold_start=True, or a warm_start"
        _refuse(c, "warm_start cold_start", words)
    if 0 < c.outer.decay_steps < c.iterations:
        words = "the rate would be 0 from there on; raise it, or 0 for a constant rate"
        _refuse(c, "outer.decay_steps iterations", words)
    if not (c.evaluate.sgd_rates or c.evaluate.adam_rates):
        words = "both are empty; give one rate"
        _refuse(c, "evaluate.sgd_rates evaluate.adam_rates", words)
    if c.transfer.steps and not c.evaluate.episodes:
        words = "meta-test is left out; give episodes, or transfer.steps=0"
        _refuse(c, "transfer.steps evaluate.episodes", words)


def _check_transfer(c: Experiment | TransferExperiment) -> None:
    if c.transfer.shot and c.transfer.fraction < 1:
        words = "both limit the labels; give one of them"
        _refuse(c, "transfer.shot transfer.fraction", words)
    if not (c.transfer.sgd_rates or c.transfer.adam_rates):
        words = "both are empty; give one rate"
        _refuse(c, "transfer.sgd_rates transfer.adam_rates", words)


def _check_comparison(c: TransferExperiment) -> None:
    if not c.data.name:
        _refuse(c, "data.name", "name a data set, such as folder:PATH")
    if not c.inits:
        words = "give runs, weights or random: \"('runs/quickstart','random')\""
        _refuse(c, "inits", words)
    if c.inits[0] == "random":
        words = "random takes the network of the first; name that before it"
        _refuse(c, "inits", words)
    if not c.transfer.steps:
        _refuse(c, "transfer.steps", "give 1 or more")


def _check_data(c: Experiment) -> None:
    data = c.data
    if bool(data.name) == bool(data.train):
        words = "give a single data set by data.name, or several, with data.name=''"
        _refuse(c, "data.name data.train", words)
    if (data.validation or data.test) and not data.train:
        words = "they go with data.train; data.split parts the classes of data.name"
        _refuse(c, "data.validation data.test", words)
    if data.train and data.archive:
        words = "an archive is of data.name; leave it out"
        _refuse(c, "data.train data.archive", words)
    if data.train and not (data.held_out or (data.validation and data.test)):
        words = "no classes are left for the empty ones; give a share such as 0.1"
        _refuse(c, "data.held_out data.validation data.test", words)
    roles = {"train": data.train, "validation": data.validation, "test": data.test}
    names = {r: {own_size(x, data.size)[0] for x in roles[r]} for r in roles}
    for pair in ("test train", "test validation", "validation train"):
        one, other = pair.split()
        if shared := sorted(names[one] & names[other]):
            words = f"none may have two roles, whatever its size: {', '.join(shared)}"
            _refuse(c, f"data.{one} data.{other}", words)
    sizes = {own_size(x, data.size)[1] for of_role in roles.values() for x in of_role}
    flat = c.model.name == "mlp" or c.model.output == "flatten"
    if flat and len(sizes) > 1:
        words = f"only conv4 with model.output=average takes sizes {sorted(sizes)}"
        _refuse(c, "model.name model.output", words)


def _check_network(c: Experiment) -> None:
    model, there = c.model, c.encoder.name != "none"
    if model.scale != 1 and model.name != "conv4":
        words = "only model.name=conv4 is scaled; leave it at 1.0"
        _refuse(c, "model.scale model.name", words)
    if model.norm == "group" and model.filters > 8 and model.filters % 8:
        words = f"eight groups are normalised; give {model.filters // 8 * 8}"
        _refuse(c, "model.filters model.norm", words)
    if c.method.head == "learned" and (
        c.evaluate.variable or not c.train_task.way or c.train_task.way != c.task.way
    ):
        words = "this head has one number of classes, at all times; use prototype or "
        words += "zero, or one way, not 0 (all classes) and not variable"
        _refuse(c, "method.head train_task.way task.way evaluate.variable", words)
    if c.learned_rates and not (there and c.encoder.weights):
        words = "step sizes are learned of pretrained weights; give encoder.weights, or"
        words += " learned_rates=False"
        _refuse(c, "learned_rates encoder.name encoder.weights", words)
    if model.name == "linear" and not there:
        words = "a linear head needs an encoder; choose resnet or efficientnet_lite0, "
        words += "or model.name=conv4"
        _refuse(c, "model.name encoder.name", words)


def _check_inner_loop(c: Experiment) -> None:
    size, step = (
        c.inner.microbatch,
        c.inner.batch or c.train_task.way * c.train_task.shot,
    )
    whole = "its moments are of the whole batch; use"
    if size and c.model.name == "conv4" and c.model.norm in ("support", "batch"):
        words = f"{whole} group or none, or microbatch=0"
        _refuse(c, "inner.microbatch model.norm", words)
    if size and c.encoder.name != "none" and c.encoder.norm != "frozen":
        words = f"{whole} frozen, or microbatch=0"
        _refuse(c, "inner.microbatch encoder.norm", words)
    if size and (not step or step % size):
        words = f"take a divisor of the {step or 'varying'} support images of a step, "
        words += "or 0"
        _refuse(c, "inner.microbatch", words)
    # Without inner steps a prototype or a learned head can still be meta-learned.
    nothing = "nothing is left to learn; give inner.steps=1 or more, or"
    if not c.inner.steps and c.method.head == "zero":
        _refuse(c, "inner.steps method.head", f"{nothing} method.head=prototype")
    if not c.inner.steps and c.method.algorithm == "reptile":
        _refuse(c, "inner.steps method.algorithm", f"{nothing} method.algorithm=maml")
    if not c.inner.steps and c.learned_rates:
        _refuse(c, "inner.steps learned_rates", f"{nothing} learned_rates=False")


def _check_encoder(c: Experiment) -> None:
    encoder, head = c.encoder, c.method.head
    if c.model.name == "mlp":
        words = "a perceptron does not take an encoder's map; use conv4 or linear"
        _refuse(c, "model.name encoder.name", words)
    if c.data.channels != 3:
        words = "an encoder takes images in colour; give data.channels=3"
        _refuse(c, "encoder.name data.channels", words)
    if encoder.use == "frozen" and c.model.name == "linear" and head != "learned":
        words = "nothing to learn is left; set encoder.use to meta or adapted, or "
        words += "model.name=conv4, or method.head=learned"
        _refuse(c, "encoder.use model.name method.head", words)
    if encoder.use == "meta" and c.method.algorithm == "reptile":
        words = "reptile learns what inner steps change, and meta keeps the encoder "
        words += "from them; use adapted or frozen, or maml or anil"
        _refuse(c, "method.algorithm encoder.use", words)
    if encoder.cached and encoder.use != "frozen":
        words = "only a frozen encoder's features are kept; set use=frozen, or "
        words += "cached=False"
        _refuse(c, "encoder.cached encoder.use", words)
    if encoder.cached and (c.augment.shift or c.augment.flip):
        words = "features are kept of images as they are; give 0 and False, or "
        words += "cached=False"
        _refuse(c, "encoder.cached augment.shift augment.flip", words)
