"""The two training steps of an experiment: a meta-iteration and a joint step."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from metainit.config.fields import Experiment
from metainit.core.types import MetaLearner, MetaState
from metainit.data.batches import MetaBatches
from metainit.data.loading import Source
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import flops
from metainit.runtime.budget import Program, seconds_each
from metainit.training import joint, programs
from metainit.training import learner as recipe


class MetaStep(NamedTuple):
    """Meta-iterations of one algorithm.

    Attributes:
      learner: the algorithm.
      program: compiled.
      state: before the first one.
      batches: of tasks.
      key: root key of every step.
      flops: of a meta-iteration, mean over all shapes, as `metainit.runtime.flops`
        counts.
    """

    learner: MetaLearner
    program: Program
    state: MetaState
    batches: MetaBatches
    key: jax.Array
    flops: float


class JointStep(NamedTuple):
    """Steps of joint pretraining.

    Attributes:
      update: not compiled.
      program: compiled for every source.
      state: before the first one.
      batch: `(step, pace) -> batch`.
      key: root key of every step.
    """

    update: Callable[..., Any]
    program: Program
    state: Any
    batch: Callable[[int, float], Any]
    key: jax.Array

    def operations(self, steps: int) -> float:
        """FLOPs of a step, mean over the first ones, as `runtime.flops` counts."""
        counts = [
            flops.of_function(self.update, self.state, self.batch(step, 1.0), self.key)
            for step in range(steps)
        ]
        return sum(counts) / steps


def meta_step(
    learner: MetaLearner, state: MetaState, batches: MetaBatches, key: jax.Array
) -> MetaStep:
    """Compiles a meta-iteration; tasks that differ in shape are taken one by one."""
    if batches.stacked:
        update = recipe.meta_update(learner)
        program = programs.by_shape(update, [(state, batches(0), key)])
    else:
        program = programs.in_parts(learner, state, batches.one_of_each(), key)
    operations = [
        programs.operations(learner, state, batches(step), key)
        for step in range(batches.period)
    ]
    each = sum(operations) / batches.period
    return MetaStep(learner, program, state, batches, key, each)


def joint_step(
    config: Experiment,
    model: Model,
    preprocess: Preprocess,
    body: Any,
    sources: tuple[Source, ...],
    key: jax.Array,
) -> JointStep:
    """Compiles a step of joint pretraining over all classes of the sources."""
    classes = sum(len(source.class_names) for source in sources)
    example = jnp.zeros((2, *sources[0].images.shape[1:]))
    # Compiled as one: by themselves, a network's many operations take far longer.
    state = jax.jit(lambda body: joint.init(config, model, body, example, classes))(
        body
    )
    update = joint.update(config, model, preprocess)

    def batch(
        step: int, pace: float = 1.0, of: tuple[Source, ...] = sources
    ) -> dict[str, Any]:
        return joint.batch(of, config.joint.batch, config.seed, step, step / pace)

    calls = [(state, batch(0, of=(source,)), key) for source in sources]
    return JointStep(update, programs.by_shape(update, calls), state, batch, key)


def seconds(meta: MetaStep, joint: JointStep) -> tuple[float, float]:
    """Of a meta-iteration and a joint step, timed by turns; means over all shapes."""
    period = meta.batches.period
    tasks = [meta.batches(step) for step in range(period)]
    images = [joint.batch(step, 1.0) for step in range(period)]
    measured = seconds_each(
        lambda: [meta.program.update(meta.state, x, meta.key) for x in tasks],
        lambda: [joint.program.update(joint.state, x, joint.key) for x in images],
    )
    of_meta, of_joint = (each / period for each in measured)
    return of_meta, of_joint
