"""The outer loop: meta-gradients over a meta-batch, and a learner around one."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from metainit.core import inner_loop, leaves
from metainit.core.hypergradient import (
    GradientMode,
    Implicit,
    Truncated,
    gradient_mode,
)
from metainit.core.masks import merge, split
from metainit.core.task_batching import TaskFn, Tasks, strategy
from metainit.core.types import (
    Batch,
    Episode,
    InnerLoop,
    Key,
    Mask,
    MetaLearner,
    MetaParams,
    MetaState,
    Metrics,
    Params,
    TaskMetrics,
    checked,
    refuse_other_functions,
    require,
    require_key,
    require_optimizer,
)

_QUERY_LOSS_TAKES = ("params", "support", "query", "key")
QueryLoss = Callable[[Params, Batch, Batch, Key], tuple[jax.Array, Metrics]]
MetaGradient = Callable[..., tuple[tuple[jax.Array, TaskMetrics], Params]]


def meta_gradient(
    loop: InnerLoop,
    *,
    gradient: str | GradientMode = "mixed",
    tasks: str | Tasks = "scan",
    query_loss: QueryLoss | None = None,
    step_weights: Callable[[jax.Array], jax.Array] | None = None,
    meta_mask: Mask | None = None,
) -> MetaGradient:
    """The gradient of the query loss after adaptation, averaged over tasks.

    MAML (Finn et al. 2017, arXiv:1703.03400, eq. 2-4).

    Args:
      loop: the inner loop.
      gradient: "mixed" (exact, little memory), "reverse" (exact, stores activations),
        "first_order" (FOMAML), `metainit.truncated(last)`, `metainit.implicit()`, or a
        function like these: `(loss_fn) -> inner_gradient`. See
        `metainit.core.hypergradient`.
      tasks: "scan" (one task after another, least memory), "vmap" (all at once),
        "unroll" (a Python loop), or a callable such as `metainit.parallel.over(...)`;
        its contract is `metainit.core.task_batching.Tasks`.
      query_loss: `(params, support, query, key) -> (loss, metrics)` for losses that
        need the support (its normalisation moments, say); both are prepared batches.
        Default: `loop.loss_fn` on the query.
      step_weights: `(step) -> float [num_steps + 1]`, weights of the query loss at the
        start and after every inner step, as a function of the meta-iteration
        (multi-step loss, MAML++, arXiv:1810.09502). Default: the last only.
      meta_mask: which leaves the outer loop learns: a tree of booleans like the
        parameters, or `(path, leaf) -> bool`. Default: every float leaf. The others
        ride along. Over `MetaParams` a path begins with `.model` or `.inner`:
        `lambda path, leaf: path[0].name == "inner"` learns the latter alone.

    Returns:
      `(params, episodes, key, step=0) -> ((loss, TaskMetrics), gradients)`. Leaves of
      `episodes` have a leading task axis. `key` is one key, folded with each task's
      index, or an array of one key a task. Gradients have None at leaves that are not
      learned.

    Raises:
      ValueError, TypeError: for an unknown `gradient` or `tasks`, a function that
        cannot be called so, `implicit` with minibatches or Adam inside, and it or
        `truncated` with `step_weights`.
    """
    require(InnerLoop, "loop", loop, "such as learner.loop")
    run_tasks, mode = strategy(tasks), gradient_mode(gradient)
    if query_loss is not None:
        refuse_other_functions("query_loss", query_loss, _QUERY_LOSS_TAKES)
    if step_weights is not None:
        refuse_other_functions("step_weights", step_weights, ("step",))
    if step_weights is not None and isinstance(mode, Truncated | Implicit):
        raise ValueError(
            "step_weights: truncated and implicit gradients cut the early steps off; "
            "leave it out, or give another gradient"
        )
    if isinstance(mode, Implicit) and loop.batches is not None:
        raise ValueError(
            "implicit gradients need the whole support at every step; leave the inner "
            "loop's batches out, or give another gradient"
        )
    if isinstance(mode, Implicit) and _is_adaptive(loop.optimizer):
        raise ValueError(
            "implicit gradients are of the minimum that gradient descent finds; give "
            "an inner optimizer such as optax.sgd(0.1), not Adam, or another gradient"
        )
    task_loss = _task_loss(loop, mode, query_loss)

    def task_gradient(shared, episode, key):
        params, weights = shared
        learned, fixed = split(params, meta_mask, "meta_mask")
        steers = isinstance(learned, MetaParams) and jax.tree.leaves(learned.inner)
        if isinstance(mode, Implicit) and steers:
            raise ValueError(
                "implicit gradients are of a minimum, which step sizes do not change; "
                "give another gradient to learn them by"
            )
        return jax.value_and_grad(
            lambda learned: task_loss(merge(learned, fixed), episode, key, weights),
            has_aux=True,
        )(learned)

    return over_tasks(task_gradient, run_tasks, step_weights)


def _is_adaptive(optimizer: optax.GradientTransformation) -> bool:
    """Whether it keeps second moments, as Adam and its kin do."""
    state = optimizer.init(jnp.zeros(1))
    return bool(optax.tree.get_all_with_path(state, "nu"))


def _task_loss(
    loop: InnerLoop, gradient: GradientMode, query_loss: QueryLoss | None
) -> Callable[..., tuple[jax.Array, TaskMetrics]]:
    """`(params, episode, key, step weights or None) -> (loss, metrics)` of one task."""

    def task_loss(params, episode, key, weights):
        judge = _judge(loop, query_loss, params, episode.query, key)
        adapted, trace, support = inner_loop.adapt_prepared(
            loop,
            params,
            episode.support,
            key,
            gradient=gradient,
            observe=None if weights is None else jax.checkpoint(judge),
        )
        if weights is None:
            loss, metrics = judge(adapted, support)
            return loss, TaskMetrics(loss, metrics, trace)
        losses, metrics = trace.observed
        if jnp.shape(weights) != losses.shape:
            raise ValueError(
                f"step_weights must give num_steps + 1 numbers, {list(losses.shape)}, "
                f"one before any step and one after each; it gave "
                f"{list(jnp.shape(weights))}"
            )
        loss = jnp.vdot(weights, losses)
        last = jax.tree.map(lambda x: x[-1], metrics)
        return loss, TaskMetrics(loss, last, trace._replace(observed=None))

    return task_loss


def _judge(
    loop: InnerLoop,
    query_loss: QueryLoss | None,
    params: Params | MetaParams | MetaState,
    query: Batch,
    key: Key,
) -> Callable[..., tuple[jax.Array, Metrics]]:
    """`(adapted params, prepared support, step=None) -> (loss, metrics)` of a query."""
    keys = inner_loop.task_keys(key)
    if loop.prepare is not None:
        query_key = jax.random.fold_in(keys.prepare, 1)
        query = loop.prepare(inner_loop.meta_params(params).model, query, query_key)

    def judge(params, support, step=None):
        if query_loss is None:
            return checked(loop.loss_fn)(params, query, keys.query)
        loss = checked(query_loss, "query_loss")
        return loss(params, support, query, keys.query)

    return judge


def evaluate(
    loop: InnerLoop,
    params: Params | MetaParams | MetaState,
    episodes: Episode,
    key: Key,
    *,
    query_loss: QueryLoss | None = None,
) -> TaskMetrics:
    """Adapts to each task and measures its query, before and after every inner step.

    One task after another, without outer gradients; not jitted:

        measure = jax.jit(functools.partial(metainit.evaluate, learner.loop))
        accuracy = measure(state.params, episodes, key).query["accuracy"].mean(0)

    Args:
      loop: the inner loop; of a learner `learner.loop`, with what it makes of it.
      params: pytree, `MetaParams`, or the state of a learner.
      episodes: leaves have a leading task axis.
      key: one key, folded with each task's index, or an array of one key a task.
      query_loss: as for `meta_gradient`.

    Returns:
      The loss and metrics of the query, [tasks, num_steps + 1, ...], and the support's.
    """
    require(InnerLoop, "loop", loop, "such as learner.loop")
    if query_loss is not None:
        refuse_other_functions("query_loss", query_loss, _QUERY_LOSS_TAKES)

    def measure(task):
        episode, key = task
        judge = _judge(loop, query_loss, params, episode.query, key)
        _, trace, _ = inner_loop.adapt_prepared(
            loop, params, episode.support, key, gradient="first_order", observe=judge
        )
        loss, metrics = trace.observed
        return TaskMetrics(loss, metrics, trace._replace(observed=None))

    return jax.lax.map(measure, (episodes, _key_a_task(key, count_tasks(episodes))))


def count_tasks(episodes: Any) -> int:
    """The length of the leading axis that all leaves of a meta-batch have.

    A TypeError or ValueError says that they are no `Episode`, or have none.
    """
    if not isinstance(episodes, Episode):
        kind = type(episodes).__name__
        raise TypeError(f"episodes must be a metainit.Episode, got a {kind}")
    axes = {
        f"episodes{name}": jnp.shape(leaf)[:1]
        for name, leaf in leaves.by_name(episodes).items()
    }
    if len(set(axes.values())) != 1 or () in axes.values():
        told = ", ".join(f"{name} {list(axis)}" for name, axis in axes.items())
        raise ValueError(
            "every leaf of a meta-batch needs a leading axis of tasks, of one length; "
            f"these begin with {told}; for one task give x[None] of each leaf"
        )
    return next(iter(axes.values()))[0]


def over_tasks(
    task_fn: TaskFn,
    run_tasks: Tasks,
    step_weights: Callable[[jax.Array], jax.Array] | None = None,
) -> MetaGradient:
    """Applies a gradient of one task to a meta-batch and averages."""

    def gradient_of_batch(params, episodes, key, step=0):
        # Traced once, however often a strategy asks for it, and anew at the next call.
        once = jax.jit(lambda *task: task_fn(*task))
        keys = _key_a_task(key, count_tasks(episodes))
        weights = None if step_weights is None else step_weights(jnp.asarray(step))
        (losses, metrics), grads = run_tasks(once, (params, weights), episodes, keys)
        return (jnp.mean(losses), metrics), grads

    return gradient_of_batch


def _key_a_task(key: Key, tasks: int) -> Key:
    require_key(key)
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    if key.ndim == (0 if typed else 1):
        return fold_each(key, 0, tasks)
    if len(key) != tasks:
        raise ValueError(f"{len(key)} keys for {tasks} tasks; give one key or one each")
    return key


def fold_each(key: Key, first: jax.Array | int, count: int) -> Key:
    """Keys of `count` tasks, folded with their indices from `first` on."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, first + jnp.arange(count))


def learner(
    loop: InnerLoop,
    outer: optax.GradientTransformation,
    gradient_fn: MetaGradient,
    meta_mask: Mask | None,
) -> MetaLearner:
    """Puts an outer optimizer around a meta-gradient."""
    require(InnerLoop, "loop", loop, "such as learner.loop")
    require_optimizer("outer", outer)

    def init(params: Params | MetaParams) -> MetaState:
        learned, _ = split(params, meta_mask, "meta_mask")
        if not jax.tree.leaves(learned):
            raise ValueError("meta_mask selects no leaf, so that nothing is learned")
        return MetaState(params, outer.init(learned), jnp.zeros((), jnp.int32))

    def gradient(
        state: MetaState, episodes: Episode, key: Key, first_task: jax.Array | int = 0
    ) -> tuple[Params, TaskMetrics]:
        require(MetaState, "state", state, "which learner.init(params) makes")
        require_key(key)
        count = count_tasks(episodes)
        keys = fold_each(jax.random.fold_in(key, state.step), first_task, count)
        (_, metrics), grads = gradient_fn(state.params, episodes, keys, state.step)
        return grads, metrics

    def apply(state: MetaState, grads: Params) -> MetaState:
        learned, fixed = split(state.params, meta_mask, "meta_mask")
        updates, opt_state = outer.update(grads, state.opt_state, learned)
        learned = optax.apply_updates(learned, updates)
        return MetaState(merge(learned, fixed), opt_state, state.step + 1)

    def update(
        state: MetaState, episodes: Episode, key: Key
    ) -> tuple[MetaState, TaskMetrics]:
        grads, metrics = gradient(state, episodes, key)
        return apply(state, grads), metrics

    adapt = functools.partial(inner_loop.adapt, loop)
    return MetaLearner(init, adapt, update, gradient, apply, loop)
