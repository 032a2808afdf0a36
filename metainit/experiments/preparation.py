"""Prepares an experiment: its checked data, the weights it starts from, programs."""

import threading
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metainit.config.fields import Experiment
from metainit.core.types import MetaState
from metainit.data import cache, episode_set, fitting, leakage, loading
from metainit.data.batches import JointBatches, MetaBatches
from metainit.data.episodes import describe
from metainit.data.loading import Roles, Source
from metainit.evaluation.few_shot import EvaluatorOf
from metainit.experiments import configs, forecast
from metainit.experiments.forecast import Forecast
from metainit.experiments.runs import Programs
from metainit.models import preprocess as preprocess_module
from metainit.models import registry
from metainit.models.model import Model
from metainit.runtime import digest, hosts, progress, stop
from metainit.runtime.cost import RANDOM
from metainit.training import frozen_features, steps
from metainit.training.initialisation import Initialisation, drawn
from metainit.training.method import Method
from metainit.transfer import comparison, rates

PRETRAINED = "pretrained weights"
MINUTE = 60.0  # the seconds in which a dry run compiles and times
_NOT_COMPILED = (
    "A minute did not suffice to compile the steps, so no time can be told. A run "
    "compiles them first, and tells its plan then."
)


def checked_roles(
    config: Experiment, dry_run: bool = False, command: str = ""
) -> Roles:
    """Loads the data, and checks that one can learn from it and measure on it.

    A dry run makes noise in place of what would have to be downloaded. `command` is the
    line that was given; a refusal repeats it with changes that would work.

    Raises:
      ValueError: the data do not fit the config, or an image is in two roles.
    """
    for url, megabytes in loading.downloads(config.data).items():
        print(f"to download: {url}, {megabytes} MB")
    absent = loading.absent(config.data) if dry_run else ()
    if absent:
        print(f"a dry run fetches nothing: noise stands in for {', '.join(absent)}")
    roles = hosts.together(lambda: loading.load(config.data, absent))
    if hosts.several():
        hosts.check_same("data", digest.sha256(list(map(_known, sum(roles, ())))))
    if config.data.drop_shared:
        roles, dropped = leakage.drop_shared(roles)
        print(f"left out of training or validation, as in meta-test: {dropped}")
    fitting.check(config, roles, command)
    fewer = episode_set.validation_task(config.task, roles.validation)
    if fewer.way < config.task.way and not config.evaluate.variable:
        print(
            f"meta-validation has {fewer.way} classes, of task.way={config.task.way}: "
            f"what is chosen is chosen on {describe(fewer)} episodes"
        )
    leakage.check(roles)
    if config.transfer.steps:
        comparison.of_roles(config.transfer, config.seed, roles)
    return roles


def _known(source: Source) -> Sequence[Any]:
    """Gives what tells a data set from another."""
    images = source.images if source.hashes is None else source.hashes
    return source.name, source.labels, images


def learned_from(config: Experiment, roles: Roles) -> Roles:
    """Gives the data that an experiment uses, and prints them by role.

    A search has no meta-test, and the control experiment shuffles its labels.
    """
    if not config.evaluate.episodes:
        # A search must not choose by these, so it does not even hold them.
        roles = roles._replace(test=(), held_out=())
    if config.data.shuffle_labels:
        shuffled = tuple(_shuffled(source, config.seed) for source in roles.train)
        roles = roles._replace(train=shuffled)
    for role, of_role in roles._asdict().items():
        for source in of_role:
            height, width, channels = source.images.shape[1:]
            print(
                f"meta-{role.replace('_', ' ')}: {source.name}, "
                f"{len(source.class_names)} classes, {len(source.images):,} images of "
                f"{height}x{width}x{channels}"
            )
    return roles


def _shuffled(source: Source, seed: int) -> Source:
    """Shuffles labels for the control experiment: they say nothing of the images."""
    labels, kept = source.labels.copy(), loading.rows(source)
    labels[kept] = np.random.default_rng(seed).permutation(labels[kept])
    return source._replace(labels=labels)


def starts(
    config: Experiment,
    roles: Roles,
    model: Model | None,
    key: jax.Array,
    dry_run: bool = False,
) -> tuple[Initialisation, Initialisation]:
    """Gives random weights, and those that training starts from, often pretrained.

    A dry run draws other random weights, which need no compilation. They also replace
    pretrained weights that would have to be fetched.

    Args:
      model: the caller's network in place of `config.network`.

    Raises:
      ValueError: the network, the head and the weights do not go together.
    """
    network = config.network if model is None else None
    model = model or registry.build(config.network)
    if config.transfer.steps:
        try:
            hash(model)  # fine-tunings find compiled programs by it
        except TypeError as error:
            raise ValueError(f"model: {error}; give functions that have one") from None
        rates.check_layers(model, config.transfer.layer_decays)
    preprocess = preprocess_module.fit(
        loading.images_used(roles.train), config.augment.shift, config.augment.flip
    )._replace(encode=model.encode)
    example = jnp.zeros((2, *roles.train[0].images.shape[1:]))
    if dry_run:
        body = drawn(jax.eval_shape(model.init, key, example))
    else:
        body = jax.jit(model.init)(key, example)
    if config.method.head in ("cosine", "ridge") and "log_scale" not in body:
        raise ValueError(
            f"method.head={config.method.head} is of features of unit length; give "
            "train(model=metainit.models.wrappers.unit_length(model, 3.0))"
        )
    untrained = Initialisation(RANDOM, model, preprocess, body, network=network)
    if network is None or config.encoder.name == "none" or not config.encoder.weights:
        return untrained, untrained
    body, about = registry.load_weights(config.encoder, body, fetch=not dry_run)
    told = f"{about.recipe.name}, sha256 {about.sha256}"
    if not about.sha256:
        told = "a dry run fetches nothing: random ones stand in for them"
    print(f"weights: {about.source}, {told}")
    mean, std = about.recipe.input[:2]
    preprocess = preprocess._replace(mean=mean, std=std)
    untrained = untrained._replace(preprocess=preprocess)
    return untrained, untrained._replace(name=PRETRAINED, body=body, provenance=about)


def on_maps(
    config: Experiment, start: Initialisation, roles: Roles, dry_run: bool = False
) -> tuple[Initialisation, Roles, float]:
    """Makes the start and the data work on maps of the frozen encoder, not on images.

    A dry run takes zeros as maps, and gives the seconds that real ones would take.
    """
    seconds = 0.0
    if dry_run:
        start, sources, seconds = frozen_features.stand_ins(start, sum(roles, ()))
    else:
        folder = cache.root(config.data.data_dir) / "features"
        start, sources = frozen_features.encode(start, sum(roles, ()), folder)
    maps = iter(sources)
    by_role = (tuple(next(maps) for _ in of_role) for of_role in roles)
    return start, Roles(*by_role), seconds


def timed(
    config: Experiment,
    method: Method,
    start: Initialisation,
    roles: Roles,
    keys: tuple[jax.Array, jax.Array],
    evaluator_of: EvaluatorOf,
) -> tuple[Programs, Forecast]:
    """Compiles the programs, with the `keys` of `compiled`, and forecasts the run."""
    with progress.Stage("compiling and timing", units=0):
        programs = compiled(config, method, start, roles, *keys)
        if start.network is not None:
            forecast.check_memory(programs.meta.program.memory)
        of_steps = programs.meta, programs.joint, evaluator_of
        *_, expected = forecast.measured(config, start, roles, *of_steps)
        return programs, expected


def timed_in_a_minute(
    config: Experiment,
    method: Method,
    start: Initialisation,
    roles: Roles,
    keys: tuple[jax.Array, jax.Array],
    evaluator_of: EvaluatorOf,
) -> tuple[Programs, Forecast] | None:
    """Does as `timed` for a dry run: what has not been timed after a minute is NaN.

    If a minute does not suffice to compile, it says so and gives None. A thread goes
    on with the compilation, which cannot be stopped, until the process ends.
    """
    known: list[tuple[Programs, Forecast]] = []
    errors: list[BaseException] = []

    def measure() -> None:
        try:
            programs = compiled(config, method, start, roles, *keys)
            of_steps = programs.meta, programs.joint, evaluator_of
            for expected in forecast.measured(config, start, roles, *of_steps):
                known.append((programs, expected))
                if not forecast.fits(programs.meta.program.memory):
                    return
        except BaseException as error:
            errors.append(error)

    with progress.Stage("compiling and timing", units=0):
        thread = threading.Thread(target=measure, name=stop.LEFT, daemon=True)
        thread.start()
        thread.join(MINUTE)
    if errors:
        raise errors[0]
    if not known:
        print(_NOT_COMPILED)
        return None
    return known[-1]


def compiled(
    config: Experiment,
    method: Method,
    start: Initialisation,
    roles: Roles,
    head_key: jax.Array,
    step_key: jax.Array,
) -> Programs:
    """Compiles the steps of meta-learning and of joint pretraining.

    Args:
      head_key: the key that draws the head, if the method learns one.
      step_key: the root key of every step.
    """
    with configs.as_config_error():
        rule = config.meta_batch, config.seed, config.data.weights
        batches = MetaBatches(roles.train, config.train_task, *rule)
    example = jnp.zeros((2, *roles.train[0].images.shape[1:]))

    # All is one program: to compile a network's operations singly takes far longer.
    @jax.jit
    def state_of(body: Any) -> MetaState:
        return method.learner.init(method.params_of(body, example, head_key))

    progress.tell("compiling", "")
    state = state_of(start.body)
    every, skips = config.log_every, config.outer.skip_nonfinite > 0
    meta = steps.meta_step(
        method.learner, state, batches, step_key, skips=skips, norms_every=every
    )
    joint = steps.joint_step(
        config.joint,
        config.outer,
        start.model,
        start.preprocess,
        start.body,
        JointBatches(roles.train, config.joint, config.seed, config.data.weights),
        meta,
        norms_every=every,
    )
    return Programs(method, start, state_of, meta, joint)
