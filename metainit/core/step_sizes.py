"""What an inner optimiser can learn: step sizes, momentum and weight decay.

A factor on top of an inner rate for each leaf and phase of steps (LSLR of MAML++,
Antoniou et al. 2019, arXiv:1810.09502) or for each element (Meta-SGD, Li et al. 2017,
arXiv:1707.09835). A factor is exp of what is learned, so that it stays positive and
starts at 1. Factors go with every rate and optimiser of a grid.

Phases are told by their first steps, ascending from 0; the last one goes on for ever,
beyond the steps that were trained for, too.
"""

import itertools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metainit.core import leaves, masks
from metainit.core.types import Mask, Params


def init(
    params: Params,
    adapt_mask: Mask | None = None,
    *,
    by: Literal["tensor", "element"] = "tensor",
    phases: Sequence[int] = (0,),
) -> Any:
    """Logarithms of the factors at the start, all zero.

    Args:
      params: where a task starts.
      adapt_mask: which of them inner steps change, as of `metainit.InnerLoop`.
      by: whether a leaf has a factor, or each of its elements.
      phases: first steps of the phases.

    Returns:
      A tree like `params`, float32 for each leaf that inner steps change, None for the
      others. The shape is that of the leaf by "element", else a scalar's; where there
      are several phases, an axis of them comes first.

    Raises:
      ValueError: for phases that do not ascend from 0, or another `by`.
    """
    check_phases(phases)
    if by not in ("tensor", "element"):
        raise ValueError(f"by must be tensor or element, got {by!r}")
    adapted, _ = masks.split(params, adapt_mask, "adapt_mask")
    several = (len(phases),) if len(phases) > 1 else ()
    return jax.tree.map(
        lambda leaf: jnp.zeros(several + jnp.shape(leaf) * (by == "element")), adapted
    )


def check_phases(phases: Sequence[int]) -> None:
    """Refuses phases that are not first steps, ascending from 0, by a ValueError."""
    given = tuple(phases) if isinstance(phases, Sequence) else ()
    ascending = all(a < b for a, b in itertools.pairwise(given))
    if not given or given[0] != 0 or not ascending:
        got = given or phases
        raise ValueError(f"phases must be first steps that ascend from 0, got {got}")


def at(learned: Any, step: jax.Array | int, phases: Sequence[int] = (0,)) -> Any:
    """What holds at an inner step, of a tree like that of `init`."""
    if len(phases) == 1:
        return learned
    phase = jnp.searchsorted(jnp.asarray(phases), step, side="right") - 1
    return jax.tree.map(lambda of_phases: of_phases[phase], learned)


def times(updates: Any, logs: Any) -> Any:
    """Updates times their factors; those of leaves without a factor as they are.

    Args:
      updates: of a part of the parameters.
      logs: logarithms of factors, by phase no more.
    """
    named = leaves.by_name(logs)
    return leaves.joined(updates, named, lambda update, log: update * jnp.exp(log))


def _refuse_unfit(logs: Any, updates: Any, phases: Sequence[int]) -> None:
    """Refuses what `times` would pass over, or broadcast, by a ValueError."""
    adapted, several = leaves.shapes(updates), (len(phases),) * (len(phases) > 1)
    given = leaves.shapes(logs)
    if not given:
        raise ValueError(
            "there are no step sizes; give MetaParams(params, "
            "metainit.step_sizes.init(params, adapt_mask))"
        )
    for name, shape in given.items():
        if name not in adapted:
            raise ValueError(
                f"step sizes of {name}, which inner steps do not change: leave them "
                "out, as metainit.step_sizes.init does by adapt_mask"
            )
        fitting = several, several + adapted[name]
        if shape not in fitting:
            raise ValueError(
                f"step sizes of {name} have the shape {list(shape)}; with "
                f"phases={tuple(phases)} they take {list(fitting[0])} for all of it or "
                f"{list(fitting[1])} for each element"
            )


def learned(
    optimizer: optax.GradientTransformation, phases: Sequence[int] = (0,)
) -> optax.GradientTransformationExtraArgs:
    """An inner optimiser whose updates are scaled by `meta`, a tree like `init`'s.

    Its `update` is a ValueError for step sizes of a leaf that does not adapt, or of
    another shape.
    """

    def update(grads, state, params=None, *, meta, step=0, **unused):
        _refuse_unfit(meta, grads, phases)
        updates, state = optimizer.update(grads, state, params)
        return times(updates, at(meta, step, phases)), state

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def fixed(logs: Any, phases: Sequence[int] = (0,)) -> optax.GradientTransformation:
    """Scales updates by factors that are not learned any more; they are its state."""

    def update(updates, state, params=None):
        logs, step = state
        return times(updates, at(logs, step, phases)), (logs, step + 1)

    return optax.GradientTransformation(
        lambda params: (logs, jnp.zeros((), jnp.int32)), update
    )


class Sgd(NamedTuple):
    """What `sgd` learns, trees like that of `init`, all zero at the start.

    Attributes:
      rate: logarithms of factors of the rate.
      momentum: what is added to the momentum's logit.
      decay: logarithms of factors of the weight decay.
    """

    rate: Any
    momentum: Any
    decay: Any


def sgd(
    rate: float, momentum: float, decay: float, phases: Sequence[int] = (0,)
) -> optax.GradientTransformationExtraArgs:
    """SGD whose rate, momentum and decoupled weight decay are learned, leaf by leaf.

    With gradient g it does v <- m v + g, then w <- w - rate (v + decay w); `meta` is
    an `Sgd` of all leaves that adapt.

    Args:
      rate, momentum, decay: before learning; the rate and the decay above 0, the
        momentum above 0 and below 1.
      phases: first steps of the phases.

    Raises:
      ValueError: for numbers out of these ranges; in `update`, for an `Sgd` of other
        leaves or shapes, and TypeError for what is none.
    """
    if not (rate > 0 and 0 < momentum < 1 and decay > 0):
        raise ValueError(
            "sgd: rate and decay must be above 0 and momentum above 0 and below 1, got "
            f"{rate}, {decay} and {momentum}"
        )
    check_phases(phases)
    logit = jax.scipy.special.logit(momentum)

    def update(grads, velocity, params, *, meta, step=0, **unused):
        if not isinstance(meta, Sgd):
            raise TypeError(
                "step_sizes.sgd learns a metainit.step_sizes.Sgd; give MetaParams("
                f"params, Sgd(start, start, start)), not a {type(meta).__name__}"
            )
        for of_all in meta:
            _refuse_unfit(of_all, grads, phases)
            if unknown := leaves.shapes(grads).keys() - leaves.shapes(of_all).keys():
                raise ValueError(f"step_sizes.sgd: nothing for {sorted(unknown)}")
        of_step = at(meta, step, phases)
        velocity = jax.tree.map(
            lambda g, v, added: jax.nn.sigmoid(logit + added) * v + g,
            *(grads, velocity, of_step.momentum),
        )
        updates = jax.tree.map(
            lambda v, w, r, d: -rate * jnp.exp(r) * (v + decay * jnp.exp(d) * w),
            *(velocity, params, of_step.rate, of_step.decay),
        )
        return updates, velocity

    def start(params):
        return jax.tree.map(jnp.zeros_like, params)

    return optax.GradientTransformationExtraArgs(start, update)
