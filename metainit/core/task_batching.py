"""How a function of one task is applied to a meta-batch of tasks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metainit.core.types import Episode, Key, PyTree

# (shared, episode, key) -> ((loss, metrics), gradients) of one task
Values = tuple[tuple[jax.Array, Any], PyTree]
TaskFn = Callable[[PyTree, Episode, Key], Values]
# (task_fn, shared, episodes, keys) -> ((losses, metrics) with a leading task axis,
# gradients averaged over tasks)
Tasks = Callable[[TaskFn, PyTree, Episode, Key], Values]


def scan(task_fn: TaskFn, shared: PyTree, episodes: Episode, keys: Key) -> Values:
    """One task after another; value and gradient inside the scan, summed in its carry.

    Only one task's activations are alive at a time.
    """
    first = jax.tree.map(lambda x: x[0], (episodes, keys))
    _, shape = jax.eval_shape(task_fn, shared, *first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shape)
    # Inside shard_map the sum varies over the axes the tasks vary over.
    if axes := varying_axes(keys):
        zeros = jax.lax.pcast(zeros, tuple(axes), to="varying")

    def one_task(total, task):
        value, grads = task_fn(shared, *task)
        return jax.tree.map(jnp.add, total, grads), value

    total, values = jax.lax.scan(one_task, zeros, (episodes, keys))
    return values, jax.tree.map(lambda x: x / len(keys), total)


def vmap(task_fn: TaskFn, shared: PyTree, episodes: Episode, keys: Key) -> Values:
    """All tasks at once; per-task convolution weights become grouped convolutions."""
    values, grads = jax.vmap(task_fn, (None, 0, 0))(shared, episodes, keys)
    return values, jax.tree.map(lambda x: jnp.mean(x, 0), grads)


def unroll(task_fn: TaskFn, shared: PyTree, episodes: Episode, keys: Key) -> Values:
    """A Python loop: the compiled program holds a copy of the task for each."""
    results = [
        task_fn(shared, *jax.tree.map(lambda x, i=i: x[i], (episodes, keys)))
        for i in range(len(keys))
    ]
    values, grads = jax.tree.map(lambda *x: jnp.stack(x), *results)
    return values, jax.tree.map(lambda x: jnp.mean(x, 0), grads)


STRATEGIES: dict[str, Tasks] = {"scan": scan, "vmap": vmap, "unroll": unroll}


def strategy(tasks: str | Tasks) -> Tasks:
    """The strategy behind a name; a callable is returned as it is.

    Raises:
      ValueError: for an unknown name.
    """
    if callable(tasks):
        return tasks
    if tasks not in STRATEGIES:
        raise ValueError(
            f"tasks must be one of {', '.join(STRATEGIES)} or a function, got {tasks!r}"
        )
    return STRATEGIES[tasks]


def varying_axes(leaf: jax.Array) -> frozenset[str]:
    """The mesh axes over which a value differs between devices in `jax.shard_map`."""
    return jax.typeof(leaf).mat.varying
