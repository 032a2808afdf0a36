"""The rates of a fine-tuning: its optimiser, their schedule, and factors by layer."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metainit.core import step_sizes
from metainit.core.types import Params
from metainit.models.model import Model
from metainit.transfer.spec import Spec


def optimizer(
    spec: Spec,
    inner: Any = None,
    phases: tuple[int, ...] = (0,),
    layers: Any = None,
) -> optax.GradientTransformationExtraArgs:
    """Makes the settings' optimiser, with every rate in its state.

    A step compiled for one rate, one tree of learned step sizes `inner`
    (`metainit.core.step_sizes`) and one of `layer_factors` thus serves them all. Its
    argument `rate`, float32 [], is that of `share`.
    """
    if spec.optimizer == "adam":
        plain = optax.inject_hyperparams(optax.adam)(spec.learning_rate)
    else:
        momentum = spec.momentum or None
        plain = optax.inject_hyperparams(optax.sgd)(spec.learning_rate, momentum)

    def update(updates, state, params=None, *, rate=1.0, **unused):
        return optax.tree.scale(rate, updates), state

    scheduled = optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
    parts = [plain, scheduled, step_sizes.fixed({"body": layers or {}})]
    if inner is not None:
        parts.append(step_sizes.fixed(inner, phases))
    return optax.chain(*parts)


def share(spec: Spec, step: int) -> np.float32:
    """The share of the rate at a step, by the schedule of its part of the steps."""
    if spec.schedule == "constant":
        return np.float32(1)
    first, last = 0, spec.probe_steps
    if step >= last:
        first, last = last, spec.steps
    return np.float32(0.5 + 0.5 * math.cos(math.pi * (step - first) / (last - first)))


def layer_factors(model: Model, body: Params, decay: float) -> Any:
    """Logarithms of each leaf's factor of the rate: `decay` for a layer, from the head.

    As of Clark et al. 2020, arXiv:2003.10555, where the layer below the head has
    `decay`. A leaf of no layer has 1; {} where no order of layers is known.
    """
    check_layers(model, (decay,))
    if (layer_of := model.layer_of) is None:
        return {}
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(body)]
    top = 1 + max((x for x in map(layer_of, paths) if x is not None), default=0)

    def log(path: tuple, leaf: Any) -> jax.Array:
        layer = layer_of(path)
        depth = 0 if layer is None else top - layer
        return jnp.float32(depth * math.log(decay))

    return jax.tree_util.tree_map_with_path(log, body)


def check_layers(model: Model, decays: Sequence[float]) -> None:
    """Refuses, by a ValueError, factors for layers whose order is not known."""
    if model.layer_of is None and min(decays) < 1:
        raise ValueError(
            f"layer_decay={min(decays)}: the order of this network's layers is not "
            "known; give Model.layer_of, or a layer_decay of 1"
        )
