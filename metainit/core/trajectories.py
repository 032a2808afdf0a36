"""Learning from long trajectories: continual trajectory shifting."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metainit.core import hypergradient, inner_loop, leaves
from metainit.core.masks import merge, split
from metainit.core.outer_loop import count_tasks, fold_each
from metainit.core.task_batching import TaskFn, Tasks, strategy
from metainit.core.types import (
    Episode,
    InnerLoop,
    Key,
    Mask,
    MetaLearner,
    MetaParams,
    MetaState,
    Params,
    TaskMetrics,
    Trace,
    checked,
    require,
    require_key,
    require_optimizer,
)


class Trajectories(NamedTuple):
    """The `opt_state` of `cts`: tasks that are being learned.

    Attributes:
      outer: of the outer optimizer.
      adapted: each task's own leaves that adapt, with a leading task axis.
      inner: of each task's inner optimizer, likewise.
      added: what `start` added to a task and does not adapt, likewise, by path.
    """

    outer: optax.OptState
    adapted: Params
    inner: optax.OptState
    added: dict[str, jax.Array]


def cts(
    loop: InnerLoop,
    outer: optax.GradientTransformation,
    example: Episode,
    *,
    tasks: str | Tasks = "scan",
    meta_mask: Mask | None = None,
) -> MetaLearner:
    """Continual trajectory shifting (Shin et al. 2021, arXiv:2102.07215).

    For inner loops of hundreds of steps. Every task of a meta-batch goes its own way
    for `loop.num_steps` meta-iterations, one inner step in each, whose mean distance
    from the common parameters goes to `outer` as a pseudo-gradient (start - adapted,
    as in Reptile). What `outer` adds to those is added to every task's own leaves, too,
    as if they had started there. Then new tasks start. The query is not used, and no
    gradient of the inner loop is taken: a meta-iteration costs a supervised step.

    Give the same episodes for `loop.num_steps` meta-iterations. The tasks' states are
    in the `MetaState`, so that a run that is stopped goes on in the middle of them;
    its `update` cannot be taken in parts.

    Args:
      loop: the inner loop; leaves that its `start` adds stay with their task.
      outer: any optax transformation; `optax.sgd(beta)` is the paper's.
      example: a meta-batch, or its shapes (`jax.eval_shape`), of as many tasks as all.
      tasks, meta_mask: see `meta_gradient`.

    Raises:
      ValueError: for a loop without steps.
    """
    require(InnerLoop, "loop", loop, "such as learner.loop")
    require_optimizer("outer", outer)
    if loop.num_steps < 1:
        raise ValueError("cts: num_steps must be 1 or more, got 0")
    run_tasks = strategy(tasks)
    begin, task_step = _begin(loop), _task_step(loop, meta_mask)

    def init(params):
        if isinstance(params, MetaParams):
            raise TypeError("cts learns no step sizes; give the parameters alone")
        learned, _ = split(params, meta_mask, "meta_mask")
        count = count_tasks(example)
        keys = jax.eval_shape(lambda: fold_each(jax.random.key(0), 0, count))
        started = jax.vmap(begin, (None, 0, 0))
        shapes = jax.eval_shape(started, params, example.support, keys)
        # Of the dtypes alone: all begins at the first meta-iteration.
        live = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        state = Trajectories(outer.init(learned), *live)
        return MetaState(params, state, jnp.zeros((), jnp.int32))

    def update(state: MetaState, episodes: Episode, key: Key) -> Any:
        require(MetaState, "state", state, "which learner.init(params) makes")
        require_key(key)
        count, expected = count_tasks(episodes), count_tasks(example)
        if count != expected:
            raise ValueError(f"cts: {count} tasks, and the example has {expected}")
        period, step = jnp.divmod(state.step, loop.num_steps)
        keys = fold_each(jax.random.fold_in(key, period), 0, count)
        outer_state, *live = state.opt_state
        support = episodes.support, tuple(live)
        (_, (metrics, live)), away = run_tasks(
            task_step, (state.params, step), Episode(support, ()), keys
        )
        learned, fixed = split(state.params, meta_mask, "meta_mask")
        updates, outer_state = outer.update(away, outer_state, learned)
        params = merge(optax.apply_updates(learned, updates), fixed)
        adapted, inner, added = live
        shifted = leaves.joined(adapted, leaves.by_name(updates), jnp.add)
        trajectories = Trajectories(outer_state, shifted, inner, added)
        return MetaState(params, trajectories, state.step + 1), metrics

    def in_parts(*args):
        raise TypeError("an update of cts cannot be taken in parts; call update")

    adapt = functools.partial(inner_loop.adapt, loop)
    return MetaLearner(init, adapt, update, in_parts, in_parts, loop)


def _begin(loop: InnerLoop) -> Callable[..., Any]:
    """`(params, support, key) -> adapted, inner optimizer's state, what was added`."""

    def begin(params, support, key):
        keys = inner_loop.task_keys(key)
        adapted, rest, _ = inner_loop.begun(loop, params, support, keys)
        known = leaves.by_name(params)
        added = {x: leaf for x, leaf in leaves.by_name(rest).items() if x not in known}
        live = adapted, loop.optimizer.init(adapted), added
        return inner_loop.vary(live, inner_loop.refuse_unvarying(params, support))

    return begin


def _task_step(loop: InnerLoop, meta_mask: Mask | None) -> TaskFn:
    """One inner step of one task, as a `metainit.core.task_batching.TaskFn`."""
    begin = _begin(loop)
    one_step = inner_loop.stepper(
        loop, hypergradient.first_order(checked(loop.loss_fn))
    )

    def task_step(shared, episode, key):
        params, step = shared
        support, live = episode.support
        adapted, inner, added = jax.lax.cond(
            step == 0, lambda: begin(params, support, key), lambda: live
        )
        keys = inner_loop.task_keys(key)
        # For its structure: what does not adapt and is not added is everybody's.
        started = functools.partial(inner_loop.begun, loop)
        _, shapes, _ = jax.eval_shape(started, params, support, keys)
        rest = leaves.joined(shapes, leaves.by_name(params) | added)
        if loop.prepare is not None:
            support = loop.prepare(merge(adapted, rest), support, keys.prepare)
        batch = inner_loop.batches_of(loop, support, keys)(step)
        (adapted, inner), (loss, metrics) = one_step(
            (adapted, inner), step, rest, batch, None, keys
        )
        moved = leaves.joined(params, leaves.by_name(adapted))
        ends = (split(x, meta_mask, "meta_mask")[0] for x in (params, moved))
        trace = jax.tree.map(lambda x: x[None], Trace(loss, metrics, None))
        seen = TaskMetrics(loss, None, trace), (adapted, inner, added)
        return (loss, seen), jax.tree.map(jnp.subtract, *ends)

    return task_step
