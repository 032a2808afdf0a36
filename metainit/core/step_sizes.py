"""Learned step sizes: a factor for each parameter, on top of any inner rate.

The step sizes of each layer of MAML++ (Antoniou et al. 2019, arXiv:1810.09502, LSLR),
the same at every inner step. A factor is exp of what is learned, so that it stays
positive and starts at 1. Factors go with every rate and optimiser of a grid.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from metainit.core import leaves, masks
from metainit.core.types import Mask, Params


def init(params: Params, adapt_mask: Mask | None = None) -> Any:
    """Logarithms of the factors at the start, all zero.

    Args:
      params: where a task starts.
      adapt_mask: which of them inner steps change, as of `metainit.InnerLoop`.

    Returns:
      A tree like `params`, a float32 scalar for each leaf that inner steps change, None
      for the others.
    """
    adapted, _ = masks.split(params, adapt_mask, "adapt_mask")
    return jax.tree.map(lambda _: jnp.zeros((), jnp.float32), adapted)


def times(updates: Any, logs: Any) -> Any:
    """Updates times their factors; those of leaves without a factor as they are.

    Args:
      updates: of a part of {"body": ..., "head": ...}.
      logs: logarithms of factors, a tree like that of `init`.
    """
    known = leaves.by_name(logs)

    def scaled(path, update):
        log = known.get(jax.tree_util.keystr(path))
        return update if log is None else update * jnp.exp(log)

    return jax.tree_util.tree_map_with_path(scaled, updates)


def learned(
    optimizer: optax.GradientTransformation,
) -> optax.GradientTransformationExtraArgs:
    """An inner optimiser whose updates are scaled by `meta`, a tree like `init`'s."""

    def update(grads, state, params=None, *, meta, **unused):
        updates, state = optimizer.update(grads, state, params)
        return times(updates, meta), state

    return optax.GradientTransformationExtraArgs(optimizer.init, update)


def fixed(logs: Any) -> optax.GradientTransformation:
    """Scales updates by factors that are not learned any more; they are its state."""
    return optax.GradientTransformation(
        lambda params: logs,
        lambda updates, logs, params=None: (times(updates, logs), logs),
    )
