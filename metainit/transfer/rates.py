"""The learning rates of a fine-tuning: optimiser, schedule, and factors by layer."""

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
    """Makes the optimiser of the settings, with every rate in its state.

    Thus one compiled step serves all rates, all trees `inner` of learned step sizes
    (`metainit.core.step_sizes`) and all of `layer_factors`. Its argument `rate`,
    float32 [], is the `share` at the step.
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
    """Gives the factor of the rate at a step.

    Steps of the head alone and steps of everything have a schedule each.
    """
    if spec.schedule == "constant":
        return np.float32(1)
    first, last = 0, spec.probe_steps
    if step >= last:
        first, last = last, spec.steps
    return np.float32(0.5 + 0.5 * math.cos(math.pi * (step - first) / (last - first)))


def layer_factors(model: Model, body: Params, decay: float) -> Any:
    """Gives the logarithm of each leaf's factor of the rate.

    The layer below the head has the factor `decay`, the next one its square, and so on
    (Clark et al. 2020, arXiv:2003.10555). A leaf of no layer has 1. The result is {}
    where the order of layers is not known.
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
    """Raises ValueError for factors of layers whose order is not known."""
    if model.layer_of is None and min(decays) < 1:
        raise ValueError(
            f"layer_decay={min(decays)}: the order of this network's layers is not "
            "known; give Model.layer_of, or a layer_decay of 1"
        )
