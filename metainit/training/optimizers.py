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
    """Gives a rate by step, which is constant or falls from `peak` to 0 by a cosine.

    Args:
      peak: the rate at the first step.
      length: the steps in which it falls to 0, a number or an array; None for never.
    """

    def rate(step):
        if length is None:
            return peak
        return peak * (0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(step / length, 0, 1))))

    return rate


def _direction(section: Outer) -> optax.GradientTransformation:
    """Makes Adam's direction of clipped gradients; its state has the unclipped norm."""
    return optax.chain(
        optax.snapshot("grad_norm", optax.tree.norm),
        optax.clip_by_global_norm(section.clip or float("inf")),
        optax.scale_by_adam(),
    )


class Phase(NamedTuple):
    """The state of meta-learning's schedule.

    Attributes:
      first: int32 [], the meta-iteration that it begins with, after a warm start.
      done: int32 [], the steps since then.
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
    """Makes an optimizer of `MetaParams`, in which step sizes have their own rate."""
    rates = {"model": section.learning_rate, "inner": section.step_size_rate}
    scales = {part: _scheduled(section, rate) for part, rate in rates.items()}
    return optax.chain(
        _direction(section), optax.partition(scales, lambda x: type(x)(*x._fields))
    )


def _scheduled(section: Outer, peak: float) -> optax.GradientTransformation:
    """Scales by minus the outer rate, which is 0 from iteration `decay_steps` on.

    Its state has the iteration that it begins with (`begun_at`), so that one program
    serves a cold and a warm start. It comes last in a chain, and averages the
    parameters where `Outer.average` is not 0.
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
    """Makes the outer optimizer's schedule begin with this meta-iteration."""

    def is_phase(path, value):
        return getattr(path[-1], "tuple_name", "") == "Phase"

    return optax.tree.set(opt_state, is_phase, first=jnp.int32(iteration))


def joint_optimizer(
    joint: Joint, section: Outer, scalars: Sequence[str] = ()
) -> optax.GradientTransformationExtraArgs:
    """Makes joint pretraining's optimizer, whose argument `rate` is float32 [].

    It is AdamW (arXiv:1711.05101), and decays kernels only. A model's `scalars` stay
    as they begin. A scale that was learned for joint pretraining's own head would give
    class means of features scores that are too large to learn from.
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
    """Masks kernels, but neither biases nor the scale of a normalisation."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: str(getattr(path[-1], "key", "")).startswith("kernel"),
        params,
    )


def rates(peak: float, steps: int, length: Any = None, pace: float = 1.0) -> np.ndarray:
    """Gives the rate of each step, float32 [steps].

    It falls to 0 by a cosine over `length` meta-iterations, each worth `pace` steps.
    Where `length` is None, it is constant.
    """
    done = np.arange(steps) / pace
    rate = schedule(peak, length)(done)
    return np.broadcast_to(np.asarray(rate, np.float32), done.shape)


def grad_norm(opt_state: Any) -> Any:
    """Reads the global norm of the last outer gradient, before clipping."""
    return optax.tree.get(opt_state, "grad_norm")
