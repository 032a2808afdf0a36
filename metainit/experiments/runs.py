"""Makes the training runs of an experiment from its config and compiled steps."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from metainit.config.fields import Experiment
from metainit.core.types import MetaParams, MetaState
from metainit.runtime.cost import (
    FROM_PRETRAINED,
    NAMES,
    WARM_START,
)
from metainit.training import optimizers, steps
from metainit.training.initialisation import Initialisation
from metainit.training.method import Method
from metainit.training.session import Intervals, Run
from metainit.training.steps import Step


class Programs(NamedTuple):
    """The compiled steps of an experiment, its method and what it starts from.

    `state_of` makes of a body the MetaState before the first meta-iteration.
    """

    method: Method
    start: Initialisation
    state_of: Callable[[Any], MetaState]
    meta: Step
    joint: Step


def _in_common(
    config: Experiment, folder: pathlib.Path, start: Initialisation, step: Step
) -> dict[str, Any]:
    """Gives the fields that every run has."""
    return {
        "name": NAMES[folder.name],
        "folder": folder,
        "update": step.program.update,
        "state": step.state,
        "norms_every": config.log_every,
        "chance": step.batches.chance,
        "flops": step.flops,
        "skip": config.outer.skip_nonfinite,
        "patience": config.outer.patience,
        "profile": config.profile,
        # Only trained weights are worth mixing with what was learned.
        "alphas": config.evaluate.alphas if start.provenance else (1.0,),
    }


def _every(config: Experiment) -> Intervals:
    return Intervals(config.log_every, config.validate_every, config.checkpoint_every)


def of_meta(config: Experiment, folder: pathlib.Path, programs: Programs) -> Run:
    """Makes the run that meta-learns from the programs' start."""
    batches = programs.meta.batches
    return Run(
        **_in_common(config, folder, programs.start, programs.meta),
        batch=batches,
        steps=config.iterations,
        tasks=config.meta_batch,
        images=batches.images(),
        every=_every(config),
        data=lambda step: [source.name for source in batches.sources_of(step)],
        episodes=batches.episodes_of,
        rates=("inner.learning_rate", "outer.learning_rate"),
        rate=_rate(config, config.outer.learning_rate, 0),
    )


def of_joint(
    config: Experiment, folder: pathlib.Path, programs: Programs, pace: float
) -> Run:
    """Makes the run of joint pretraining, of `pace` steps for each meta-iteration."""
    joint, sources = programs.joint, programs.meta.batches.sources
    count = max(1, round(config.iterations * pace))
    length = config.outer.decay_steps or config.iterations
    rates = optimizers.rates(config.joint.learning_rate, count, length, pace)
    return Run(
        **_in_common(config, folder, programs.start, joint),
        batch=lambda step: joint.batches(step, rates[step]),
        steps=count,
        images=config.joint.batch,
        scope="pretraining",
        unit="steps",
        rate=lambda step: float(rates[step]),
        every=_every(config).times(pace),
        data=lambda step: [source.name for source in sources],
        rates=("joint.learning_rate",),
    )


def equal_flops(config: Experiment, folder: pathlib.Path, programs: Programs) -> Run:
    """Makes a run of joint pretraining with as many operations as meta-learning."""
    pace = programs.meta.flops / programs.joint.flops
    return of_joint(config, folder, programs, pace)


def warm_start(config: Experiment, joint_run: Run, joint: Step, pace: float) -> Run:
    """Makes the warm start: joint pretraining, annealed within `config.warm_start`."""
    count, peak = max(1, round(config.warm_start * pace)), config.joint.learning_rate
    rates = optimizers.rates(peak, count, count / pace, pace)
    return joint_run._replace(
        name="warm start",
        folder=joint_run.folder.with_name(WARM_START),
        batch=lambda step: joint.batches(step, rates[step]),
        rate=lambda step: float(rates[step]),
        steps=count,
        patience=0,  # the rate is 0 only at the end
    )


def _rate(config: Experiment, peak: float, first: int) -> Callable[[int], float]:
    """Makes the outer rate by meta-iteration, for a run that begins with `first`."""
    length = config.outer.decay_steps - first if config.outer.decay_steps else None
    rates = optimizers.rates(peak, config.iterations - first, length)
    return lambda step: float(rates[step - first])


def from_pretrained(config: Experiment, meta_run: Run, state: MetaState) -> Run:
    """Makes the run that meta-learns from a warm start on."""
    done = config.warm_start
    opt_state = optimizers.begun_at(state.opt_state, done)
    return meta_run._replace(
        name=NAMES[FROM_PRETRAINED],
        folder=meta_run.folder.with_name(FROM_PRETRAINED),
        state=state._replace(opt_state=opt_state, step=jnp.int32(done)),
        rate=_rate(config, config.outer.learning_rate, done),
        first_step=done,
    )


def learned_rates(
    config: Experiment,
    programs: Programs,
    meta_run: Run,
    weights: Initialisation,
    folder: str,
) -> Run:
    """Makes a run like `meta_run` that learns step sizes alone, not the weights."""
    meta, done = programs.meta, meta_run.first_step
    learner = programs.method.rates_learner()
    factors = programs.method.log_step_sizes(weights.body)
    state = learner.init(MetaParams({"body": weights.body}, factors))
    of_rates = steps.meta_step(
        learner,
        state,
        meta.batches,
        meta.key,
        skips=config.outer.skip_nonfinite > 0,
        norms_every=config.log_every,
    )
    opt_state = optimizers.begun_at(state.opt_state, done)
    return meta_run._replace(
        name=NAMES[folder],
        folder=meta_run.folder.with_name(folder),
        update=of_rates.program.update,
        state=state._replace(opt_state=opt_state, step=jnp.int32(done)),
        rate=_rate(config, config.outer.step_size_rate, done),
        flops=of_rates.flops,
    )
