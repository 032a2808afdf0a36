"""What cannot work in an experiment's settings, told before data are opened."""

import math
from typing import Any

from ml_collections import ConfigDict

from metainit.config.fields import ConfigError, default
from metainit.core.hypergradient import gradient_mode
from metainit.core.task_batching import strategy
from metainit.data import loading
from metainit.data.episodes import WEIGHTS
from metainit.models import conv4, mlp, norm, registry
from metainit.transfer import spec

ALGORITHMS = ("maml", "anil", "reptile")
HEADS = ("prototype", "zero", "learned")
MODELS = ("conv4", "mlp", "linear")
ENCODERS = ("none", "resnet", "efficientnet_lite0")
OPTIMIZERS = ("sgd", "adam")

# An element of the tuples that are empty by default.
_ELEMENTS = {
    "data.train": "cifar100",
    "data.validation": "cifar100",
    "data.test": "cifar100",
    "transfer.accuracies": 0.9,
    "inits": "runs/quickstart",
}
_KINDS = {
    int: (int, "a whole number"),
    float: (int | float, "a number"),
    str: (str, "a name in quotes"),
}


def validate(config: ConfigDict) -> None:
    """Checks everything that can be checked before data is opened.

    Raises:
      ConfigError: naming the field, its value and what would work.
    """
    check_elements(config, default())
    _at_least(config, 0, "seed", "warm_start", "data.split_seed", "augment.shift")
    _at_least(config, 0, "inner.steps", "inner.batch", "outer.decay_steps")
    _at_least(config, 0, "inner.microbatch", "outer.warmup_steps")
    _at_least(config, 0, "outer.clip", "joint.steps_per_iteration", "model.dropped")
    _at_least(config, 1, "iterations", "meta_batch", "log_every", "validate_every")
    _at_least(config, 1, "checkpoint_every", "data.size", "model.filters")
    _at_least(config, 1, "joint.batch", "evaluate.validation_episodes")
    _at_least(config, 0, "evaluate.episodes")
    for task in ("task", "train_task"):
        if _get(config, f"{task}.way") != 0:  # 0: every class of the data set
            _at_least(config, 2, f"{task}.way")
        _at_least(config, 1, f"{task}.shot", f"{task}.queries")
    rates = "inner.learning_rate", "outer.learning_rate", "joint.learning_rate"
    for field in ("max_hours", "model.scale", *rates):
        _positive(field, _get(config, field))
    for name in ("sgd_rates", "adam_rates", "centroid_scales", "inverse_penalties"):
        for value in config.evaluate[name]:
            _positive(f"evaluate.{name}", value)
    if config.evaluate.episodes == 1:
        raise ConfigError("evaluate.episodes=1 has no interval; give 2 or more, or 0")
    _check_variable(config)
    if not (config.evaluate.sgd_rates or config.evaluate.adam_rates):
        raise ConfigError(
            "evaluate.sgd_rates and evaluate.adam_rates are both empty; give one rate"
        )
    _choice("data.channels", config.data.channels, (1, 3))
    _choice("data.weights", config.data.weights, tuple(WEIGHTS))
    _check_data_sets(config)
    _choice("model.name", config.model.name, MODELS)
    if config.model.scale != 1 and config.model.name != "conv4":
        raise ConfigError(
            f"model.scale={config.model.scale} is for model.name=conv4; with "
            f"{config.model.name} leave it at 1.0"
        )
    _choice("model.norm", config.model.norm, tuple(norm.POLICIES))
    _choice("model.downsample", config.model.downsample, conv4.DOWNSAMPLE)
    _choice("model.output", config.model.output, conv4.OUTPUT)
    filters = config.model.filters
    if config.model.norm == "group" and filters > 8 and filters % 8:
        raise ConfigError(
            f"model.filters={filters} do not fall into the eight groups of model.norm="
            f"group; give {filters // 8 * 8}"
        )
    _choice("compute", config.compute, ("float32", "bfloat16"))
    _check_microbatch(config)
    _check_transfer(config)
    _choice("inner.optimizer", config.inner.optimizer, OPTIMIZERS)
    _choice("method.algorithm", config.method.algorithm, ALGORITHMS)
    _choice("method.head", config.method.head, HEADS)
    _known("method.gradient", gradient_mode, config.method.gradient)
    _known("method.tasks", strategy, config.method.tasks)
    _choice("encoder.name", config.encoder.name, ENCODERS)
    _check_encoder(config)
    _check_no_steps(config)
    if config.model.name == "mlp":
        _known("model", lambda m: mlp.mlp(m.hidden, m.dropout, m.dropped), config.model)
    for name in ("centroid_scales", "inverse_penalties"):
        if not config.evaluate[name]:
            raise ConfigError(f"evaluate.{name} is empty; give one value or more")
    steps = tuple(config.evaluate.steps)
    if not steps or list(steps) != sorted(set(steps)) or steps[0] != 0:
        raise ConfigError(
            f"evaluate.steps must rise from 0, such as (0, 1, 2, 5, 10), got {steps}"
        )
    if config.warm_start >= config.iterations:
        raise ConfigError(
            f"warm_start={config.warm_start} leaves no meta-iteration of "
            f"iterations={config.iterations}; give less, or 0 for no warm start"
        )
    if not config.warm_start and not config.cold_start:
        raise ConfigError(
            "warm_start=0 and cold_start=False leave nothing to meta-learn; "
            "set cold_start=True or warm_start to meta-iterations' worth of pretraining"
        )
    decay = config.outer.decay_steps
    if 0 < decay < config.iterations:
        raise ConfigError(
            f"outer.decay_steps={decay} is below iterations={config.iterations}: the "
            "rate would be 0 from there on; raise it, or 0 for a constant rate"
        )
    learned, train, test = config.method.head == "learned", "train_task.way", "task.way"
    if learned and not _get(config, train):
        raise ConfigError(
            "method.head=learned fixes the number of classes, and train_task.way=0 is "
            "every class of a data set; use the prototype or zero head"
        )
    if learned and _get(config, train) != _get(config, test):
        raise ConfigError(
            f"method.head=learned fixes the number of classes: {train}="
            f"{_get(config, train)} must equal {test}={_get(config, test)}, or use the "
            "prototype or zero head"
        )


def check_elements(config: ConfigDict, like: ConfigDict, section: str = "") -> None:
    """Checks the types of what stands in tuples; ConfigDict checks those of fields.

    Args:
      config: whose tuples are checked.
      like: the same fields, of which the defaults' elements tell the types.
      section: of both, with a dot at its end; "" for all.

    Raises:
      ConfigError: naming the field, the element and what would work.
    """
    for name, value in like.items():
        field = section + name
        if isinstance(value, ConfigDict):
            check_elements(config[name], value, f"{field}.")
        elif isinstance(value, tuple):
            example = value[0] if value else _ELEMENTS[field]
            kind, words = _KINDS[type(example)]
            for element in config[name]:
                if isinstance(element, bool) or not isinstance(element, kind):
                    raise ConfigError(
                        f"{field}: {element!r} must be {words}, as in ({example!r},)"
                    )


def _check_variable(config: ConfigDict) -> None:
    evaluate = config.evaluate
    _at_least(config, 2, "evaluate.min_way")
    _at_least(config, 1, "evaluate.max_queries")
    for low, high in (("min_way", "max_way"), ("max_way", "max_support")):
        if evaluate[low] > evaluate[high]:
            raise ConfigError(
                f"evaluate.{low}={evaluate[low]} is above evaluate.{high}="
                f"{evaluate[high]}; lower it"
            )
    if evaluate.variable and config.method.head == "learned":
        raise ConfigError(
            "method.head=learned fixes the number of classes, and evaluate.variable="
            "True draws it; use the prototype or zero head"
        )


def _check_microbatch(config: ConfigDict) -> None:
    size, task = config.inner.microbatch, config.train_task
    if not size:
        return
    if config.model.norm in ("support", "batch") and config.model.name == "conv4":
        raise ConfigError(
            f"inner.microbatch={size} is not exact with model.norm={config.model.norm}:"
            " its moments are of the whole batch; use group or none, or microbatch=0"
        )
    encoder = config.encoder
    if encoder.name != "none" and encoder.norm != "frozen":
        raise ConfigError(
            f"inner.microbatch={size} is not exact with encoder.norm={encoder.norm}: "
            "its moments are of the whole batch; use frozen, or microbatch=0"
        )
    step = config.inner.batch or task.way * task.shot
    if not step or step % size:
        raise ConfigError(
            f"inner.microbatch={size} does not divide the {step or 'varying'} support "
            "images of an inner step; take a divisor, or 0"
        )


def _check_encoder(config: ConfigDict) -> None:
    encoder, model = config.encoder, config.model.name
    if config.learned_rates and not (encoder.name != "none" and encoder.weights):
        raise ConfigError(
            "learned_rates=True learns the step sizes of pretrained weights, and "
            f"encoder.name={encoder.name} has none; give encoder.weights, or "
            "learned_rates=False"
        )
    if encoder.name == "none":
        if model == "linear":
            raise ConfigError(
                "model.name=linear is a head on an encoder's features, and encoder.name"
                "=none; choose resnet or efficientnet_lite0, or model.name=conv4"
            )
        return
    if model == "mlp":
        raise ConfigError(
            f"model.name=mlp does not take the map of encoder.name={encoder.name}; use "
            "conv4 or linear"
        )
    if config.data.channels != 3:
        raise ConfigError(
            f"encoder.name={encoder.name} takes colour images, and data.channels="
            f"{config.data.channels}; set it to 3"
        )
    if (
        encoder.use == "frozen"
        and model == "linear"
        and config.method.head != "learned"
    ):
        raise ConfigError(
            "encoder.use=frozen, model.name=linear and method.head="
            f"{config.method.head} leave nothing to learn; set encoder.use to meta or "
            "adapted, model.name=conv4, or method.head=learned"
        )
    if encoder.use == "meta" and config.method.algorithm == "reptile":
        raise ConfigError(
            "method.algorithm=reptile learns what inner steps change, and encoder.use="
            "meta keeps the encoder from them, so that it would never change; set "
            "encoder.use to adapted or frozen, or method.algorithm to maml or anil"
        )
    _known("encoder", registry.build, config)
    if not encoder.cached:
        return
    if encoder.use != "frozen":
        raise ConfigError(
            f"encoder.cached=True keeps the features of a frozen encoder, and encoder."
            f"use={encoder.use} changes it; set encoder.use=frozen, or cached=False"
        )
    if config.augment.shift or config.augment.flip:
        raise ConfigError(
            "encoder.cached=True takes images as they are, and augment.shift="
            f"{config.augment.shift}, augment.flip={config.augment.flip}; set them to "
            "0 and False, or cached=False"
        )


def _check_no_steps(config: ConfigDict) -> None:
    """Without inner steps a prototype or a learned head can still be meta-learned."""
    if config.inner.steps:
        return
    for field, value, reason, instead in (
        ("method.head", "zero", "a zero head gives no gradient", "prototype"),
        ("method.algorithm", "reptile", "it learns what inner steps change", "maml"),
        ("learned_rates", True, "there is no step to learn the size of", False),
    ):
        if _get(config, field) == value:
            raise ConfigError(
                f"inner.steps=0 and {field}={value} leave nothing to learn: {reason}; "
                f"give inner.steps=1 or more, or {field}={instead}"
            )


def _check_transfer(config: ConfigDict) -> None:
    transfer = config.transfer
    _at_least(config, 0, "transfer.steps", "transfer.shot", "transfer.price_per_hour")
    if not transfer.steps:
        return
    _at_least(config, 1, "transfer.batch", "transfer.trial_steps")
    if not config.evaluate.episodes:
        raise ConfigError(
            f"transfer.steps={transfer.steps} and evaluate.episodes=0, which leaves "
            "meta-test out; give episodes, or transfer.steps=0"
        )
    if not 0 < transfer.held_out < 1:
        raise ConfigError(
            f"transfer.held_out={transfer.held_out}; it must be above 0 and below 1"
        )
    if not 0 < transfer.fraction <= 1:
        raise ConfigError(
            f"transfer.fraction={transfer.fraction}; it must be above 0, at most 1"
        )
    if transfer.shot and transfer.fraction < 1:
        raise ConfigError(
            f"transfer.shot={transfer.shot} and transfer.fraction={transfer.fraction} "
            "both limit the labels; give one of them"
        )
    if not 0 <= transfer.momentum < 1:
        raise ConfigError(
            f"transfer.momentum={transfer.momentum}; it must be from 0 to below 1"
        )
    if not (transfer.sgd_rates or transfer.adam_rates):
        raise ConfigError(
            "transfer.sgd_rates and transfer.adam_rates are both empty; give one rate"
        )
    for name in ("sgd_rates", "adam_rates", "centroid_scales", "inverse_penalties"):
        for value in transfer[name]:
            _positive(f"transfer.{name}", value)
    for name in ("heads", "centroid_scales", "inverse_penalties"):
        if not transfer[name]:
            raise ConfigError(f"transfer.{name} is empty; give one or more")
    for value in transfer.accuracies:
        if not 0 < value <= 1:
            raise ConfigError(
                f"transfer.accuracies: {value} must be above 0 and at most 1"
            )
    for head in transfer.heads:
        _choice("transfer.heads", head, tuple(spec.HEADS))


def _check_data_sets(config: ConfigDict) -> None:
    data = config.data
    if bool(data.name) == bool(data.train):
        raise ConfigError(
            f"data.name={data.name!r} and data.train={tuple(data.train)}: give one of "
            "them; a single data set by data.name, several with data.name=''"
        )
    if (data.validation or data.test) and not data.train:
        raise ConfigError(
            "data.validation and data.test are for data.train; with data.name the "
            "classes of one data set are split by data.split"
        )
    if data.train and data.archive:
        raise ConfigError("data.archive is for data.name; data.train names several")
    split = tuple(data.split)
    if len(split) != 3 or min(split) < 0 or not math.isclose(sum(split), 1):
        raise ConfigError(
            f"data.split={split} must be three shares, of meta-train, meta-validation "
            "and meta-test, that add up to 1, such as (0.6, 0.2, 0.2)"
        )
    if not 0 <= data.held_out < 0.5:
        raise ConfigError(f"data.held_out={data.held_out}; it must be from 0 to 0.5")
    if data.train and not (data.held_out or (data.validation and data.test)):
        raise ConfigError(
            "data.held_out=0 leaves no classes for the empty data.validation or "
            "data.test; give a share such as 0.1"
        )
    every = (*data.train, *data.validation, *data.test)
    sizes = {loading.own_size(name, data.size)[1] for name in every}
    flat = config.model.name == "mlp" or config.model.output == "flatten"
    if flat and len(sizes) > 1:
        raise ConfigError(
            f"data sets of sizes {', '.join(map(str, sorted(sizes)))} and model.name="
            f"{config.model.name}, model.output={config.model.output}: only conv4 with "
            "model.output=average takes images of several sizes"
        )
    for role, others in (("test", ("train", "validation")), ("validation", ("train",))):
        for other in others:
            one, two = (
                {loading.own_size(name, data.size)[0] for name in data[field]}
                for field in (role, other)
            )
            if shared := sorted(one & two):
                raise ConfigError(
                    f"data.{role} and data.{other} both have {', '.join(shared)}; what "
                    f"is in data.{role} must not be reachable from data.{other}: leave "
                    "it in one of them"
                )


def _get(config: ConfigDict, field: str) -> Any:
    for name in field.split("."):
        config = config[name]
    return config


def _at_least(config: ConfigDict, least: int, *fields: str) -> None:
    for field in fields:
        if not _get(config, field) >= least:
            raise ConfigError(
                f"{field} must be {least} or more, got {_get(config, field)}"
            )


def _positive(field: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{field} must be above 0 and finite, got {value}")


def _choice(field: str, value: Any, choices: tuple) -> None:
    if value not in choices:
        raise ConfigError(
            f"{field} must be one of {', '.join(map(str, choices))}, got {value!r}"
        )


def _known(field: str, lookup: Any, value: Any) -> None:
    try:
        lookup(value)
    except ValueError as error:
        raise ConfigError(f"{field}: {error}") from None
