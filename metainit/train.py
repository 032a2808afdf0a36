"""One experiment from top to bottom: data, programs, runs, meta-test, report."""

import contextlib
import functools
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import parameter_overview
from ml_collections import ConfigDict

from metainit import (
    adaptation,
    atomic,
    encoded,
    export,
    finished,
    flops,
    joint,
    leakage,
    network,
    origin,
    overlap,
    planner,
    programs,
    provenance,
    recipe,
    report,
    run_config,
    sources,
    step_sizes,
    transfer_comparison,
    transfer_run,
    tune,
)
from metainit import config as config_module
from metainit import preprocess as preprocess_module
from metainit.budget import Program, seconds_each, steps_per_iteration
from metainit.checkpoint import Checkpoints
from metainit.config import ConfigError
from metainit.datasets import cache
from metainit.episodes import (
    EpisodeSpec,
    alike,
    check,
    sample_batch,
    turn,
    weights,
)
from metainit.evaluate import check as check_evaluation
from metainit.evaluate import draw_validation, evaluate, validation_accuracy
from metainit.fit import Fitted, Run, fit
from metainit.models.model import Model
from metainit.models.pretrained import About
from metainit.results import Cost
from metainit.sources import Source
from metainit.supervised import train as train_supervised
from metainit.transfer_heads import Init
from metainit.types import MetaLearner, MetaParams, MetaState
from metainit.writer import read_metrics

BUDGET, REPORT = "budget.json", "report.txt"
EVALUATION_SHARE = 0.1  # of max_hours, kept for meta-test


def train(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    *,
    model: Model | None = None,
    dry_run: bool = False,
    command: str = "",
) -> str:
    """Runs an experiment, or goes on with it, and reports.

    Args:
      config: see `metainit.config.default`; or a search, see `metainit.tune.default`.
      workdir: folder of the experiment; the same call on the same folder goes on where
        it stopped.
      model: the caller's network body in place of `config.model`.
      dry_run: print what would be done and what it would take; writes nothing.
      command: the line that reproduces this, for the report.

    Returns:
      The report's text ("" for a dry run, or without meta-test).

    Raises:
      ConfigError, ValueError: for settings or data that cannot work, before anything
        long starts.
      metainit.fit.NonFiniteError: when training diverges.
    """
    if config.get("kind") == "supervised":
        return train_supervised(
            config, workdir, model=model, dry_run=dry_run, command=command
        )
    if config.get("kind") == "transfer":
        return transfer_run.train(config, workdir, dry_run=dry_run, command=command)
    if config.get("kind") == "tune":
        trial = functools.partial(train, model=model)
        return tune.tune(config, workdir, trial, dry_run=dry_run, command=command)
    workdir = pathlib.Path(workdir)
    config_module.validate(config)

    missing = sources.downloads(config.data)
    for url, megabytes in missing.items():
        print(f"to download: {url}, {megabytes} MB")
    if dry_run and missing:
        print("a dry run fetches nothing; steps are timed when the files are there")
        return ""

    # Data. A folder is claimed when they fit the config, so that a mistake costs none.
    train_task = EpisodeSpec(**config.train_task)
    with _as_config_error():
        roles = sources.load(config.data)
        if config.data.drop_shared:
            roles, dropped = leakage.drop_shared(roles)
            print(f"left out of training or validation, as in meta-test: {dropped}")
        check(roles.train, train_task, "train")
        check_evaluation(config, roles)
        leakage.check(roles)
        if config.transfer.steps:
            transfer_comparison.check(config, roles)
        if not dry_run:
            run_config.claim(
                workdir,
                config.to_dict(),
                may_change=config_module.MAY_CHANGE,
                only_up=config_module.ONLY_UP,
            )
    if not dry_run and (said := _finished(workdir, config)) is not None:
        print(said)
        return said
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
    model = model or network.build(config)
    preprocess = preprocess_module.fit(
        roles.train, config.augment.shift, config.augment.flip
    )._replace(encode=model.encode)
    init_key, head_key, step_key = jax.random.split(jax.random.key(config.seed), 3)
    example = jnp.zeros((2, *roles.train[0].images.shape[1:]))
    body = jax.jit(model.init)(init_key, example)
    random_body = body
    about = None
    if may_choose and config.encoder.name != "none" and config.encoder.weights:
        with _as_config_error():
            body, about = network.load_weights(config.encoder, body)
        expected = about.recipe.input
        preprocess = preprocess._replace(mean=expected.mean, std=expected.std)
        print(f"weights: {about.source}, {about.recipe.name}, sha256 {about.sha256}")
    if not dry_run:
        with _as_config_error():
            seen = origin.Origin(preprocess.mean, preprocess.std, about)
            origin.save(workdir, seen)
    print(parameter_overview.get_parameter_overview(body, include_stats=False))
    told: tuple[str, ...] = ()
    if config.evaluate.episodes and not dry_run:
        seen_by = about.recipe.data if about else None
        told = overlap.warnings(roles, seen_by)
        print("\n".join(told), end="\n" * bool(told), flush=True)
    if may_choose and config.encoder.cached:
        with _as_config_error():
            kept = cache.root(config.data.data_dir) / "features"
            roles = encoded.encode(roles, model, body, preprocess, kept)
        model = encoded.on_maps(model, example)
        preprocess = preprocess._replace(encode=None)
        example = jnp.zeros((2, *roles.train[0].images.shape[1:]))
    train_sources = roles.train

    learner = recipe.learner(config, model, preprocess)

    # Compiled as one: by themselves, a network's many operations take far longer.
    @jax.jit
    def meta_state(body: Any) -> MetaState:
        head = recipe.init_head(config, model, body, example, head_key)
        return learner.init({"body": body} | head)

    # The meta-iteration. Tasks that differ in shape are taken one by one.
    shares = weights(train_sources, config.data.weights)
    stacked = alike(train_sources, train_task)

    def turns(step: int) -> list[Source]:
        first = step * config.meta_batch
        numbers = range(first, first + config.meta_batch)
        return [train_sources[turn(shares, number)] for number in numbers]

    def one_task(source: Source, index: int) -> Any:
        return sample_batch((source,), train_task, config.seed, index, 1)[0]

    def meta_batch(step: int) -> Any:
        first, count = step * config.meta_batch, config.meta_batch
        if not stacked:
            of_each = enumerate(turns(step), start=first)
            return tuple(one_task(source, index) for index, source in of_each)
        seed = config.seed
        return sample_batch(train_sources, train_task, seed, first, count, shares)[0]

    def meta_program(learner: MetaLearner, state: MetaState) -> Program:
        if stacked:
            update = recipe.meta_update(learner)
            return programs.by_shape(update, [(state, meta_batch(0), step_key)])
        tasks = [one_task(source, 0) for source in train_sources]
        return programs.in_parts(learner, state, tasks, step_key)

    print("compiling", flush=True)
    meta = meta_program(learner, meta_state(body))

    if may_choose:
        planner.check(config, meta.memory, planner.device_memory())

    # The step of joint pretraining.
    classes = sum(len(source.class_names) for source in train_sources)
    joint_state = jax.jit(
        lambda body: joint.init(config, model, body, example, classes)
    )(body)
    joint_update = joint.update(config, model, preprocess)

    def joint_batch(
        step: int, pace: float = 1.0, of: tuple[Source, ...] = train_sources
    ) -> Any:
        size, progress = config.joint.batch, step / pace
        return joint.batch(of, size, config.seed, step, progress)

    supervised = programs.by_shape(
        joint_update,
        [(joint_state, joint_batch(0, of=(one,)), step_key) for one in train_sources],
    )

    # Over as many steps as it takes to meet every data set.
    period = 1 if stacked else len(train_sources)

    def some(program: Program, state: Any, batch: Any) -> Any:
        batches = [batch(step) for step in range(period)]
        return lambda: [program.update(state, one, step_key) for one in batches]

    meta_seconds, joint_seconds = (
        seconds / period
        for seconds in seconds_each(
            some(meta, meta_state(body), meta_batch),
            some(supervised, joint_state, joint_batch),
        )
    )
    ratio = steps_per_iteration(
        workdir / BUDGET,
        config.joint.steps_per_iteration,
        meta_seconds,
        joint_seconds,
        store=not dry_run,
    )
    print(_plan(config, meta, supervised, meta_seconds, joint_seconds, ratio))
    runs = _runs(config)
    seconds_left = config.max_hours * 3600 * (1 - EVALUATION_SHARE)
    if config.warm_start * meta_seconds > seconds_left / runs:
        hours = config.warm_start * meta_seconds / 3600 * runs / (1 - EVALUATION_SHARE)
        raise ConfigError(
            f"max_hours={config.max_hours} is too short for warm_start="
            f"{config.warm_start}: give {hours:.2g} or more, or a shorter warm start"
        )
    if dry_run:
        return ""

    # Their operations, by one count for both.
    def meta_flops(learner: MetaLearner, state: MetaState) -> float:
        counts = [
            programs.operations(learner, state, meta_batch(step), step_key)
            for step in range(period)
        ]
        return sum(counts) / period

    meta_step_flops = meta_flops(learner, meta_state(body))
    joint_step_flops = (
        sum(
            flops.of_function(
                joint_update, joint_state, joint_batch(step), step_key
            ).total
            for step in range(period)
        )
        / period
    )

    # The runs: joint pretraining first, since the warm start begins with it.
    evaluator_of = functools.cache(
        lambda way: adaptation.evaluator(model, preprocess, way, config.evaluate.steps)
    )
    choosing = draw_validation(config, roles.validation)
    by_recipe = adaptation.Setting(
        config.method.head, config.inner.optimizer, config.inner.learning_rate
    )

    def validate(params: Any, head: str = by_recipe.head) -> float:
        setting = by_recipe._replace(head=head)
        accuracy = validation_accuracy(evaluator_of, params, choosing, setting)
        return float(accuracy.max())

    def validate_body(params: Any) -> float:
        head = "zero" if by_recipe.head == "learned" else by_recipe.head
        kept = {name: params[name] for name in params if name != "head"}
        return validate(kept, head)

    notes: list[str] = []
    validated: dict[str, dict[str, Any]] = {}

    def make(run: Run, validate: Callable[[Any], float]) -> Fitted:
        nonlocal runs, seconds_left
        fitted = fit(run, config, step_key, validate, seconds_left / runs)
        runs, seconds_left = runs - 1, seconds_left - fitted.seconds
        notes.extend([fitted.stopped] if fitted.stopped else [])
        validated[run.name] = {
            "accuracy": fitted.accuracy,
            "device_seconds": fitted.cost.device_seconds,
            "stopped": fitted.stopped,
        }
        return fitted

    inits: dict[str, tuple[Any, Cost]] = {}
    warm_steps = max(1, round(config.warm_start * ratio)) if config.warm_start else 0
    joint_run = Run(
        name="joint pretraining",
        folder=workdir / "joint",
        update=supervised.update,
        batch=lambda step: joint_batch(step, ratio),
        state=joint_state,
        first_step=0,
        steps=max(1, round(config.iterations * ratio)),
        tasks=1,
        images=config.joint.batch,
        data=lambda step: [source.name for source in train_sources],
        flops=joint_step_flops,
        pace=ratio,
        keep_at=warm_steps if warm_steps else None,
    )
    fitted = make(joint_run, validate_body)
    pretrained = {"body": fitted.params["body"]}, fitted.cost

    # With every class in a task, data sets differ in images; on average:
    ways = [train_task.way or len(source.class_names) for source in train_sources]
    way = sum(share * way for share, way in zip(shares, ways, strict=True))
    per_task = round(way * (train_task.shot + train_task.queries))
    meta_run = Run(
        name="meta-learned",
        folder=workdir / "meta",
        update=meta.update,
        batch=meta_batch,
        state=meta_state(body),
        first_step=0,
        steps=config.iterations,
        tasks=config.meta_batch,
        images=config.meta_batch * per_task,
        flops=meta_step_flops,
        data=lambda step: [source.name for source in turns(step)],
    )
    if config.cold_start:
        fitted = make(meta_run, validate)
        inits["meta-learned"] = fitted.params, fitted.cost
    warm = Checkpoints(joint_run.folder / "warm-start").latest(joint_state)
    if warm_steps and warm is not None:
        _, warm_state, clock = warm
        state = meta_state(warm_state.params["body"])
        state = state._replace(
            opt_state=recipe.skip_schedule(state.opt_state, config.warm_start),
            step=jnp.int32(config.warm_start),
        )
        warm_run = meta_run._replace(
            name="meta-learned from pretrained",
            folder=workdir / "meta_from_pretrained",
            state=state,
            first_step=config.warm_start,
        )
        fitted = make(warm_run, validate)
        cost = Cost(
            fitted.cost.device_seconds + clock["device_seconds"],
            fitted.cost.images + warm_steps * config.joint.batch,
            fitted.cost.steps + warm_steps,
            (fitted.cost.flops or 0) + warm_steps * joint_step_flops,
        )
        inits[warm_run.name] = fitted.params, cost
    inits["joint pretraining"] = pretrained
    if config.joint.equal_flops:
        # As many steps as take meta-learning's operations.
        pace = meta_step_flops / joint_step_flops
        equal_run = joint_run._replace(
            name="joint pretraining, equal FLOPs",
            folder=workdir / "joint_equal_flops",
            batch=lambda step: joint_batch(step, pace),
            steps=max(1, round(config.iterations * pace)),
            pace=pace,
            keep_at=None,
        )
        fitted = make(equal_run, validate_body)
        inits[equal_run.name] = {"body": fitted.params["body"]}, fitted.cost
    if about:
        inits["pretrained weights"] = {"body": body}, Cost(0.0, 0, 0, 0.0)
    if config.learned_rates:
        rates = recipe.rates_learner(config, model, preprocess)
        factors = step_sizes.init(model, body)
        state = rates.init(MetaParams({"body": body}, factors))
        rates_run = meta_run._replace(
            name="pretrained weights, learned rates",
            folder=workdir / "rates",
            update=meta_program(rates, state).update,
            state=state,
            flops=meta_flops(rates, state),
        )
        with_rates = lambda p: {"body": body, "rates": p.inner}  # noqa: E731
        fitted = make(rates_run, lambda p: validate_body(with_rates(p)))
        inits[rates_run.name] = with_rates(fitted.params), fitted.cost
    if train_sources[0].images.dtype == np.uint8:  # features are of the encoder loaded
        inits["random"] = {"body": random_body}, Cost(0.0, 0, 0, 0.0)
    else:
        notes.append(
            "The frozen encoder's features were made once for every image: their time "
            "is in no row, and random weights, which have others, were not measured."
        )

    notes.append(
        f"FLOPs are matrix products and convolutions, loops in full: a meta-iteration "
        f"{meta_step_flops:.3g}, a joint step {joint_step_flops:.3g}. The compiler's "
        f"cost_analysis() of the programs says {meta.flops:.3g} and "
        f"{supervised.flops:.3g}, a loop's body counted once."
    )

    # Transfer, meta-test and the report. A finished fine-tuning is kept, an evaluation
    # is not, so that a run that is stopped loses least in this order.
    if not config.evaluate.episodes:
        text = json.dumps(validated, indent=2)
        atomic.write_text(workdir / finished.VALIDATION, text + "\n")
        return ""
    transferred = None
    if config.transfer.steps:
        compared = {
            name: Init(model, preprocess, params, cost)
            for name, (params, cost) in inits.items()
        }
        choosing_on, measured_on = transfer_comparison.of_roles(config, roles)
        transferred = transfer_comparison.compare(
            config, compared, choosing_on, measured_on, workdir
        )
    evaluation = evaluate(config, model, preprocess, inits, roles, evaluator_of)
    evaluation = evaluation._replace(notes=(*told, *notes))
    ours = workdir / ("meta" if config.cold_start else "meta_from_pretrained")
    text = report.write_report(
        workdir,
        evaluation,
        {
            "title": "metainit: " + ", ".join(sources.names(config.data)),
            "command": command,
            "seed": config.seed,
            "versions": provenance.versions()
            | ({"weights": _source_of(about)} if about else {}),
            "config": config.to_dict(),
            "training": read_metrics(ours),
            "device_hours": sum(c.device_seconds for _, c in inits.values()) / 3600,
            "epoch": _epochs(inits, train_sources),
        },
        transferred,
    )
    report.show_in_tensorboard(workdir, config.iterations)
    atomic.write_text(workdir / REPORT, text)
    if may_choose:
        _export(config, workdir)
    atomic.write_text(
        workdir / finished.FILE, json.dumps(finished.asked(config.to_dict())) + "\n"
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


def _export(config: ConfigDict, workdir: pathlib.Path) -> None:
    """The initialisation as files, where its network has names outside."""
    if export.architecture(config):
        export.export(workdir, workdir / export.FOLDER)
        print(f"the initialisation, for PyTorch too: {workdir / export.FOLDER}")


def _finished(workdir: pathlib.Path, config: ConfigDict) -> str | None:
    """The report's text where the experiment is finished, else None."""
    path = workdir / finished.FILE
    if not path.exists():
        return None
    if json.loads(path.read_text()) != finished.asked(config.to_dict()):
        return None
    summary = (workdir / REPORT).read_text()
    return (
        f"{workdir} is finished ({config.iterations} iterations); more "
        f"--config.iterations go on, another --workdir starts anew\n\n{summary}"
    )


def _shuffled(source: Source, seed: int) -> Source:
    """The control experiment: labels no longer say what an image shows."""
    order = np.random.default_rng(seed).permutation(len(source.labels))
    return source._replace(labels=source.labels[order])


def _in_words(role: str, source: Source) -> str:
    height, width, channels = source.images.shape[1:]
    return (
        f"meta-{role.replace('_', ' ')}: {source.name}, {len(source.class_names)} "
        f"classes, {len(source.images):,} images of {height}x{width}x{channels}"
    )


def _runs(config: ConfigDict) -> int:
    """Initialisations to be made, each in an equal share of the time."""
    more = (config.cold_start, config.warm_start > 0, config.learned_rates)
    return 1 + sum(more) + config.joint.equal_flops


def _plan(
    config: ConfigDict,
    meta: Program,
    supervised: Program,
    meta_seconds: float,
    joint_seconds: float,
    ratio: float,
) -> str:
    runs = _runs(config)
    hours = runs * config.iterations * meta_seconds / 3600
    return (
        f"compiled in {meta.compile_seconds:.1f} + {supervised.compile_seconds:.1f} s; "
        f"a meta-iteration takes {meta_seconds:.4f} s and {meta.memory / 1e6:.0f} MB, "
        f"a joint step {joint_seconds:.4f} s: {ratio:.1f} joint steps for equal "
        f"device time; {config.iterations} iterations for each of {runs} "
        f"initialisations: about {hours:.2f} hours and the evaluation"
    )


def _epochs(inits: dict[str, tuple[Any, Cost]], sources_: tuple[Source, ...]) -> float:
    """Images that our longest run saw, in meta-train images."""
    seen = max(cost.images for name, (_, cost) in inits.items() if "meta" in name)
    return seen / sum(len(source.images) for source in sources_)


def _source_of(about: About) -> str:
    known = f"{about.recipe.name} recipe, licence {about.recipe.licence or 'unknown'}"
    return f"{about.source} ({known}, sha256 {about.sha256})"
