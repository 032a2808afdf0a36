"""A moving average of the parameters, kept beside them in an optimizer's state."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metainit.core.types import MetaState


class AverageState(NamedTuple):
    """State of `average`.

    Attributes:
      steps: int32 [], so many parameters are averaged.
      average_of_params: a tree like them; before any step they themselves.
    """

    steps: jax.Array
    average_of_params: Any


def average(decay: float) -> optax.GradientTransformation:
    """Keeps an exponential moving average of the parameters after each step.

    It comes last in a chain, and passes updates on as they are. After t steps those of
    step k count in proportion to decay^(t - k), and where training began counts nothing
    (the correction of Adam's moments, arXiv:1412.6980, section 3). `optax.ema` has that
    of updates. With a decay of 0 nothing is kept.
    """
    if not decay:
        return optax.identity()

    def init(params):
        return AverageState(jnp.zeros((), jnp.int32), params)

    def update(updates, state, params=None):
        steps = optax.safe_increment(state.steps)
        # Rounded once, so that the first step's parameters count in full.
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
    """Gives the state with the averages for its parameters, where there are any.

    An optimizer of parts may keep one of each; leaves that are not learned stay.
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
