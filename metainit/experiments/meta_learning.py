"""One experiment from top to bottom: data, programs, runs, meta-test, report."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Iterator
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
    TransferExperiment,
)
from metainit.core.types import MetaState
from metainit.data import cache, episode_set, leakage, loading
from metainit.data.batches import MetaBatches
from metainit.data.episodes import check
from metainit.data.loading import Roles, Source
from metainit.evaluation import adaptation
from metainit.evaluation.few_shot import evaluate
from metainit.experiments import (
    configs,
    export,
    forecast,
    initialisations,
    planner,
    sweep,
    transfer,
)
from metainit.experiments.configs import Config
from metainit.experiments.supervised import train as train_supervised
from metainit.models import preprocess as preprocess_module
from metainit.models import registry
from metainit.models.model import Model
from metainit.models.pretrained import About
from metainit.models.torch_parameters import without_names
from metainit.reporting import finished_runs, run_report
from metainit.runtime import atomic, provenance, run_folder
from metainit.runtime.budget import steps_per_iteration
from metainit.runtime.cost import FROM_PRETRAINED, META, OURS
from metainit.runtime.logging import read_metrics
from metainit.training import frozen_features, steps, stored
from metainit.training import learner as recipe
from metainit.training.initialisation import (
    RANDOM,
    Initialisation,
)
from metainit.transfer import comparison

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
    """Runs an experiment, or goes on with it, and reports.

    Args:
      config: of any kind, as `metainit.experiments.configs` makes them.
      workdir: folder of the experiment; the same call on the same folder goes on where
        it stopped.
      model: the caller's network body in place of `config.model`.
      dry_run: print what would be done and what it would take; writes
        nothing to `workdir`.
      command: the line that reproduces this, for the report.

    Returns:
      The report's text ("" for a dry run, or without meta-test).

    Raises:
      ConfigError, ValueError: for settings or data that cannot work, before anything
        long starts.
      metainit.training.loop.NonFiniteError: when training diverges.
    """
    begin, workdir = time.perf_counter(), pathlib.Path(workdir)
    config = configs.typed(config)
    if isinstance(config, Supervised):
        return train_supervised(
            config, workdir, model=model, dry_run=dry_run, command=command
        )
    if isinstance(config, TransferExperiment):
        return transfer.train(config, workdir, dry_run=dry_run, command=command)
    if isinstance(config, Search):
        trial = functools.partial(train, model=model)
        return sweep.tune(config, workdir, trial, dry_run=dry_run, command=command)

    for url, megabytes in loading.downloads(config.data).items():
        print(f"to download: {url}, {megabytes} MB")
    absent = loading.absent(config.data) if dry_run else ()
    if absent:
        print(f"a dry run fetches nothing: noise stands in for {', '.join(absent)}")

    # Data. A folder is claimed when all is known to fit, so that a mistake costs none.
    with _as_config_error():
        roles = loading.load(config.data, absent)
        if config.data.drop_shared:
            roles, dropped = leakage.drop_shared(roles)
            print(f"left out of training or validation, as in meta-test: {dropped}")
        check(roles.train, config.train_task, "train", "train_task.")
        episode_set.check(config, roles)
        leakage.check(roles)
        if config.transfer.steps:
            comparison.check(config, roles)
        if not dry_run:
            run_folder.check(
                workdir,
                dataclasses.asdict(config),
                MAY_CHANGE,
                ONLY_UP,
            )
            leakage.check_stored(workdir, roles)
    if not dry_run and (said := _finished(workdir, config)) is not None:
        print(said)
        return said
    loaded = roles
    if not config.evaluate.episodes:
        # A search holds nothing from here on that it must not choose by.
        roles = roles._replace(test=(), held_out=())
    if config.data.shuffle_labels:
        shuffled = tuple(_shuffled(source, config.seed) for source in roles.train)
        roles = roles._replace(train=shuffled)
    for role, of_role in roles._asdict().items():
        for source in of_role:
            print(_in_words(role, source))

    # The network, and the two training steps compiled and timed.
    may_choose = model is None
    model = model or registry.build(config.network)
    preprocess = preprocess_module.fit(
        loading.images_used(roles.train), config.augment.shift, config.augment.flip
    )._replace(encode=model.encode)
    if config.transfer.steps:
        try:
            hash(model)  # by which fine-tunings find what is compiled already
        except TypeError as error:
            raise ConfigError(f"model: {error}; give functions that have one") from None
    init_key, head_key, step_key = jax.random.split(jax.random.key(config.seed), 3)
    example = jnp.zeros((2, *roles.train[0].images.shape[1:]))
    start = Initialisation(
        name=RANDOM,
        model=model,
        preprocess=preprocess,
        body=jax.jit(model.init)(init_key, example),
        network=config.network if may_choose else None,
    )
    untrained, about = start, None
    if may_choose and config.encoder.name != "none" and config.encoder.weights:
        with _as_config_error():
            body, about = registry.load_weights(config.encoder, start.body)
        expected = about.recipe.input
        preprocess = preprocess._replace(mean=expected.mean, std=expected.std)
        start = start._replace(
            name=PRETRAINED, preprocess=preprocess, body=body, provenance=about
        )
        untrained = untrained._replace(preprocess=preprocess)
        print(f"weights: {about.source}, {about.recipe.name}, sha256 {about.sha256}")
    print(parameter_overview.get_parameter_overview(start.body, include_stats=False))
    told: tuple[str, ...] = ()
    if config.evaluate.episodes and not dry_run:
        told = leakage.warnings(roles, about.recipe.imagenet if about else False)
        print("\n".join(told), end="\n" * bool(told), flush=True)
    if may_choose and config.encoder.cached:
        with _as_config_error():
            every = sum(roles, ())
            if dry_run:
                maps = iter(frozen_features.stand_ins(start, every))
            else:
                kept = cache.root(config.data.data_dir) / "features"
                maps = iter(frozen_features.encode(start, every, kept))
            roles = Roles(*(tuple(next(maps) for _ in of_role) for of_role in roles))
        start = frozen_features.on_maps(start, example)
        model, preprocess = start.model, start.preprocess
        example = jnp.zeros((2, *roles.train[0].images.shape[1:]))

    learner = recipe.learner(config, model, preprocess)

    # Compiled as one: by themselves, a network's many operations take far longer.
    @jax.jit
    def meta_state(body: Any) -> MetaState:
        head = recipe.init_head(config, model, body, example, head_key)
        return learner.init({"body": body} | head)

    print("compiling", flush=True)
    batches = MetaBatches(config, roles.train)
    initial = meta_state(start.body)
    meta = steps.meta_step(learner, initial, batches, step_key)
    if may_choose:
        planner.check(config, meta.program.memory, planner.device_memory())
    joint = steps.joint_step(config, model, preprocess, start.body, roles.train, meta)
    meta_seconds, joint_seconds = steps.seconds(meta, joint)
    learned = initialisations.count(config)
    meta_test = forecast.by_operations(
        config,
        start._replace(head=initial.params.get("head")),
        roles,
        learned + 1 + (about is not None),
        meta,
        meta_seconds,
    )
    if not dry_run:
        forecast.check_hours(config, learned, meta_seconds, meta_test)
        with _as_config_error():
            run_folder.claim(
                workdir,
                dataclasses.asdict(config),
                MAY_CHANGE,
                ONLY_UP,
            )
            leakage.store(workdir, loaded)
            stored.save_origin(workdir, start)
    ratio = steps_per_iteration(
        workdir / BUDGET,
        config.joint.steps_per_iteration,
        meta_seconds,
        joint_seconds,
        store=not dry_run,
    )
    seconds = meta_seconds, joint_seconds
    print(forecast.plan(config, learned, meta, joint, *seconds, ratio, meta_test))
    if dry_run:  # refused when its plan was seen
        forecast.check_hours(config, learned, meta_seconds, meta_test)
        return ""

    evaluator_of = functools.cache(
        lambda way: adaptation.evaluator(config, model, preprocess, way)
    )
    made = initialisations.make(
        config,
        workdir,
        start,
        meta_state,
        meta,
        joint,
        ratio,
        roles.validation,
        evaluator_of,
        meta_test,
        begin,
    )
    inits, notes = made.inits, made.notes
    if roles.train[0].images.dtype == np.uint8:  # features are of the encoder loaded
        inits[RANDOM] = untrained
    else:
        notes.append(
            "The frozen encoder's features were made once for every image: their time "
            "is in no row, and random weights, which have others, were not measured."
        )

    # Transfer, meta-test and the report. A finished fine-tuning is kept, an evaluation
    # is not, so that a run that is stopped loses least in this order.
    if not config.evaluate.episodes:
        text = json.dumps(made.validated, indent=2)
        atomic.write_text(workdir / finished_runs.VALIDATION, text + "\n")
        return ""
    transferred = None
    if config.transfer.steps:
        choosing_on, measured_on = comparison.of_roles(config, roles)
        transferred = comparison.compare(
            config, inits, choosing_on, measured_on, workdir
        )
    drawn = episode_set.of_roles(config, roles)
    manifests = [sample.manifest for sample in drawn.test + drawn.held_out]
    episode_set.write(workdir / episode_set.FILE, manifests)
    evaluation = evaluate(config, inits, drawn, evaluator_of)
    evaluation = evaluation._replace(notes=(*told, *notes))
    ours = workdir / (META if config.cold_start else FROM_PRETRAINED)
    text = run_report.write_report(
        workdir,
        evaluation,
        {
            "title": "metainit: " + ", ".join(loading.names(config.data)),
            "command": command,
            "seed": config.seed,
            "versions": provenance.versions()
            | ({"weights": _source_of(about)} if about else {}),
            "config": dataclasses.asdict(config),
            "training": read_metrics(ours),
            # A warm start once, though it is in the cost of two initialisations.
            "device_hours": sum(x["device_seconds"] for x in made.validated.values())
            / 3600,
            "epoch": _epochs(inits, roles.train),
        },
        transferred,
    )
    run_report.show_in_tensorboard(workdir, config.iterations)
    atomic.write_text(workdir / REPORT, text)
    best = next(init for name, init in inits.items() if name in OURS)
    if best.network and not without_names(best.network):
        classes = len(roles.train[0].class_names)
        way = config.train_task.way or config.task.way or classes
        results = export.read_results(workdir)
        export.export(best, config, workdir / export.FOLDER, way, results)
        print(f"the initialisation, for PyTorch too: {workdir / export.FOLDER}")
    atomic.write_text(
        workdir / finished_runs.FILE,
        json.dumps(finished_runs.asked(dataclasses.asdict(config))) + "\n",
    )
    print(text)
    print(f"report: {workdir / 'report.md'}")
    return text


@contextlib.contextmanager
def _as_config_error() -> Iterator[None]:
    """What is wrong with the user's data or folder is the user's to mend."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _finished(workdir: pathlib.Path, config: Experiment) -> str | None:
    """The report's text where the experiment is finished, else None."""
    path = workdir / finished_runs.FILE
    if not path.exists():
        return None
    if json.loads(path.read_text()) != finished_runs.asked(dataclasses.asdict(config)):
        return None
    summary = (workdir / REPORT).read_text()
    more = "more --config.iterations"
    if config.outer.decay_steps:
        more += " and --config.outer.decay_steps"
    return (
        f"{workdir} is finished ({config.iterations} iterations in max_hours="
        f"{config.max_hours:g}); {more}, or more --config.max_hours where those ended "
        f"it, go on; another --workdir starts anew\n\n{summary}"
    )


def _shuffled(source: Source, seed: int) -> Source:
    """The control experiment: labels no longer say what an image shows."""
    labels, kept = source.labels.copy(), loading.rows(source)
    labels[kept] = np.random.default_rng(seed).permutation(labels[kept])
    return source._replace(labels=labels)


def _in_words(role: str, source: Source) -> str:
    height, width, channels = source.images.shape[1:]
    return (
        f"meta-{role.replace('_', ' ')}: {source.name}, {len(source.class_names)} "
        f"classes, {len(source.images):,} images of {height}x{width}x{channels}"
    )


def _epochs(inits: dict[str, Initialisation], sources_: tuple[Source, ...]) -> float:
    """Images that our longest run saw, in meta-train images."""
    seen = max(init.cost.images for name, init in inits.items() if name in OURS)
    return seen / sum(len(source.images) for source in sources_)


def _source_of(about: About) -> str:
    known = f"{about.recipe.name} recipe, licence {about.recipe.licence or 'unknown'}"
    return f"{about.source} ({known}, sha256 {about.sha256})"
