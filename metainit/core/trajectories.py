"""Learning from long trajectories: continual trajectory shifting."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metainit.core import hypergradient, inner_loop
from metainit.core.masks import merge, split
from metainit.core.outer_loop import count_tasks, fold_each
from metainit.core.task_batching import Tasks, strategy
from metainit.core.types import (
    Episode,
    InnerLoop,
    Key,
    Mask,
    MetaLearner,
    MetaState,
    Params,
    TaskMetrics,
    Trace,
    checked,
)


class Trajectories(NamedTuple):
    """The `opt_state` of `cts`: tasks that are being learned.

    Attributes:
      outer: of the outer optimizer.
      adapted: each task's own leaves that adapt, with a leading task axis.
      rest: its leaves that do not, such as what `start` added, likewise.
      inner: of each task's inner optimizer, likewise.
    """

    outer: optax.OptState
    adapted: Params
    rest: Params
    inner: optax.OptState


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
    if loop.num_steps < 1:
        raise ValueError("cts: num_steps must be 1 or more, got 0")
    run_tasks = strategy(tasks)
    one_step = inner_loop.stepper(
        loop, hypergradient.first_order(checked(loop.loss_fn))
    )

    def begin(params, support, key):
        keys = inner_loop.task_keys(key)
        adapted, rest, _ = inner_loop.begun(loop, params, support, keys)
        return adapted, rest, loop.optimizer.init(adapted)

    def init(params):
        learned, _ = split(params, meta_mask, "meta_mask")
        keys = jax.eval_shape(
            lambda: fold_each(jax.random.key(0), 0, count_tasks(example))
        )
        shapes = jax.eval_shape(
            jax.vmap(begin, (None, 0, 0)), params, example.support, keys
        )
        # Of the dtypes alone: all begins at the first meta-iteration.
        live = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        state = Trajectories(outer.init(learned), *live)
        return MetaState(params, state, jnp.zeros((), jnp.int32))

    def task_step(shared, episode, key):
        params, step = shared
        support, live = episode.support
        new = begin(params, support, key)
        adapted, rest, opt_state = jax.tree.map(
            lambda new, old: jnp.where(step == 0, new, old), new, live
        )
        rest = _shared_leaves(rest, params)  # what does not adapt is everybody's
        keys = inner_loop.task_keys(key)
        if loop.prepare is not None:
            support = loop.prepare(merge(adapted, rest), support, keys.prepare)
        batch = inner_loop.batches_of(loop, support, keys)(step)
        carry = adapted, opt_state
        carry, (loss, metrics) = one_step(carry, step, rest, batch, None, keys)
        adapted, opt_state = carry
        moved = _shared_leaves(params, merge(adapted, rest))
        away = jax.tree.map(
            jnp.subtract,
            *(split(x, meta_mask, "meta_mask")[0] for x in (params, moved)),
        )
        trace = jax.tree.map(lambda x: x[None], Trace(loss, metrics, None))
        live = adapted, rest, opt_state
        return (loss, (TaskMetrics(loss, None, trace), live)), away

    def update(state: MetaState, episodes: Episode, key: Key) -> Any:
        period, step = jnp.divmod(state.step, loop.num_steps)
        count = count_tasks(episodes)
        keys = fold_each(jax.random.fold_in(key, period), 0, count)
        outer_state, *live = state.opt_state
        support = episodes.support, tuple(live)
        (_, (metrics, live)), away = run_tasks(
            task_step, (state.params, step), Episode(support, ()), keys
        )
        learned, fixed = split(state.params, meta_mask, "meta_mask")
        updates, outer_state = outer.update(away, outer_state, learned)
        params = merge(optax.apply_updates(learned, updates), fixed)
        adapted, rest, opt_state = live
        shifted = _shared_leaves(adapted, updates, jnp.add)
        opt_state = Trajectories(outer_state, shifted, rest, opt_state)
        return MetaState(params, opt_state, state.step + 1), metrics

    def adapt(params, support, key):
        params = params.params if isinstance(params, MetaState) else params
        return inner_loop.adapt(loop, params, support, key)

    def in_parts(*args):
        raise TypeError("an update of cts cannot be taken in parts; call update")

    return MetaLearner(init, adapt, update, in_parts, in_parts)


def _shared_leaves(tree: Params, other: Params, join: Any = lambda a, b: b) -> Params:
    """Joins each leaf with the other tree's of the same path, where it has one."""
    known = dict(jax.tree_util.tree_leaves_with_path(other))
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: join(leaf, known[path]) if path in known else leaf, tree
    )
