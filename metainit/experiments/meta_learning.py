"""One experiment from top to bottom: data, programs, runs, meta-test, report."""

import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview

from metainit.config.fields import (
    MAY_CHANGE,
    ONLY_UP,
    ConfigError,
    Experiment,
    Search,
    Supervised,
)
from metainit.core.types import MetaState
from metainit.data import cache, episode_set, leakage, loading
from metainit.data.batches import MetaBatches
from metainit.data.episodes import check
from metainit.data.loading import Roles, Source
from metainit.evaluation import adaptation
from metainit.experiments import (
    configs,
    export,
    forecast,
    initialisations,
    meta_test,
    plan,
    supervised,
    sweep,
    transfer,
    uncut,
)
from metainit.experiments.configs import Config
from metainit.experiments.initialisations import Programs, Trainer
from metainit.models import preprocess as preprocess_module
from metainit.models import registry
from metainit.models.model import Model
from metainit.reporting import fairness, finished_runs, run_report
from metainit.runtime import atomic, devices, digest, hosts, provenance, run_folder
from metainit.runtime.budget import compile_step, not_compiled, steps_per_iteration
from metainit.runtime.cost import FROM_PRETRAINED, META, OURS
from metainit.runtime.logging import read_metrics
from metainit.training import frozen_features, steps, stored
from metainit.training import learner as recipe
from metainit.training.initialisation import RANDOM, Initialisation, drawn
from metainit.training.steps import Step
from metainit.transfer import comparison, rates

BUDGET, REPORT = "budget.json", "report.txt"
PRETRAINED = "pretrained weights"


def train(
    config: Config,
    workdir: str | pathlib.Path,
    *,
    model: Model | None = None,
    dry_run: bool = False,
    command: str = "",
) -> str:
    """Runs an experiment of any kind; returns the report's text.

    The same call on the same `workdir` goes on where it stopped.

    Args:
      model: the caller's network in place of `config.model`, to meta-learn.
      dry_run: print what would be done and take; write nothing and return "".
      command: the line that reproduces this, for the report.

    Raises:
      ConfigError: for settings or data that cannot work, before anything long starts.
      metainit.training.loop.NonFiniteError: when training diverges.
    """
    workdir, config = pathlib.Path(workdir), configs.typed(config)
    if isinstance(config, Experiment):
        return _meta_learn(config, workdir, model, dry_run, command)
    if isinstance(config, Search):
        trial = functools.partial(train, model=model)
        return sweep.tune(config, workdir, trial, dry_run=dry_run, command=command)
    if model is not None:
        raise ConfigError(
            f"model: an experiment of kind={config.kind} has networks of its own; "
            "leave model out"
        )
    if isinstance(config, Supervised):
        return supervised.train(config, workdir, dry_run=dry_run, command=command)
    return transfer.train(config, workdir, dry_run=dry_run, command=command)


def _meta_learn(
    config: Experiment,
    workdir: pathlib.Path,
    model: Model | None,
    dry_run: bool,
    command: str,
) -> str:
    """Meta-learns from top to bottom; arguments as of `train`."""
    begin, settings = time.perf_counter(), dataclasses.asdict(config)

    # Data. A folder is claimed when all is known to fit, so that a mistake costs none.
    with configs.as_config_error():
        if not dry_run:
            run_folder.claim(workdir, settings, MAY_CHANGE, ONLY_UP, write=False)
            if text := _finished(workdir, config):
                print(text)
                return text
        loaded = _checked_roles(config, dry_run)
        if not dry_run:
            leakage.check_stored(workdir, loaded)
    roles = _learned_from(config, loaded)

    # The network, and the two training steps compiled and timed.
    init_key, head_key, step_key = jax.random.split(jax.random.key(config.seed), 3)
    with configs.as_config_error():
        untrained, start = _starts(config, roles, model, init_key, dry_run)
    print(parameter_overview.get_parameter_overview(start.body, include_stats=False))
    notes: list[str] = []
    if config.evaluate.episodes and not dry_run:
        notes += _leaks(start, roles)
    cached = model is None and config.encoder.cached
    with configs.as_config_error():
        whole, encoding = uncut.prepare(config, start, roles, dry_run), 0.0
        if cached:
            start, roles, encoding = _on_maps(config, start, roles, dry_run)
    programs = _compiled(config, start, roles, head_key, step_key, dry_run)
    evaluator_of = functools.cache(
        lambda way: adaptation.evaluator(config, start.model, start.preprocess, way)
    )
    meta, joint, rate = programs[2:]
    expected = forecast.measure(config, start, roles, meta, joint, evaluator_of, rate)
    encoding, past = encoding + whole.seconds, hosts.agreed(time.perf_counter() - begin)
    expected = expected._replace(encoding_seconds=encoding, begun_seconds=past)
    if not dry_run:
        forecast.check_hours(config, expected)
        with configs.as_config_error():
            run_folder.claim(workdir, settings, MAY_CHANGE, ONLY_UP)
            leakage.store(workdir, loaded)
            stored.save_origin(workdir, start)
    seconds = expected.meta_seconds, expected.joint_seconds
    ratio = config.joint.steps_per_iteration or steps_per_iteration(
        workdir / BUDGET, *seconds, store=not dry_run
    )
    print(plan.in_words(config, expected, meta, joint, ratio), flush=True)
    if dry_run:  # refused when its plan was seen
        forecast.check_hours(config, expected)
        return ""

    # The initialisations.
    trainer = Trainer(config, roles.validation, evaluator_of, expected, begin)
    inits = initialisations.make(config, workdir, trainer, programs, ratio)
    runs = trainer.validated.values()
    if not config.evaluate.episodes:
        atomic.write_json(workdir / finished_runs.VALIDATION, trainer.validated)
        return ""
    notes += trainer.notes
    notes.append(_flops_in_words(meta, joint))
    if cached:
        notes.append(
            "Features of the encoder's frozen stages were made once for every image: "
            "their time is in no row. Random weights have others: not measured."
        )
    else:
        inits[RANDOM] = untrained

    # Transfer, meta-test and the report. A finished fine-tuning is kept, an evaluation
    # is not, so that a run that is stopped loses least in this order.
    transferred = None
    if config.transfer.steps:
        transferred = comparison.compare(
            config, inits, *comparison.of_roles(config, roles), workdir
        )
    device_seconds = sum(run["device_seconds"] for run in runs)
    # What was done before the run was gone on with took device time.
    before = max(device_seconds / devices.mesh().size, time.perf_counter() - begin)
    evaluation = meta_test.run(
        config, workdir, inits, roles, evaluator_of, whole, before
    )
    ours = [init for name, init in inits.items() if name in OURS]
    images = sum(len(source.images) for source in roles.train)
    context: run_report.Context = {
        "title": "metainit: " + ", ".join(loading.names(config.data)),
        "command": command,
        "terms": _terms(config, start, programs, ratio, trainer, whole.init),
        "versions": provenance.versions() | _weights_in_words(start),
        "config": settings,
        "training": read_metrics(
            workdir / (META if config.cold_start else FROM_PRETRAINED)
        ),
        "device_hours": device_seconds / 3600,
        # In meta-train images, of our longest run.
        "epoch": max(init.cost.images for init in ours) / images,
    }
    evaluation = evaluation._replace(notes=(*evaluation.notes, *notes))
    text = run_report.write_report(workdir, evaluation, context, transferred)
    run_report.show_in_tensorboard(workdir, config.iterations)
    atomic.write_text(workdir / REPORT, text)
    if start.network and not registry.without_names(start.network):
        classes = len(roles.train[0].class_names)
        way = config.train_task.way or config.task.way or classes
        export.export(ours[0], config, workdir / export.FOLDER, way, workdir)
        print(f"the initialisation, for PyTorch too: {workdir / export.FOLDER}")
    atomic.write_json(workdir / finished_runs.FILE, finished_runs.asked(settings))
    print(f"{text}\nreport: {workdir / 'report.md'}")
    return text


def _finished(workdir: pathlib.Path, config: Experiment) -> str:
    """The report's text where the experiment is finished, else ""."""
    path = workdir / finished_runs.FILE
    asked = finished_runs.asked(dataclasses.asdict(config))
    if not path.exists() or json.loads(path.read_text()) != asked:
        return ""
    return (
        f"{workdir} is finished ({config.iterations} iterations in max_hours="
        f"{config.max_hours:g}); more of either go on, another --workdir starts anew"
        f"\n\n{(workdir / REPORT).read_text()}"
    )


def _checked_roles(config: Experiment, dry_run: bool) -> Roles:
    """The data, after all checks that it can be learned from and measured on."""
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
    check(roles.train, config.train_task, "train", "train_task.")
    episode_set.check(config, roles)
    leakage.check(roles)
    if config.transfer.steps:
        comparison.of_roles(config, roles)
    return roles


def _known(source: Source) -> Sequence[Any]:
    """What tells a data set from another."""
    images = source.images if source.hashes is None else source.hashes
    return source.name, source.labels, images


def _learned_from(config: Experiment, roles: Roles) -> Roles:
    """The data as an experiment uses them, which is told by role."""
    if not config.evaluate.episodes:
        # A search holds nothing from here on that it must not choose by.
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


def _leaks(start: Initialisation, roles: Roles) -> tuple[str, ...]:
    """Warnings for the report, which are printed too."""
    of_imagenet = bool(start.provenance and start.provenance.recipe.imagenet)
    warnings = leakage.warnings(roles, of_imagenet)
    print("\n".join(warnings), end="\n" * bool(warnings), flush=True)
    return warnings


def _starts(
    config: Experiment,
    roles: Roles,
    model: Model | None,
    key: jax.Array,
    dry_run: bool = False,
) -> tuple[Initialisation, Initialisation]:
    """Random weights, and what training starts from: these or pretrained ones.

    In a dry run random ones are others, which need no compilation, and stand in for
    pretrained ones that would have to be fetched.
    """
    network = config.network if model is None else None
    model = model or registry.build(config.network)
    if config.transfer.steps:
        try:
            hash(model)  # by which fine-tunings find what is compiled already
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


def _on_maps(
    config: Experiment, start: Initialisation, roles: Roles, dry_run: bool
) -> tuple[Initialisation, Roles, float]:
    """The start on maps of its frozen encoder, the data as such maps.

    In a dry run zeros stand for these, with the seconds that making them would take.
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


def _compiled(
    config: Experiment,
    start: Initialisation,
    roles: Roles,
    head_key: jax.Array,
    step_key: jax.Array,
    dry_run: bool = False,
) -> Programs:
    """The steps of meta-learning and of joint pretraining.

    In a dry run large ones are planned only, with a rate to tell their times by.
    """
    model, preprocess = start.model, start.preprocess
    with configs.as_config_error():
        batches = MetaBatches(config, roles.train)
    learner = recipe.learner(config, model, preprocess, batches(0))
    example = jnp.zeros((2, *roles.train[0].images.shape[1:]))

    # Compiled as one: by themselves, a network's many operations take far longer.
    @jax.jit
    def state_of(body: Any) -> MetaState:
        head = recipe.init_head(config, model, body, example, head_key)
        return learner.init(recipe.started(config, model, {"body": body} | head))

    if not dry_run:
        print("compiling", flush=True)
    make = not_compiled if dry_run else compile_step
    meta = steps.meta_step(learner, state_of(start.body), batches, step_key, make)
    if start.network is not None and not dry_run:
        forecast.check_memory(meta.program.memory, forecast.device_memory())
    joint = steps.joint_step(
        config, model, preprocess, start.body, roles.train, meta, make
    )
    programs = Programs(start, state_of, meta, joint)
    if dry_run:
        if rate := forecast.rate(config, start, roles, meta, joint):
            return programs._replace(rate=rate)
        return _compiled(config, start, roles, head_key, step_key)
    return programs


def _shuffled(source: Source, seed: int) -> Source:
    """The control experiment: labels no longer say what an image shows."""
    labels, kept = source.labels.copy(), loading.rows(source)
    labels[kept] = np.random.default_rng(seed).permutation(labels[kept])
    return source._replace(labels=labels)


def _terms(
    config: Experiment,
    start: Initialisation,
    programs: Programs,
    pace: float,
    trainer: Trainer,
    uncut_encoder: Initialisation | None,
) -> fairness.Terms:
    """What holds for every initialisation, for the report."""
    terms = fairness.Terms(
        seed=config.seed,
        mixture=programs.meta.batches.mixture,
        joint_mixture=programs.joint.batches.mixture,
        pace=pace,
        stopped=[name for name, run in trainer.validated.items() if run["stopped"]],
    )
    if start.provenance is None:
        return terms
    return terms._replace(
        encoder=config.encoder.name,
        cut=config.encoder.cut,
        uncut=uncut_encoder.name if uncut_encoder else "",
    )


def _flops_in_words(meta: Step, joint: Step) -> str:
    return (
        f"FLOPs are matrix products and convolutions, loops in full: a meta-iteration "
        f"{meta.flops:.3g}, a joint step {joint.flops:.3g}. The compiler's "
        f"cost_analysis() of the programs says {meta.program.flops:.3g} and "
        f"{joint.program.flops:.3g}, a loop's body counted once."
    )


def _weights_in_words(start: Initialisation) -> dict[str, str]:
    if (about := start.provenance) is None:
        return {}
    known = f"{about.recipe.name} recipe, licence {about.recipe.licence or 'unknown'}"
    return {"weights": f"{about.source} ({known}, sha256 {about.sha256})"}
