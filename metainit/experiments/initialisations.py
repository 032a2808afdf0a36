"""The runs of an experiment: every initialisation that its report compares."""

import dataclasses
import math
import operator
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from metainit.config.fields import Experiment
from metainit.core.types import MetaParams, MetaState
from metainit.data import episode_set
from metainit.data.loading import Source
from metainit.evaluation import adaptation
from metainit.evaluation.few_shot import EvaluatorOf, saturated, validated
from metainit.evaluation.results import Measurements
from metainit.experiments.forecast import Forecast
from metainit.runtime import devices
from metainit.runtime.cost import (
    EQUAL_FLOPS,
    FROM_PRETRAINED,
    JOINT,
    META,
    NAMES,
    RATES,
    WARM_RATES,
    WARM_START,
    Cost,
)
from metainit.training import learner as recipe
from metainit.training import optimizers, steps
from metainit.training.initialisation import Initialisation
from metainit.training.loop import fit
from metainit.training.session import Intervals, Run
from metainit.training.steps import Step


class Programs(NamedTuple):
    """What an experiment has compiled, and what meta-learning starts from.

    `state_of` is `(body) -> MetaState` before the first meta-iteration. Steps that are
    planned only have a `rate`, in operations a second.
    """

    start: Initialisation
    state_of: Callable[[Any], MetaState]
    meta: Step
    joint: Step
    rate: float = 0.0


class Trainer:
    """Trains run after run, each in its share of the time that is left.

    Attributes:
      validated: by name, accuracy on meta-validation, device seconds, why it stopped,
        whether for lack of time.
      notes: sentences for the report.
    """

    def __init__(
        self,
        config: Experiment,
        validation: tuple[Source, ...],
        evaluator_of: EvaluatorOf,
        forecast: Forecast,
        begin: float,
    ) -> None:
        """Draws the episodes by which the best states are chosen.

        `begin` is `time.perf_counter()` when the experiment was begun, or gone on with.
        """
        self.validated: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        self._config, self._forecast = config, forecast
        self._evaluator_of = evaluator_of
        self._samples = episode_set.draw_validation(config, validation)
        self._left, self._spent = forecast.runs, time.perf_counter() - begin
        self._ahead = 0.0  # seconds that the next run's warm start took of its share
        self._adaptation_seconds: list[float] = []
        self._seen: dict[str, float] = {}  # by the last validation, by tag

    def fit(
        self,
        run: Run,
        key: Any,
        init_of: Callable[[Any], Initialisation],
        is_warm_start: bool = False,
    ) -> Initialisation:
        """Trains; `init_of` makes an initialisation of parameters.

        A warm start comes to its end, since its rate falls to 0 there, and takes its
        time from the share of the run that follows.
        """
        seconds = (lambda: math.inf) if is_warm_start else self._share
        fitted = fit(
            run, key, lambda x: self._validate(init_of(x)), seconds, lambda: self._seen
        )
        self._ahead += fitted.seconds
        if not is_warm_start:
            self._left, self._spent = self._left - 1, self._spent + self._ahead
            self._ahead = 0.0
        self.validated[run.name] = {
            "accuracy": fitted.accuracy,
            "device_seconds": fitted.cost.device_seconds,
            "stopped": fitted.stopped,
            "out_of_time": fitted.out_of_time,
            "notes": fitted.notes,
        }
        self.notes += [fitted.stopped] * (fitted.stopped != "")
        self.notes += fitted.notes
        if set(run.alphas) != {1.0} and fitted.accuracy is not None:
            self.notes.append(
                f"{run.name}: of {run.alphas}, alpha={fitted.alpha:g} did best on "
                "meta-validation: 0 is where it began, 1 what it had learned."
            )
        return init_of(fitted.params)._replace(name=run.name, cost=fitted.cost)

    def look_at_start(self, init: Initialisation) -> None:
        """Says where inner steps could hardly learn from what a run begins with."""
        head = self._setting(init).head
        way = max(sample.way for sample in self._samples)
        if told := saturated(init.name, head, self._measured(init), way):
            print(f"warning: {told}", flush=True)

    def _validate(self, init: Initialisation) -> float:
        """Accuracy on meta-validation, of the best number of steps."""
        means = {x: y.mean(1) for x, y in self._measured(init).items()}
        best = int(means["accuracy"].argmax())
        self._seen = {"validation/loss": float(means["loss"][best])}
        for name in ("accuracy", "loss"):
            by_step = zip(self._config.evaluate.steps, means[name], strict=True)
            self._seen |= {
                f"adaptation/{name}_after_{step}": float(x) for step, x in by_step
            }
        return float(means["accuracy"][best])

    def _setting(self, init: Initialisation) -> adaptation.Setting:
        """The inner loop of meta-training."""
        head, inner = self._config.method.head, self._config.inner
        if head == "learned" and init.head is None:
            head = "zero"
        return adaptation.Setting(head, inner.optimizer, inner.learning_rate)

    def _measured(self, init: Initialisation) -> Measurements:
        begin, setting = time.perf_counter(), self._setting(init)
        measured = validated(self._evaluator_of, init, self._samples, setting)
        seconds = time.perf_counter() - begin
        episodes = sum(len(x.episodes.support["label"]) for x in self._samples)
        self._adaptation_seconds.append(seconds / episodes)
        return measured

    def _share(self) -> float:
        """Seconds that the next run may take."""
        forecast, known = self._forecast, self._adaptation_seconds[1:]
        if known:  # the first one compiled
            forecast = forecast._replace(adaptation_seconds=min(known))
        left = self._config.max_hours * 3600 - self._spent
        return (left - forecast.reserved(self._config)) / self._left - self._ahead


def make(
    config: Experiment,
    workdir: pathlib.Path,
    trainer: Trainer,
    programs: Programs,
    ratio: float,
) -> dict[str, Initialisation]:
    """Makes the initialisations, or goes on where they stopped; returns them by name.

    `ratio` steps of joint pretraining take as long as a meta-iteration. Each is the
    best by meta-validation, and so is the warm start that meta-learning goes on from:
    its annealed end, but where it has come to suit the classes of meta-train alone.
    Pretrained weights, as they are, are one of them.
    """
    start, _, meta, joint, _ = programs
    inits: dict[str, Initialisation] = {}

    def of_body(params: Any) -> Initialisation:
        return start._replace(body=params["body"])

    def of_params(params: Any) -> Initialisation:
        params, inner = params if isinstance(params, MetaParams) else (params, None)
        init = start._replace(body=params["body"], head=params.get("head"))
        return init._replace(inner=inner, phases=config.method.phases)

    def of_rates(weights: Initialisation) -> Callable[[Any], Initialisation]:
        return lambda params: weights._replace(
            body=params.model["body"], inner=params.inner, phases=config.method.phases
        )

    joint_run = _joint_run(config, workdir / JOINT, programs, ratio)
    jointly_trained = trainer.fit(joint_run, meta.key, of_body)
    meta_run = _meta_run(config, workdir / META, programs, ratio)
    if config.cold_start:
        trainer.look_at_start(of_params(meta.state.params))
        inits[meta_run.name] = trainer.fit(meta_run, meta.key, of_params)
    if config.warm_start:
        run = _warm_start(config, joint_run, joint, ratio)
        warm = trainer.fit(run, meta.key, of_body, is_warm_start=True)
        trainer.look_at_start(warm)
        state = programs.state_of(warm.body)
        run = _from_pretrained(config, meta_run, state)
        run = run._replace(alphas=config.evaluate.alphas)
        init = trainer.fit(run, meta.key, of_params)
        cost = Cost(*map(operator.add, init.cost[:4], warm.cost[:4]))
        inits[run.name] = init._replace(cost=cost)
        if "warm start" in config.learned_rates:
            run = _learned_rates(config, programs, run, warm, WARM_RATES)
            init = trainer.fit(run, meta.key, of_rates(warm))
            cost = Cost(*map(operator.add, init.cost[:4], warm.cost[:4]))
            inits[run.name] = init._replace(cost=cost)
    inits[joint_run.name] = jointly_trained
    if config.joint.equal_flops:
        run = _equal_flops(config, workdir / EQUAL_FLOPS, programs)
        inits[run.name] = trainer.fit(run, meta.key, of_body)
    if start.provenance is not None:
        inits[start.name] = start
    if "pretrained" in config.learned_rates:
        run = _learned_rates(config, programs, meta_run, start, RATES)
        inits[run.name] = trainer.fit(run, meta.key, of_rates(start))
    return inits


def run_of(
    config: Experiment, folder: pathlib.Path, programs: Programs, ratio: float
) -> Run:
    """Makes the run of a folder that `make` fills, to take a step of it again.

    Its state is one such as the run has, not the one that it began with.
    """
    part, start = folder.name, programs.start
    joint_run = _joint_run(config, folder.with_name(JOINT), programs, ratio)
    meta_run = _meta_run(config, folder.with_name(META), programs, ratio)
    if part in (RATES, WARM_RATES):
        return _learned_rates(config, programs, meta_run, start, part)
    if part == EQUAL_FLOPS:
        return _equal_flops(config, folder, programs)
    if part == WARM_START:
        return _warm_start(config, joint_run, programs.joint, ratio)
    if part == FROM_PRETRAINED:
        return _from_pretrained(config, meta_run, meta_run.state)
    return {META: meta_run, JOINT: joint_run}[part]


def _recipe(config: Experiment, start: Initialisation, ratio: float) -> dict[str, Any]:
    """What `run_of` needs besides the folder."""
    own = {"own_model": start.network is None, "devices": devices.mesh().size}
    return {"config": dataclasses.asdict(config), "ratio": ratio, **own}


def _alphas(config: Experiment, start: Initialisation) -> tuple[float, ...]:
    """Of a run that begins with `start`: from random weights there is no way back."""
    return (1.0,) if start.provenance is None else config.evaluate.alphas


def _every(config: Experiment) -> Intervals:
    return Intervals(config.log_every, config.validate_every, config.checkpoint_every)


def _meta_run(
    config: Experiment, folder: pathlib.Path, programs: Programs, ratio: float
) -> Run:
    """Meta-learning from the programs' start."""
    start, _, meta, *_ = programs
    return Run(
        name=NAMES[META],
        folder=folder,
        update=meta.program.update,
        batch=meta.batches,
        state=meta.state,
        steps=config.iterations,
        tasks=config.meta_batch,
        images=meta.batches.images(),
        every=_every(config),
        norms_every=config.log_every,
        data=lambda step: [source.name for source in meta.batches.sources_of(step)],
        episodes=meta.batches.episodes_of,
        chance=meta.batches.chance,
        rates=("inner.learning_rate", "outer.learning_rate"),
        rate=_rate(config, config.outer.learning_rate, 0),
        flops=meta.flops,
        skip=config.outer.skip_nonfinite,
        patience=config.outer.patience,
        profile=config.profile,
        alphas=_alphas(config, start),
        recipe=_recipe(config, start, ratio),
    )


def _joint_run(
    config: Experiment, folder: pathlib.Path, programs: Programs, pace: float
) -> Run:
    """Joint pretraining, `pace` steps of which stand for a meta-iteration."""
    joint, sources = programs.joint, programs.meta.batches.sources
    count = max(1, round(config.iterations * pace))
    length = config.outer.decay_steps or config.iterations
    rates = optimizers.joint_rates(config, count, pace, length)
    return Run(
        name=NAMES[folder.name],
        folder=folder,
        update=joint.program.update,
        batch=lambda step: joint.batches(step, rates[step]),
        state=joint.state,
        steps=count,
        images=config.joint.batch,
        scope="pretraining",
        unit="steps",
        rate=lambda step: float(rates[step]),
        every=_every(config).times(pace),
        norms_every=config.log_every,
        data=lambda step: [source.name for source in sources],
        chance=joint.batches.chance,
        rates=("joint.learning_rate",),
        flops=joint.flops,
        skip=config.outer.skip_nonfinite,
        patience=config.outer.patience,
        profile=config.profile,
        alphas=_alphas(config, programs.start),
        recipe=_recipe(config, programs.start, pace),
    )


def _equal_flops(config: Experiment, folder: pathlib.Path, programs: Programs) -> Run:
    """Joint pretraining of as many operations as meta-learning takes."""
    pace = programs.meta.flops / programs.joint.flops
    return _joint_run(config, folder, programs, pace)


def _warm_start(config: Experiment, joint_run: Run, joint: Step, pace: float) -> Run:
    """Joint pretraining to go on from, annealed over so many iterations' worth."""
    count = max(1, round(config.warm_start * pace))
    rates = optimizers.joint_rates(config, count, pace, count / pace)
    return joint_run._replace(
        name="warm start",
        folder=joint_run.folder.with_name(WARM_START),
        batch=lambda step: joint.batches(step, rates[step]),
        rate=lambda step: float(rates[step]),
        steps=count,
        patience=0,  # the rate is 0 at the end alone
    )


def _rate(config: Experiment, peak: float, first: int) -> Callable[[int], float]:
    """The outer rate of a meta-iteration, in a run that begins with `first`."""
    rates = optimizers.meta_rates(config, peak, first, config.iterations)
    return lambda step: float(rates[step - first])


def _from_pretrained(config: Experiment, meta_run: Run, state: MetaState) -> Run:
    """Meta-learning on from a warm start."""
    done = config.warm_start
    opt_state = optimizers.begun_at(state.opt_state, done)
    return meta_run._replace(
        name=NAMES[FROM_PRETRAINED],
        folder=meta_run.folder.with_name(FROM_PRETRAINED),
        state=state._replace(opt_state=opt_state, step=jnp.int32(done)),
        rate=_rate(config, config.outer.learning_rate, done),
        first_step=done,
    )


def _learned_rates(
    config: Experiment,
    programs: Programs,
    meta_run: Run,
    weights: Initialisation,
    folder: str,
) -> Run:
    """Meta-learning of step sizes alone, in place of a run from these weights."""
    meta, done = programs.meta, meta_run.first_step
    learner = recipe.rates_learner(config, weights.model, weights.preprocess)
    factors = recipe.log_step_sizes(config, weights.model, weights.body)
    state = learner.init(MetaParams({"body": weights.body}, factors))
    of_rates = steps.meta_step(config, learner, state, meta.batches, meta.key)
    opt_state = optimizers.begun_at(state.opt_state, done)
    return meta_run._replace(
        name=NAMES[folder],
        folder=meta_run.folder.with_name(folder),
        update=of_rates.program.update,
        state=state._replace(opt_state=opt_state, step=jnp.int32(done)),
        rate=_rate(config, config.outer.step_size_rate, done),
        flops=of_rates.flops,
    )
