"""Runs one experiment: its data, programs, training, meta-test and report."""

import contextlib
import dataclasses
import functools
import pathlib
import time

import jax
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
from metainit.data import episode_set, episodes, leakage, loading
from metainit.data.loading import Roles
from metainit.evaluation import adaptation
from metainit.experiments import (
    configs,
    export,
    forecast,
    initialisations,
    meta_test,
    plan,
    preparation,
    supervised,
    sweep,
    transfer,
    uncut,
)
from metainit.experiments.configs import Config
from metainit.experiments.initialisations import Trainer
from metainit.experiments.runs import Programs
from metainit.models import registry
from metainit.models.model import Model
from metainit.reporting import fairness, figures, finished_runs, run_report
from metainit.runtime import (
    atomic,
    devices,
    hosts,
    progress,
    provenance,
    run_folder,
)
from metainit.runtime.budget import steps_per_iteration
from metainit.runtime.cost import JOINT, NAMES, OURS, RANDOM
from metainit.runtime.logging import read_metrics
from metainit.training import stored
from metainit.training.initialisation import Initialisation
from metainit.training.method import make_method
from metainit.training.steps import Step
from metainit.transfer import comparison

BUDGET, REPORT = "budget.json", "report.txt"
_OF_FEATURES = (
    "Features of the encoder's frozen stages were made once for every image: their "
    "time is in no row. Random weights have others: not measured."
)


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
      model: a network of the caller's to meta-learn, in place of `config.model`.
      dry_run: print what a run would do and take; write nothing and return "".
      command: the line that reproduces this, for the report.

    Raises:
      ConfigError: for settings or data that cannot work, before anything long starts.
      metainit.training.nonfinite.NonFiniteError: when training diverges.
    """
    workdir, config = pathlib.Path(workdir), configs.typed(config)
    with contextlib.ExitStack() as stack:
        if not dry_run:
            with configs.as_config_error():
                stack.enter_context(run_folder.held(workdir))
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
    """Runs an experiment of meta-learning, with the arguments of `train`."""
    begin, settings = time.perf_counter(), dataclasses.asdict(config)

    # The data. The folder is claimed once all is checked: a mistake leaves none.
    with configs.as_config_error():
        if not dry_run:
            run_folder.claim(workdir, settings, MAY_CHANGE, ONLY_UP, write=False)
            if text := _finished(workdir, config):
                print(text)
                return text
        loaded = preparation.checked_roles(config, dry_run, command)
        if not dry_run:
            leakage.check_stored(workdir, loaded)
    roles = preparation.learned_from(config, loaded)

    # The network, and the two training steps, which are compiled and timed.
    init_key, head_key, step_key = jax.random.split(jax.random.key(config.seed), 3)
    with configs.as_config_error():
        untrained, start = preparation.starts(config, roles, model, init_key, dry_run)
    print(parameter_overview.get_parameter_overview(start.body, include_stats=False))
    notes: list[str] = []
    if config.evaluate.episodes and not dry_run:
        notes += _leaks(start, roles)
    cached = model is None and config.encoder.cached
    with configs.as_config_error():
        whole, encoding = uncut.prepare(config, start, roles, dry_run), 0.0
        if cached:
            start, roles, encoding = preparation.on_maps(config, start, roles, dry_run)
    method = make_method(config, start.model, start.preprocess)
    evaluator_of = adaptation.evaluators(method, config.evaluate.steps)
    measure = preparation.timed_in_a_minute if dry_run else preparation.timed
    given = config, method, start, roles, (head_key, step_key), evaluator_of
    if (timed := measure(*given)) is None:
        return ""
    programs, expected = timed
    meta, joint = programs.meta, programs.joint
    encoding, past = encoding + whole.seconds, hosts.agreed(time.perf_counter() - begin)
    expected = expected._replace(encoding_seconds=encoding, begun_seconds=past)
    if not dry_run:
        forecast.check_hours(config, expected)
        with configs.as_config_error():
            run_folder.claim(workdir, settings, MAY_CHANGE, ONLY_UP)
            leakage.store(workdir, loaded)
            stored.save_origin(workdir, start)
    seconds, kept = (expected.meta_seconds, expected.joint_seconds), workdir / BUDGET
    ratio = config.joint.steps_per_iteration
    ratio = ratio or steps_per_iteration(kept, *seconds, store=not dry_run)
    parts = plan.parts(config, expected, meta, joint, ratio)
    print(plan.describe(config, expected, parts, meta, ratio), flush=True)
    if dry_run:  # it shows its plan before it is refused
        forecast.check_hours(config, expected)
        return ""

    with progress.plan(plan.ahead(parts)):
        # The initialisations.
        trainer = Trainer(config, roles.validation, evaluator_of, expected, begin)
        inits = initialisations.make(config, workdir, trainer, programs, ratio)
        runs = trainer.validated.values()
        if not config.evaluate.episodes:
            atomic.write_json(workdir / finished_runs.VALIDATION, trainer.validated)
            return ""
        notes += [*trainer.notes, _flops_in_words(meta, joint)]
        if cached:
            notes.append(_OF_FEATURES)
        else:
            inits[RANDOM] = untrained

        # Transfer and meta-test. A finished fine-tuning is kept, and an evaluation is
        # not: in this order, a run that is stopped loses least.
        transferred = None
        if config.transfer.steps:
            of_transfer = config.transfer, config.seed
            splits = comparison.of_roles(*of_transfer, roles)
            transferred = comparison.compare(*of_transfer, inits, *splits, workdir)
        device_seconds = sum(run["device_seconds"] for run in runs)
        # A run that was resumed had spent device time before it stopped.
        before = max(device_seconds / devices.mesh().size, time.perf_counter() - begin)
        evaluation = meta_test.run(
            config, workdir, inits, roles, evaluator_of, whole, before, loaded
        )

    # The report.
    ours = {part: inits[x] for part, x in NAMES.items() if x in OURS and x in inits}
    first = next(iter(ours.values()))
    images = sum(len(source.images) for source in roles.train)
    context: run_report.Context = {
        "title": "metainit: " + ", ".join(loading.names(config.data)),
        "command": command,
        "terms": _terms(config, start, programs, ratio, trainer, whole.init),
        "versions": provenance.versions() | _weights_in_words(start),
        "config": settings,
        "training": _curves(config, workdir, [*ours, JOINT], roles),
        "device_hours": device_seconds / 3600,
        # Counts how often our longest run saw each meta-train image.
        "epoch": max(init.cost.images for init in ours.values()) / images,
    }
    evaluation = evaluation._replace(notes=(*evaluation.notes, *notes))
    text = run_report.write_report(workdir, evaluation, context, transferred)
    shown = evaluation.rows, run_folder.flat(settings), _episode(config, loaded)
    run_report.show_in_tensorboard(workdir, config.iterations, *shown)
    atomic.write_text(workdir / REPORT, text)
    if start.network and not registry.without_names(start.network):
        classes = len(roles.train[0].class_names)
        way = config.train_task.way or config.task.way or classes
        export.export(first, config, workdir / export.FOLDER, way, workdir)
        print(f"the initialisation, for PyTorch too: {workdir / export.FOLDER}")
    atomic.write_json(workdir / finished_runs.FILE, finished_runs.asked(settings))
    print(text)
    return text


def _finished(workdir: pathlib.Path, config: Experiment) -> str:
    """Gives the report's text if the experiment is finished, else ""."""
    path = workdir / finished_runs.FILE
    asked = finished_runs.asked(dataclasses.asdict(config))
    if not path.exists() or atomic.read_json(path) != asked:
        return ""
    with atomic.reading(workdir / REPORT, f"delete {path}, and the same line makes it"):
        report = (workdir / REPORT).read_text()
    return (
        f"{workdir} is finished ({config.iterations} iterations in max_hours="
        f"{config.max_hours:g}); more of either go on, another --workdir starts anew"
        f"\n\n{report}"
    )


def _episode(config: Experiment, roles: Roles) -> dict[str, np.ndarray]:
    """Gives the images of the first episode of meta-validation, to show them."""
    task, evaluate, sources = config.task, config.evaluate, roles.validation
    episode = episode_set.draw_validation(task, evaluate, sources)[0].episodes
    parts = {"support": episode.support, "query": episode.query}
    return {name: part["image"][0] for name, part in parts.items()}


def _curves(
    config: Experiment, workdir: pathlib.Path, parts: list[str], roles: Roles
) -> list[figures.Curve]:
    """Reads what was logged while some parts trained, for the report."""
    classes = sum(len(source.class_names) for source in roles.train)
    about = "train", episodes.describe(config.train_task)
    curves = []
    for part in parts:
        of_joint = "pretraining", f"{classes:,} classes"
        scope, tasks = of_joint if part == JOINT else about
        if rows := figures.drawn(scope, read_metrics(workdir / part)):
            curves.append(figures.Curve(NAMES[part], scope, tasks, rows))
    return curves


def _leaks(start: Initialisation, roles: Roles) -> tuple[str, ...]:
    """Prints warnings about leaks, and gives them to the report."""
    of_imagenet = bool(start.provenance and start.provenance.recipe.imagenet)
    warnings = leakage.warnings(roles, of_imagenet)
    print("\n".join(warnings), end="\n" * bool(warnings), flush=True)
    return warnings


def _terms(
    config: Experiment,
    start: Initialisation,
    programs: Programs,
    pace: float,
    trainer: Trainer,
    uncut_encoder: Initialisation | None,
) -> fairness.Terms:
    """Collects what holds for every initialisation, for the report."""
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
