"""The inner loop: adapting parameters to one task's support set."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metainit.core.hypergradient import (
    GradientMode,
    Implicit,
    InnerGradient,
    Truncated,
    gradient_mode,
    mode_optimizer,
)
from metainit.core.masks import merge, split
from metainit.core.task_batching import varying_axes
from metainit.core.types import (
    Batch,
    InnerLoop,
    Key,
    MetaParams,
    MetaState,
    Params,
    Trace,
    checked,
)


def adapt(
    loop: InnerLoop,
    params: Params | MetaParams | MetaState,
    support: Batch,
    key: Key,
    *,
    gradient: str | GradientMode = "mixed",
    observe: Callable[[Params, Batch, jax.Array], Any] | None = None,
) -> tuple[Params, Trace]:
    """Adapts `params` to one task (inner loop of MAML, arXiv:1703.03400, eq. 1).

    Not jitted: an unjitted call traces its loop anew each time, so wrap it:

        fast = jax.jit(functools.partial(metainit.adapt, loop))
        adapted, trace = fast(params, support, key)

    Args:
      loop: what is adapted and how.
      params: pytree, `MetaParams` whose `inner` part goes to the optimizer, or the
        state of a learner.
      support: pytree of one task, without a task axis.
      key: one PRNG key; every random choice of the task is derived from it.
      gradient: "mixed", "reverse", "first_order" or a function like theirs; only
        matters to whoever differentiates this one. See `metainit.core.hypergradient`.
      observe: `(params, prepared support, step) -> pytree`, called at step 0 on the
        started parameters and after every step.

    Returns:
      The adapted parameters (the *started* tree's structure) and a `Trace`.

    Raises:
      ValueError: for a mask that does not fit, an unknown `gradient`, or, inside
        `jax.shard_map`, parameters that do not vary over the axes the task varies over.
    """
    adapted, trace, _ = adapt_prepared(
        loop, params, support, key, gradient=gradient, observe=observe
    )
    return adapted, trace


def adapt_prepared(
    loop: InnerLoop,
    params: Params | MetaParams | MetaState,
    support: Batch,
    key: Key,
    *,
    gradient: str | GradientMode = "mixed",
    observe: Callable[[Params, Batch, jax.Array], Any] | None = None,
) -> tuple[Params, Trace, Batch]:
    """Like `adapt`, and returns the prepared support as well."""
    model, meta = meta_params(params)
    keys, mode = task_keys(key), gradient_mode(gradient)
    started, rest, support = begun(loop, model, support, keys)
    loop = loop._replace(optimizer=mode_optimizer(mode, loop.optimizer))
    loss_fn = checked(loop.loss_fn)
    one_step = stepper(loop, mode(loss_fn))

    def look(adapted, step):
        return None if observe is None else observe(merge(adapted, rest), support, step)

    def take(steps, carry, given):
        """Some steps; `given` is all that they are differentiated by besides."""
        rest, support, meta = given
        batch_at = batches_of(loop, support, keys)

        def step_and_look(carry, step):
            carry, seen = one_step(carry, step, rest, batch_at(step), meta, keys)
            return carry, (*seen, look(carry[0], step + 1))

        return jax.lax.scan(step_and_look, carry, steps)

    first = look(started, jnp.int32(0))
    carry, given = (started, loop.optimizer.init(started)), (rest, support, meta)
    steps, early, parts = jnp.arange(loop.num_steps), 0, []
    if isinstance(mode, Truncated | Implicit):
        early = mode.constant_steps(loop.num_steps)
        (adapted, opt_state), seen = take(
            steps[:early], *jax.lax.stop_gradient((carry, given))
        )
        parts.append(seen)
        inputs = started, adapted, rest, support, keys.steps
        carry = mode.rejoined(loss_fn, *inputs), opt_state
    (adapted, _), seen = take(steps[early:], carry, given)
    if parts:
        seen = jax.tree.map(lambda *x: jnp.concatenate(x), *parts, seen)
    loss, metrics, seen = seen
    observed = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, seen)
    return merge(adapted, rest), Trace(loss, metrics, observed), support


def begun(
    loop: InnerLoop, params: Params, support: Batch, keys: "TaskKeys"
) -> tuple[Params, Params, Batch]:
    """Where a task starts: the leaves that adapt, the others, the prepared support."""
    axes = refuse_unvarying(params, support)
    if loop.prepare is not None:
        support = loop.prepare(params, support, keys.prepare)
    if loop.start is not None:
        params = vary(loop.start(params, support, keys.start), axes)
    started, rest = split(params, loop.adapt_mask, "adapt_mask")
    if loop.num_steps and not jax.tree.leaves(started):
        raise ValueError(
            "adapt_mask selects no leaf, so that nothing would adapt; with anil it is "
            "the head, with boil all but the head"
        )
    return started, rest, support


def batches_of(
    loop: InnerLoop, support: Batch, keys: "TaskKeys"
) -> Callable[[jax.Array], Batch]:
    """`(step) -> batch` of the prepared support."""
    if loop.batches is None:
        return lambda step: support
    return loop.batches(support, keys.batches)


def stepper(loop: InnerLoop, inner_gradient: InnerGradient) -> Callable[..., Any]:
    """One inner step: `((adapted, opt_state), step, rest, batch, meta, keys) -> ...`.

    It gives the next pair, and the loss and metrics before the step.
    """
    optimizer = optax.with_extra_args_support(loop.optimizer)

    def one_step(carry, step, rest, batch, meta, keys):
        adapted, opt_state = carry
        key = jax.random.fold_in(keys.steps, step)
        grads, loss, metrics = inner_gradient(adapted, rest, batch, key)
        updates, opt_state = optimizer.update(
            grads, opt_state, adapted, meta=meta, step=step
        )
        return (optax.apply_updates(adapted, updates), opt_state), (loss, metrics)

    return one_step


def minibatches(
    size: int, per_task: tuple[str, ...] = ()
) -> Callable[[Batch, Key], Callable[[jax.Array], Batch]]:
    """Small batches for `InnerLoop.batches`, reshuffled each epoch, the last padded.

    Rows of weight 0 (what fills a task up to the size of a larger one) are never drawn,
    so that no batch is made of them alone. Up to 1,625 rows they do not change the
    order of the others.

    Args:
      size: examples a batch.
      per_task: names of entries that are not a row an example and stay whole.

    Returns:
      `(support, key) -> (step -> batch)`, for any number of steps. The support is a
      dict of arrays with one row an example. A batch has the same entries and float32
      "weight" [size]: the support's own weights (default 1), and 0 where the last batch
      of an epoch is padded. The loss must use the weights.

    Raises:
      ValueError: for a size below 1 or a `per_task` name the support does not have.
      TypeError: if the support is not a dict.
    """
    if size < 1:
        raise ValueError(f"minibatches: size must be 1 or more, got {size}")

    def batches(support: Batch, key: Key) -> Callable[[jax.Array], Batch]:
        if not isinstance(support, Mapping):
            kind = type(support).__name__
            raise TypeError(f"minibatches needs a dict of arrays, got {kind}")
        support = dict(support)
        if missing := set(per_task) - set(support):
            raise ValueError(
                f"minibatches: per_task names {sorted(missing)}, "
                f"the support has {sorted(support)}"
            )
        whole = {name: support.pop(name) for name in per_task}
        examples = len(jax.tree.leaves(support)[0])
        weight = support.setdefault("weight", jnp.ones(examples))
        filling = weight == 0
        count = examples - jnp.sum(filling)
        a_epoch = jnp.maximum(1, -(-count // size))  # batches an epoch

        def batch_at(step: jax.Array) -> Batch:
            epoch_key = jax.random.fold_in(key, step // a_epoch)
            order = jax.random.permutation(epoch_key, examples)
            order = order[jnp.argsort(filling[order], stable=True)]
            places = step % a_epoch * size + jnp.arange(size)
            is_real = places < count
            rows = jnp.where(is_real, order[jnp.minimum(places, examples - 1)], 0)
            batch = jax.tree.map(lambda leaf: leaf[rows], support)
            return batch | {"weight": batch["weight"] * is_real} | whole

        return batch_at

    return batches


class TaskKeys(NamedTuple):
    """One key for each random choice of a task."""

    prepare: Key
    start: Key
    batches: Key
    steps: Key
    query: Key


def task_keys(key: Key) -> TaskKeys:
    """Splits a task's key by what it is used for."""
    return TaskKeys(*jax.random.split(key, 5))


def refuse_unvarying(params: Params, batch: Batch) -> frozenset[str]:
    """Refuses what `jax.shard_map` would silently turn into wrong inner gradients.

    Inside `shard_map` the gradient with respect to a value that is the same on all
    devices is summed over the devices, so every task would get every task's gradient.

    Returns:
      The mesh axes the task varies over; none outside `shard_map`.

    Raises:
      ValueError: if the batch varies over a mesh axis that a parameter does not.
    """
    axes = frozenset[str]().union(*map(varying_axes, jax.tree.leaves(batch)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        missing = axes - varying_axes(leaf)
        if missing:
            raise ValueError(
                f"inside shard_map the task varies over {sorted(missing)} but "
                f"parameter {jax.tree_util.keystr(path)} does not, which would sum the "
                "inner gradients of all tasks; use "
                "tasks=metainit.parallel.over(mesh, axis), or cast the parameters "
                'first: jax.lax.pcast(params, axis, to="varying")'
            )
    return axes


def vary(params: Params, axes: frozenset[str]) -> Params:
    """Casts leaves that `start` made the same on all devices, such as a zero head."""

    def cast(leaf):
        missing = tuple(axes - varying_axes(leaf))
        return jax.lax.pcast(leaf, missing, to="varying") if missing else leaf

    return jax.tree.map(cast, params)


def meta_params(params: Params | MetaParams | MetaState) -> MetaParams:
    """The network's parameters, and the learned inner ones or None."""
    if isinstance(params, MetaState):
        params = params.params
    return params if isinstance(params, MetaParams) else MetaParams(params, None)
