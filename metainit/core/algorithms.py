"""The meta-learning algorithms: an inner loop, a meta-gradient, an outer optimizer."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import keystr

from metainit.core import leaves, step_sizes
from metainit.core.hypergradient import (
    GradientMode,
    Truncated,
    gradient_mode,
    mode_optimizer,
)
from metainit.core.inner_loop import adapt, meta_params
from metainit.core.masks import is_float, split
from metainit.core.outer_loop import QueryLoss, learner, meta_gradient, over_tasks
from metainit.core.task_batching import Tasks, strategy
from metainit.core.types import (
    InnerLoop,
    Mask,
    MetaLearner,
    MetaParams,
    TaskMetrics,
    require_optimizer,
)


def maml(
    loop: InnerLoop,
    outer: optax.GradientTransformation,
    *,
    gradient: str | GradientMode = "mixed",
    tasks: str | Tasks = "scan",
    query_loss: QueryLoss | None = None,
    step_weights: Callable[[jax.Array], jax.Array] | None = None,
    meta_mask: Mask | None = None,
) -> MetaLearner:
    """Model-agnostic meta-learning (Finn et al. 2017, arXiv:1703.03400, algorithm 2).

    Example:
        learner = metainit.maml(loop, optax.adam(1e-3))
        state = learner.init(params)
        update = jax.jit(learner.update)
        state, metrics = update(state, episodes, key)

    Args:
      loop: the inner loop.
      outer: any optax transformation, applied to the meta-learned leaves.
      gradient, tasks, query_loss, step_weights, meta_mask: see `meta_gradient`.

    Returns:
      A `MetaLearner`. Its `update` folds the key with the state's step, so a resumed
      run that passes the same root key sees the same stream.
    """
    gradient_fn = meta_gradient(
        loop,
        gradient=gradient,
        tasks=tasks,
        query_loss=query_loss,
        step_weights=step_weights,
        meta_mask=meta_mask,
    )
    optimizer = mode_optimizer(gradient_mode(gradient), loop.optimizer)
    loop = loop._replace(optimizer=optimizer)  # with the pull of implicit gradients
    return learner(loop, outer, gradient_fn, meta_mask)


def fomaml(
    loop: InnerLoop, outer: optax.GradientTransformation, **same: Any
) -> MetaLearner:
    """First-order MAML (arXiv:1703.03400, section 5.2); arguments as for `maml`."""
    return maml(loop, outer, gradient="first_order", **same)


def anil(
    loop: InnerLoop, outer: optax.GradientTransformation, head: Mask, **same: Any
) -> MetaLearner:
    """Almost no inner loop (Raghu et al. 2020, arXiv:1909.09157): only the head adapts.

    Args:
      loop: the inner loop, without an `adapt_mask`. Put the body into `loop.prepare` to
        compute its features once a task instead of once a step.
      outer: any optax transformation.
      head: mask of the leaves that adapt.
      **same: as for `maml`.

    Raises:
      ValueError: for a loop with an `adapt_mask`, or no mask as the head.
    """
    _check_head("anil", loop, head)
    return maml(loop._replace(adapt_mask=head), outer, **same)


def boil(
    loop: InnerLoop, outer: optax.GradientTransformation, head: Mask, **same: Any
) -> MetaLearner:
    """Body only in the inner loop (Oh et al. 2021, arXiv:2008.08882): the head stays.

    `head` masks the leaves that do not adapt; every other float leaf does. All else is
    as for `anil`.
    """
    _check_head("boil", loop, head)
    of_tree = {} if callable(head) else leaves.by_name(head)

    def body(path, leaf):
        in_head = head(path, leaf) if callable(head) else of_tree.get(keystr(path))
        if in_head is None:
            raise ValueError(f"boil: head does not say whether {keystr(path)} is in it")
        return is_float(leaf) and not in_head

    return maml(loop._replace(adapt_mask=body), outer, **same)


def _check_head(name: str, loop: InnerLoop, head: Any) -> None:
    if loop.adapt_mask is not None:
        raise ValueError(
            f"{name}: head says what adapts; leave the loop's adapt_mask out, or give "
            "maml, which takes it"
        )
    if head is None:
        raise ValueError(f"{name}: head=None is no mask; give one, or maml")


def lslr(
    loop: InnerLoop,
    outer: optax.GradientTransformation,
    rates: optax.GradientTransformation,
    *,
    phases: Sequence[int] | None = None,
    **same: Any,
) -> MetaLearner:
    """MAML with a learned step size for each leaf and step (arXiv:1810.09502, LSLR).

    `init` takes the parameters, whose leaves have factors of the optimiser's rate that
    start at 1, or `MetaParams(parameters, metainit.step_sizes.init(...))` where leaves
    that `loop.start` adds have some, too.

    Args:
      loop: the inner loop, whose optimiser gives the updates that are scaled.
      outer: any optax transformation, of the parameters.
      rates: another, of the step sizes.
      phases: first steps of the phases that share a step size, ascending from 0; a step
        each by default. The last goes on beyond the steps trained for.
      **same: as for `maml`. A `meta_mask` is over `MetaParams`: `lambda path, leaf:
        path[0].name == "inner"` learns step sizes alone.

    Raises:
      ValueError: for phases that do not ascend from 0 or begin when all steps are
        done, and for a gradient that none of a phase's steps has.
    """
    if phases is None:
        phases = range(max(1, loop.num_steps))
    return _with_step_sizes(loop, outer, rates, "tensor", phases, same)


def meta_sgd(
    loop: InnerLoop,
    outer: optax.GradientTransformation,
    rates: optax.GradientTransformation,
    **same: Any,
) -> MetaLearner:
    """MAML with a learned step size for each element (Meta-SGD, arXiv:1707.09835).

    All is as for `lslr`, with one phase; a step size stays positive, unlike the
    paper's.
    """
    return _with_step_sizes(loop, outer, rates, "element", (0,), same)


def _with_step_sizes(
    loop: InnerLoop,
    outer: optax.GradientTransformation,
    rates: optax.GradientTransformation,
    by: Literal["tensor", "element"],
    phases: Sequence[int],
    same: dict[str, Any],
) -> MetaLearner:
    _check_phases(loop, phases, same.get("gradient"))
    require_optimizer("rates", rates)

    def labels(params):
        parts = zip(MetaParams._fields, params, strict=True)
        return MetaParams(*(jax.tree.map(lambda _, x=x: x, tree) for x, tree in parts))

    learning = maml(
        loop._replace(optimizer=step_sizes.learned(loop.optimizer, phases)),
        optax.partition({"model": outer, "inner": rates}, labels),
        **same,
    )

    def init(params):
        if not isinstance(params, MetaParams):
            logs = step_sizes.init(params, loop.adapt_mask, by=by, phases=phases)
            params = MetaParams(params, logs)
        return learning.init(params)

    return learning._replace(init=init)


def _check_phases(loop: InnerLoop, phases: Sequence[int], gradient: Any) -> None:
    step_sizes.check_phases(phases)
    steps = loop.num_steps
    if phases[-1] >= steps:
        raise ValueError(
            f"phases={tuple(phases)}: with num_steps={steps} no step is of the last "
            "one; give fewer phases or more steps"
        )
    constant = isinstance(gradient, Truncated) and gradient.constant_steps(steps)
    if constant and (*phases, steps)[1] <= constant:
        raise ValueError(
            f"phases={tuple(phases)}: of {steps} steps the first {constant} are not "
            "differentiated, so that the first phase would not be learned; truncate "
            "later, or give phases=(0,)"
        )


def reptile(
    loop: InnerLoop,
    outer: optax.GradientTransformation,
    *,
    tasks: str | Tasks = "scan",
    meta_mask: Mask | None = None,
) -> MetaLearner:
    """Reptile (Nichol et al. 2018, arXiv:1803.02999): moves towards adapted parameters.

    The pseudo-gradient (start - adapted) goes to `outer`; `optax.sgd(e)` is the paper's
    update with step e. The query is not used and no gradient of the inner loop is
    taken. Leaves that `loop.start` adds (a fresh head) are adapted and dropped.

    Args:
      loop: the inner loop.
      outer: any optax transformation.
      tasks, meta_mask: see `meta_gradient`.

    Raises:
      ValueError: for a loop without steps.
    """
    if loop.num_steps < 1:
        raise ValueError("reptile: num_steps must be 1 or more, got 0")

    def task_gradient(shared, episode, key):
        params, _ = shared
        adapted, trace = adapt(
            loop, params, episode.support, key, gradient="first_order"
        )
        moved = leaves.joined(meta_params(params).model, leaves.by_name(adapted))
        if isinstance(params, MetaParams):
            moved = params._replace(model=moved)
        learned, _ = split(params, meta_mask, "meta_mask")
        end, _ = split(moved, meta_mask, "meta_mask")
        loss = trace.loss[-1]
        return (loss, TaskMetrics(loss, None, trace)), jax.tree.map(
            jnp.subtract, learned, end
        )

    gradient_fn = over_tasks(task_gradient, strategy(tasks))
    return learner(loop, outer, gradient_fn, meta_mask)
