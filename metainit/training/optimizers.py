"""The optimizers of meta-learning and of joint pretraining, and their schedules."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.tree_util import DictKey

from metainit.config.fields import Joint, Outer
from metainit.training.averaging import average


def schedule(peak: float, length: Any = None) -> optax.Schedule:
    """Gives a rate by step: constant, or a cosine from `peak` to 0.

    Args:
      peak: the rate at the first step.
      length: steps, a number or an array, in which it falls to 0; None: never.
    """

    def rate(step):
        if length is None:
            return peak
        return peak * (0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(step / length, 0, 1))))

    return rate


def _direction(section: Outer) -> optax.GradientTransformation:
    """Gives Adam's direction after clipping; the norm before stays in the state."""
    return optax.chain(
        optax.snapshot("grad_norm", optax.tree.norm),
        optax.clip_by_global_norm(section.clip or float("inf")),
        optax.scale_by_adam(),
    )


class Phase(NamedTuple):
    """Where meta-learning's schedule stands.

    Attributes:
      first: int32 [], the meta-iteration that it begins with, after a warm start.
      done: int32 [], steps since then.
    """

    first: jax.Array
    done: jax.Array


def outer(section: Outer) -> optax.GradientTransformation:
    """Makes the outer optimizer of the weights."""
    return optax.chain(_direction(section), _scheduled(section, section.learning_rate))


def step_sizes(section: Outer) -> optax.GradientTransformation:
    """Makes the outer optimizer of learned step sizes."""
    rate = _scheduled(section, section.step_size_rate)
    return optax.chain(optax.scale_by_adam(), rate)


def with_step_sizes(section: Outer) -> optax.GradientTransformation:
    """Makes the optimizer of `MetaParams` whose step sizes have a rate of their own."""
    rates = {"model": section.learning_rate, "inner": section.step_size_rate}
    scales = {part: _scheduled(section, rate) for part, rate in rates.items()}
    return optax.chain(
        _direction(section), optax.partition(scales, lambda x: type(x)(*x._fields))
    )


def _scheduled(section: Outer, peak: float) -> optax.GradientTransformation:
    """Scales by minus the outer rate, which is 0 from iteration `decay_steps` on.

    Where it begins is part of its state (`begun_at`), so that one program does for a
    cold and for a warm start. It is the last of a chain, and averages what is learned
    where that is asked for.
    """

    def update(updates, phase, params=None):
        decay = section.decay_steps
        length = decay - phase.first if decay else None
        rate = schedule(peak, length)(phase.done)
        later = phase._replace(done=optax.safe_increment(phase.done))
        return optax.tree.scale(-rate, updates), later

    def init(params):
        return Phase(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    scale = optax.GradientTransformation(init, update)
    return optax.chain(scale, average(section.average))


def begun_at(opt_state: optax.OptState, iteration: int) -> optax.OptState:
    """Has the outer optimizer's schedule begin with a meta-iteration."""

    def is_phase(path, value):
        return getattr(path[-1], "tuple_name", "") == "Phase"

    return optax.tree.set(opt_state, is_phase, first=jnp.int32(iteration))


def joint_optimizer(
    joint: Joint, section: Outer, scalars: Sequence[str] = ()
) -> optax.GradientTransformationExtraArgs:
    """Makes joint pretraining's optimizer, whose argument `rate` is float32 [].

    It is AdamW (arXiv:1711.05101), whose decay is of kernels alone. A model's
    `scalars` stay as they begin: learned for joint pretraining's own head, the scale
    would leave class means of features with scores too large to learn from.
    """

    def update(updates, state, params=None, *, rate, **unused):
        def step(path: tuple, update: jax.Array) -> jax.Array:
            return jnp.zeros_like(update) if path in fixed else -rate * update

        return jax.tree_util.tree_map_with_path(step, updates), state

    fixed = [tuple(map(DictKey, ("body", name))) for name in scalars]
    decay = optax.add_decayed_weights(joint.weight_decay, _kernels)
    scale = optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
    mean = average(section.average)
    return optax.chain(_direction(section), decay, scale, mean)


def _kernels(params: Any) -> Any:
    """Masks kernels: no biases, and no scale of a normalisation."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: str(getattr(path[-1], "key", "")).startswith("kernel"),
        params,
    )


def rates(peak: float, steps: int, length: Any = None, pace: float = 1.0) -> np.ndarray:
    """Gives a rate at each of so many steps, float32 [steps].

    It falls to 0 by a cosine over `length` meta-iterations, of which each is worth
    `pace` steps. Where `length` is None, it is constant.
    """
    done = np.arange(steps) / pace
    rate = schedule(peak, length)(done)
    return np.broadcast_to(np.asarray(rate, np.float32), done.shape)


def grad_norm(opt_state: Any) -> Any:
    """Reads the global norm of the last outer gradient, before clipping."""
    return optax.tree.get(opt_state, "grad_norm")
