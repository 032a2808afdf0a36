"""The runs of an experiment: every initialisation that its report compares."""

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
from metainit.evaluation.few_shot import validation_accuracy
from metainit.experiments.forecast import Forecast
from metainit.runtime.checkpoint import WARM_START, CheckpointError, Checkpoints
from metainit.runtime.cost import (
    EQUAL_FLOPS,
    FROM_PRETRAINED,
    JOINT,
    META,
    NAMES,
    RATES,
    Cost,
)
from metainit.training import learner as recipe
from metainit.training import steps
from metainit.training.initialisation import Initialisation
from metainit.training.loop import Intervals, Run, fit


class Made(NamedTuple):
    """What the runs made.

    Attributes:
      inits: by name, the best by meta-validation.
      validated: by name, accuracy on meta-validation, device seconds, why it stopped.
      notes: for the report.
    """

    inits: dict[str, Initialisation]
    validated: dict[str, dict[str, Any]]
    notes: list[str]


def count(config: Experiment) -> int:
    """Initialisations to be made, each in an equal share of the time."""
    more = (config.cold_start, config.warm_start > 0, config.learned_rates)
    return 1 + sum(more) + config.joint.equal_flops


def make(
    config: Experiment,
    workdir: pathlib.Path,
    start: Initialisation,
    meta_state: Callable[[Any], MetaState],
    meta: steps.Step,
    joint: steps.Step,
    ratio: float,
    validation: tuple[Source, ...],
    evaluator_of: Callable[[int], Any],
    meta_test: Forecast,
    begin: float,
) -> Made:
    """Makes the initialisations one after the other, or goes on where they stopped.

    Joint pretraining comes first, since the warm start begins with it.

    Args:
      config: of the experiment.
      workdir: its folder.
      start: what they start from, random or pretrained weights.
      meta_state: `(body) -> MetaState`, before the first meta-iteration.
      meta: the meta-iteration.
      joint: the step of joint pretraining.
      ratio: joint steps that take as long as a meta-iteration.
      validation: meta-validation, by which the best states are chosen.
      evaluator_of: `metainit.evaluation.adaptation.evaluator` by way.
      meta_test: forecast before anything was adapted to; meta-validation tells more.
      begin: `time.perf_counter()` when the experiment was begun, or gone on with.
    """
    choosing = episode_set.draw_validation(config, validation)
    by_recipe = adaptation.Setting(
        config.method.head, config.inner.optimizer, config.inner.learning_rate
    )

    episodes = sum(len(one.episodes.support["label"]) for one in choosing)
    seconds_each: list[float] = []

    def validate(init: Initialisation, head: str = by_recipe.head) -> float:
        setting = by_recipe._replace(head=head)
        before = time.perf_counter()
        accuracy = validation_accuracy(evaluator_of, init, choosing, setting)
        seconds_each.append((time.perf_counter() - before) / episodes)
        return float(accuracy.max())

    def validate_body(init: Initialisation) -> float:
        head = "zero" if by_recipe.head == "learned" else by_recipe.head
        return validate(init, head)

    made = Made({}, {}, [])
    left, spent = count(config), time.perf_counter() - begin

    def share() -> float:
        """Seconds that the next run may take."""
        if len(seconds_each) > 1:  # the first one compiled
            last = meta_test._replace(seconds_each=min(seconds_each[1:])).seconds
        else:
            last = meta_test.seconds
        return (config.max_hours * 3600 - spent - last) / left

    def meta_learned(params: Any) -> Initialisation:
        return start._replace(body=params["body"], head=params.get("head"))

    def jointly_trained(params: Any) -> Initialisation:
        return start._replace(body=params["body"])

    def with_step_sizes(params: Any) -> Initialisation:
        return start._replace(inner=params.inner)

    def fitted_by(
        run: Run,
        made_of: Callable[[Any], Initialisation],
        validate: Callable[[Initialisation], float],
    ) -> Initialisation:
        """Trains; `made_of` makes an initialisation of the parameters trained."""
        nonlocal left, spent
        fitted = fit(run, meta.key, lambda params: validate(made_of(params)), share)
        left, spent = left - 1, spent + fitted.seconds
        made.notes.extend([fitted.stopped] if fitted.stopped else [])
        made.validated[run.name] = {
            "accuracy": fitted.accuracy,
            "device_seconds": fitted.cost.device_seconds,
            "stopped": fitted.stopped,
        }
        return made_of(fitted.params)._replace(name=run.name, cost=fitted.cost)

    every = Intervals(config.log_every, config.validate_every, config.checkpoint_every)
    warm_steps = max(1, round(config.warm_start * ratio)) if config.warm_start else 0
    names = [source.name for source in meta.batches.sources]
    joint_run = Run(
        name=NAMES[JOINT],
        folder=workdir / JOINT,
        update=joint.program.update,
        batch=lambda step: joint.batches(step, ratio),
        state=joint.state,
        steps=max(1, round(config.iterations * ratio)),
        images=config.joint.batch,
        every=every.times(ratio),
        data=lambda step: names,
        rates=("joint.learning_rate",),
        flops=joint.flops,
        keep_at=warm_steps if warm_steps else None,
    )
    jointly = fitted_by(joint_run, jointly_trained, validate_body)

    meta_run = Run(
        name=NAMES[META],
        folder=workdir / META,
        update=meta.program.update,
        batch=meta.batches,
        state=meta.state,
        steps=config.iterations,
        tasks=config.meta_batch,
        images=meta.batches.images(),
        every=every,
        data=lambda step: [source.name for source in meta.batches.sources_of(step)],
        rates=("inner.learning_rate", "outer.learning_rate"),
        flops=meta.flops,
    )
    if config.cold_start:
        made.inits[meta_run.name] = fitted_by(meta_run, meta_learned, validate)
    if warm_steps:
        kept = joint_run.folder / WARM_START
        if (warm := Checkpoints(kept).restore(joint.state)) is None:
            raise CheckpointError(
                f"{kept} has no checkpoint of the warm start any more; give another "
                "--workdir to start again"
            )
        _, warm_state, clock = warm
        state = meta_state(warm_state.params["body"])
        warm_run = meta_run._replace(
            name=NAMES[FROM_PRETRAINED],
            folder=workdir / FROM_PRETRAINED,
            state=state._replace(
                opt_state=recipe.skip_schedule(state.opt_state, config.warm_start),
                step=jnp.int32(config.warm_start),
            ),
            first_step=config.warm_start,
        )
        warm_init = fitted_by(warm_run, meta_learned, validate)
        cost = Cost(
            warm_init.cost.device_seconds + clock["device_seconds"],
            warm_init.cost.images + warm_steps * config.joint.batch,
            warm_init.cost.steps + warm_steps,
            (warm_init.cost.flops or 0) + warm_steps * joint.flops,
        )
        made.inits[warm_run.name] = warm_init._replace(cost=cost)
    made.inits[joint_run.name] = jointly
    if config.joint.equal_flops:
        # As many steps as take meta-learning's operations.
        pace = meta.flops / joint.flops
        equal_run = joint_run._replace(
            name=NAMES[EQUAL_FLOPS],
            folder=workdir / EQUAL_FLOPS,
            batch=lambda step: joint.batches(step, pace),
            steps=max(1, round(config.iterations * pace)),
            every=every.times(pace),
            keep_at=None,
        )
        made.inits[equal_run.name] = fitted_by(
            equal_run, jointly_trained, validate_body
        )
    if start.provenance is not None:
        made.inits[start.name] = start
    if config.learned_rates:
        learner = recipe.rates_learner(config, start.model, start.preprocess)
        factors = recipe.log_step_sizes(start.model, start.body)
        state = learner.init(MetaParams({"body": start.body}, factors))
        of_rates = steps.meta_step(learner, state, meta.batches, meta.key)
        rates_run = meta_run._replace(
            name=NAMES[RATES],
            folder=workdir / RATES,
            update=of_rates.program.update,
            state=state,
            flops=of_rates.flops,
        )
        made.inits[rates_run.name] = fitted_by(
            rates_run, with_step_sizes, validate_body
        )
    made.notes.append(
        f"FLOPs are matrix products and convolutions, loops in full: a meta-iteration "
        f"{meta.flops:.3g}, a joint step {joint.flops:.3g}. The compiler's "
        f"cost_analysis() of the programs says {meta.program.flops:.3g} and "
        f"{joint.program.flops:.3g}, a loop's body counted once."
    )
    return made
