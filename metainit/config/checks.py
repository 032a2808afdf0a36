"""What must hold between an experiment's fields, told before data are opened."""

from __future__ import annotations

from metainit.config.fields import (
    ConfigError,
    Data,
    Experiment,
    Transfer,
    TransferExperiment,
    own_size,
)


def validate(config: Experiment) -> None:
    """Checks everything that can be checked before data is opened.

    Raises:
      ConfigError: naming the field, its value and what would work.
    """
    _check_data(config)
    _check_task(config)
    _check_model(config)
    _check_encoder(config)
    _check_microbatch(config)
    _check_no_steps(config)
    _check_training(config)
    _check_evaluate(config)
    if config.transfer.steps:
        if not config.evaluate.episodes:
            raise ConfigError(
                f"transfer.steps={config.transfer.steps} and evaluate.episodes=0, "
                "which leaves meta-test out; give episodes, or transfer.steps=0"
            )
        _check_transfer(config.transfer)


def validate_transfer(config: TransferExperiment) -> None:
    """As `validate`, of a comparison of initialisations that exist.

    Raises:
      ConfigError: naming the field, its value and what would work.
    """
    if not config.data.name:
        raise ConfigError("data.name is empty; name a data set, such as folder:PATH")
    if not config.inits:
        raise ConfigError(
            "inits is empty; give runs, weights or random, as in "
            "--config.inits=\"('runs/quickstart','random')\""
        )
    if config.inits[0] == "random":
        raise ConfigError(
            "inits begins with random, which takes the network of the first"
        )
    if not config.transfer.steps:
        raise ConfigError("transfer.steps=0; give 1 or more")
    _check_transfer(config.transfer)


def _check_transfer(transfer: Transfer) -> None:
    if transfer.shot and transfer.fraction < 1:
        raise ConfigError(
            f"transfer.shot={transfer.shot} and transfer.fraction={transfer.fraction} "
            "both limit the labels; give one of them"
        )
    if not (transfer.sgd_rates or transfer.adam_rates):
        raise ConfigError(
            "transfer.sgd_rates and transfer.adam_rates are both empty; give one rate"
        )


def _check_data(config: Experiment) -> None:
    data = config.data
    if bool(data.name) == bool(data.train):
        raise ConfigError(
            f"data.name={data.name!r} and data.train={data.train}: give one of "
            "them; a single data set by data.name, several with data.name=''"
        )
    if (data.validation or data.test) and not data.train:
        raise ConfigError(
            "data.validation and data.test are for data.train; with data.name the "
            "classes of one data set are split by data.split"
        )
    if data.train and data.archive:
        raise ConfigError("data.archive is for data.name; data.train names several")
    if data.train and not (data.held_out or (data.validation and data.test)):
        raise ConfigError(
            "data.held_out=0 leaves no classes for the empty data.validation or "
            "data.test; give a share such as 0.1"
        )
    every = (*data.train, *data.validation, *data.test)
    sizes = {own_size(name, data.size)[1] for name in every}
    flat = config.model.name == "mlp" or config.model.output == "flatten"
    if flat and len(sizes) > 1:
        raise ConfigError(
            f"data sets of sizes {', '.join(map(str, sorted(sizes)))} and model.name="
            f"{config.model.name}, model.output={config.model.output}: only conv4 with "
            "model.output=average takes images of several sizes"
        )
    _check_roles(data)


def _check_roles(data: Data) -> None:
    by_role = {"train": data.train, "validation": data.validation, "test": data.test}
    named = {
        role: {own_size(name, data.size)[0] for name in of_role}
        for role, of_role in by_role.items()
    }
    for role, other in (
        ("test", "train"),
        ("test", "validation"),
        ("validation", "train"),
    ):
        if shared := sorted(named[role] & named[other]):
            raise ConfigError(
                f"data.{role} and data.{other} both have {', '.join(shared)}; what "
                f"is in data.{role} must not be reachable from data.{other}: leave "
                "it in one of them"
            )


def _check_task(config: Experiment) -> None:
    if config.method.head != "learned":
        return
    train, test = config.train_task.way, config.task.way
    if not train:
        raise ConfigError(
            "method.head=learned fixes the number of classes, and train_task.way=0 is "
            "every class of a data set; use the prototype or zero head"
        )
    if train != test:
        raise ConfigError(
            f"method.head=learned fixes the number of classes: train_task.way={train} "
            f"must equal task.way={test}, or use the prototype or zero head"
        )
    if config.evaluate.variable:
        raise ConfigError(
            "method.head=learned fixes the number of classes, and evaluate.variable="
            "True draws it; use the prototype or zero head"
        )


def _check_model(config: Experiment) -> None:
    model = config.model
    if model.scale != 1 and model.name != "conv4":
        raise ConfigError(
            f"model.scale={model.scale} is for model.name=conv4; with {model.name} "
            "leave it at 1.0"
        )
    if model.norm == "group" and model.filters > 8 and model.filters % 8:
        raise ConfigError(
            f"model.filters={model.filters} do not fall into the eight groups of "
            f"model.norm=group; give {model.filters // 8 * 8}"
        )


def _check_encoder(config: Experiment) -> None:
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
    learned = model != "linear" or config.method.head == "learned"
    if encoder.use == "frozen" and not learned:
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


def _check_microbatch(config: Experiment) -> None:
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


def _check_no_steps(config: Experiment) -> None:
    """Without inner steps a prototype or a learned head can still be meta-learned."""
    if config.inner.steps:
        return
    method = config.method
    if method.head == "zero":
        said, instead = "method.head=zero", "method.head=prototype"
        reason = "a zero head gives no gradient"
    elif method.algorithm == "reptile":
        said, instead = "method.algorithm=reptile", "method.algorithm=maml"
        reason = "it learns what inner steps change"
    elif config.learned_rates:
        said, instead = "learned_rates=True", "learned_rates=False"
        reason = "there is no step to learn the size of"
    else:
        return
    raise ConfigError(
        f"inner.steps=0 and {said} leave nothing to learn: {reason}; give "
        f"inner.steps=1 or more, or {instead}"
    )


def _check_training(config: Experiment) -> None:
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


def _check_evaluate(config: Experiment) -> None:
    evaluate = config.evaluate
    if not (evaluate.sgd_rates or evaluate.adam_rates):
        raise ConfigError(
            "evaluate.sgd_rates and evaluate.adam_rates are both empty; give one rate"
        )
    if evaluate.min_way > evaluate.max_way:
        raise ConfigError(
            f"evaluate.min_way={evaluate.min_way} is above evaluate.max_way="
            f"{evaluate.max_way}; lower it"
        )
    if evaluate.max_way > evaluate.max_support:
        raise ConfigError(
            f"evaluate.max_way={evaluate.max_way} is above evaluate.max_support="
            f"{evaluate.max_support}; lower it"
        )
