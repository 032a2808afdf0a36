"""Signs that a training goes wrong: a loss that does not fall, norms of layers."""

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
NORMS = "norms"  # the key of a step's metrics that holds the norms of layers
_KINDS = "gradients", "updates", "parameters"
_PARTS = ("encoder", "learner")  # the keys of a body that is composed of these


def windows(steps: int, every: int) -> tuple[int, int]:
    """Gives the two numbers of last log lines that `is_stuck` looks at.

    The first is for losses far above that of a guess, the second for losses near it.
    Each is a tenth of the lines, from 5 to 50, or the number that covers 50 steps, of
    the second 500, if that is more. Joint pretraining of a thousand classes begins near
    a guess and stays there for hundreds of steps.

    Args:
      steps: how many steps the training has.
      every: steps between log lines.
    """
    tenth = min(max(5, steps // every // 10), 50)
    far, near = (max(tenth, math.ceil(least / every)) for least in (50, 500))
    return far, near


def is_stuck(losses: Sequence[float], chance: float, windows: tuple[int, int]) -> bool:
    """Tells whether a loss stays at or above that of a guess, and does not fall.

    The losses are those of all log lines, means over their steps. In the first of the
    windows they must stay above 1.5 times `chance`, or in the second above `chance`.
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

    A layer is named by the topmost key of its parameters, after "encoder" or "learner"
    where the network has these. The head and the step sizes are "head" and "inner".

    Args:
      every: steps between computations of the norms; at other steps they are 0.
      before, after: the state before a step and after it.
      grads: a tree like the parameters, with None for leaves that are not learned.
        Those are left out. Where it is None itself, a layer has the last two norms.
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
    """Names a leaf's layer: "encoder.layer1" for "model.body.encoder.layer1.0.conv"."""
    words = [word for word in name.split(".") if word not in ("model", "body")]
    if name.startswith("inner") or not words:
        return name.partition(".")[0]
    return ".".join(words[: 2 if words[0] in _PARTS else 1])


def by_tag(norms: Mapping[str, Any], scope: str) -> dict[str, float]:
    """Puts norms of `layer_norms` under tags for TensorBoard: "updates/SCOPE/head".

    Each loss has a scope, so that gradients of different losses share no chart.
    """
    return {
        f"{kind}/{scope}/{layer}": float(value)
        for layer, of_layer in norms.items()
        for kind, value in zip(_KINDS[-len(of_layer) :], of_layer, strict=True)
    }
