"""The training steps of an experiment, compiled once for each shape of batch."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metainit.core.types import Episode, MetaLearner, MetaState
from metainit.runtime import flops
from metainit.runtime.budget import Program, compile_step
from metainit.training import learner as recipe


def by_shape(update: Callable[..., Any], calls: Iterable[tuple[Any, ...]]) -> Program:
    """Compiles a step for every shape that its second argument has among the calls.

    Args:
      update: `(state, batch, ...) -> result`.
      calls: arguments of example calls, among them one of every shape there will be.

    Returns:
      A program that finds the compilation by the shapes of its batch.
    """
    programs: dict[Any, Program] = {}
    for arguments in calls:
        shapes = _shapes(arguments[1])
        if shapes not in programs:
            programs[shapes] = compile_step(update, *arguments)

    def run(*arguments: Any) -> Any:
        return programs[_shapes(arguments[1])].update(*arguments)

    return Program(
        run,
        sum(program.compile_seconds for program in programs.values()),
        max(program.memory for program in programs.values()),
        max(program.flops for program in programs.values()),
    )


def in_parts(
    learner: MetaLearner, state: MetaState, tasks: Iterable[Any], key: jax.Array
) -> Program:
    """A meta-iteration over tasks that cannot be stacked, since they differ in shape.

    Args:
      learner: the algorithm.
      state: before the first step.
      tasks: episodes with a leading axis of 1, one of every shape there will be.
      key: a root key.

    Returns:
      A program whose batch is a tuple of such tasks, and whose result is that of
      `recipe.meta_update` where they could be stacked.
    """

    def gradient(state, task, key, number):
        grads, seen = learner.gradient(state, task, key, number)
        return grads, recipe.task_metrics(seen)

    @jax.jit
    def finish(state, grads, count):
        state = learner.apply(state, jax.tree.map(lambda g: g / count, grads))
        return state, recipe.grad_norm(state.opt_state)

    add = jax.jit(lambda total, grads: jax.tree.map(jnp.add, total, grads))
    one = by_shape(gradient, ((state, task, key, np.int32(0)) for task in tasks))

    def update(state: MetaState, batch: tuple[Any, ...], key: jax.Array) -> Any:
        total, seen = one.update(state, batch[0], key, np.int32(0))
        metrics = [seen]
        for number, task in enumerate(batch[1:], start=1):
            grads, seen = one.update(state, task, key, np.int32(number))
            total = add(total, grads)
            metrics.append(seen)
        state, norm = finish(state, total, np.float32(len(batch)))
        together = jax.tree.map(lambda *x: np.concatenate(x), *metrics)
        return state, together | {"grad_norm": norm}

    return one._replace(update=update)


def operations(
    learner: MetaLearner, state: MetaState, batch: Any, key: jax.Array
) -> float:
    """Floating-point operations of a meta-iteration's gradient, by
    `metainit.runtime.flops`.

    Args:
      learner: the algorithm.
      state: of it.
      batch: episodes with a leading axis, or a tuple of such, as for `in_parts`.
      key: a root key.
    """
    parts = (batch,) if isinstance(batch, Episode) else batch
    return sum(flops.of_function(learner.gradient, state, part, key) for part in parts)


def _shapes(batch: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(np.shape(leaf) for leaf in jax.tree.leaves(batch))
