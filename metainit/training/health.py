"""What tells that a training is unwell."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metainit.core import leaves
from metainit.core.types import MetaState

Metrics = dict[str, Any]  # NumPy arrays, [tasks] or [], or lists of them
NORMS = "norms"  # of a step's metrics, those of layers
_KINDS = "gradients", "updates", "parameters"
_PARTS = ("encoder", "learner")  # of a body that is composed of them


def windows(steps: int, every: int) -> tuple[int, int]:
    """Tells how many of the last log lines `is_stuck` looks at, of far and near losses.

    A training has so many steps, and a line `every` so many. It is a tenth of the lines
    within bounds, but of no fewer than 50 steps, and of 500 near a guess, where
    trainings begin: joint pretraining of a thousand classes stays there for hundreds.
    """
    tenth = min(max(5, steps // every // 10), 50)
    far, near = (max(tenth, math.ceil(least / every)) for least in (50, 500))
    return far, near


def is_stuck(losses: Sequence[float], chance: float, windows: tuple[int, int]) -> bool:
    """Whether a loss stays at or above that of a guess, and does not fall, either.

    It is the losses of all log lines, means over their steps: far above it, of half as
    much again, in the first of the windows, or else in the second.
    """
    for lines, least in zip(windows, (1.5, 0.999), strict=True):
        last, half = losses[-lines:], lines // 2
        if len(last) < lines or min(last) < least * chance:
            continue
        if np.median(last[-half:]) > 0.9 * np.median(last[:half]):
            return True
    return False


def layer_norms(every: int, before: MetaState, after: MetaState, grads: Any) -> Any:
    """Gives norms of gradient, update and parameters of each layer, float32 [3].

    Layers are what a network's parameters are called by at their top, after its
    "encoder" or "learner" where it has these, and "head" and "inner" beside it.

    Args:
      every: steps after which they are computed; in the others they are 0.
      before, after: the state before a step and after it.
      grads: a tree like the parameters, with None for what is not learned, which is
        left out; None for no gradients, and two norms.
    """
    named = functools.partial(leaves.by_name, name=leaves.dotted)
    old, new, gradients = map(named, (before.params, after.params, grads))

    def norms() -> dict[str, jax.Array]:
        layers: dict[str, list[Any]] = {}
        for name in gradients or new:
            told = [gradients[name]] if gradients else []
            told += [new[name] - old[name], new[name]]
            layers.setdefault(_layer(name), []).append(told)
        return {
            layer: jnp.stack([optax.tree.norm(x) for x in zip(*of_all, strict=True)])
            for layer, of_all in layers.items()
        }

    def none() -> dict[str, jax.Array]:
        return jax.tree.map(jnp.zeros_like, jax.eval_shape(norms))

    return jax.lax.cond(after.step % every == 0, norms, none)


def _layer(name: str) -> str:
    """The layer of a leaf: "model.body.encoder.layer1.0.conv" is "encoder.layer1"'s."""
    words = [word for word in name.split(".") if word not in ("model", "body")]
    if name.startswith("inner") or not words:
        return name.partition(".")[0]
    return ".".join(words[: 2 if words[0] in _PARTS else 1])


def by_tag(norms: Mapping[str, Any], scope: str) -> dict[str, float]:
    """Gives what `layer_norms` gave under tags for TensorBoard: "updates/SCOPE/head".

    The scope is of a loss: norms of another one's gradients share no chart with these.
    """
    return {
        f"{kind}/{scope}/{layer}": float(value)
        for layer, of_layer in norms.items()
        for kind, value in zip(_KINDS[-len(of_layer) :], of_layer, strict=True)
    }
