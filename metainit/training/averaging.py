"""A moving average of the parameters, kept beside them in an optimizer's state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metainit.core.types import MetaState


class AverageState(NamedTuple):
    """State of `average`.

    Attributes:
      steps: int32 [], the number of steps whose parameters are averaged.
      average_of_params: a tree like the parameters; before any step it equals them.
    """

    steps: jax.Array
    average_of_params: Any


def average(decay: float) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the parameters after each step.

    It comes last in a chain, and passes updates on as they are. After t steps, the
    parameters of step k weigh in proportion to decay^(t - k). Those before the first
    step weigh nothing (the correction of Adam's moments, arXiv:1412.6980, section 3).
    `optax.ema` averages updates instead. With a decay of 0 it keeps nothing.
    """
    if not decay:
        return optax.identity()

    def init(params):
        return AverageState(jnp.zeros((), jnp.int32), params)

    def update(updates, state, params=None):
        steps = optax.safe_increment(state.steps)
        # One rounding of `decay` makes the first step's share exactly 1.
        factor = jnp.asarray(decay, float)
        share = (1 - factor) / (1 - factor**steps)
        after = optax.apply_updates(params, updates)
        nearer = jax.tree.map(
            lambda old, new: old + share.astype(old.dtype) * (new - old),
            state.average_of_params,
            after,
        )
        return updates, AverageState(steps, nearer)

    return optax.GradientTransformation(init, update)


def averaged(state: MetaState) -> MetaState:
    """Puts the moving averages, if any are kept, in place of a state's parameters.

    An optimizer of several parts may keep an average of each. Leaves that are not
    learned stay.
    """
    params = state.params
    for _, kept in optax.tree.get_all_with_path(state.opt_state, "average_of_params"):
        params = jax.tree.map(
            lambda mean, leaf: leaf if _is_absent(mean) else mean,
            kept,
            params,
            is_leaf=_is_absent,
        )
    return state._replace(params=params)


def _is_absent(leaf: Any) -> bool:
    return leaf is None or isinstance(leaf, optax.MaskedNode)
