"""Small problems whose answers are known, and what the tests of the core share."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

KEY = jax.random.key(0)


def distance(params, batch, key):
    """0.5 |w - c|^2: a step of SGD at rate a takes w to c + (1 - a)(w - c)."""
    loss = 0.5 * jnp.sum(jnp.square(params["w"] - batch))
    return loss, {"noise": jax.random.normal(key)}


def two_distances(params, batch, key):
    """The same of "w" and "head" together; neither moves the other."""
    losses = [distance({"w": params[name]}, batch, key)[0] for name in ("w", "head")]
    return sum(losses), {}


def zero_head(params, support, key):
    """A `start` that adds a leaf."""
    return {**params, "head": jnp.zeros_like(params["w"])}


def only_w(path, leaf):
    return path[0].key == "w"


def learned_rates():
    """SGD whose rate at each step is a meta-parameter (LSLR)."""

    def update(grads, state, params=None, *, meta, step, **extra):
        return jax.tree.map(lambda g: -meta[step] * g, grads), state

    return optax.GradientTransformationExtraArgs(lambda params: (), update)


def largest_difference(a, b):
    difference = jax.tree.map(lambda x, y: np.abs(x - y).max(), a, b)
    return max(jax.tree.leaves(difference))
