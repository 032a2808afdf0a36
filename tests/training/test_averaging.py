"""A moving average of the parameters, against one of every step's by NumPy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metainit
from metainit.core.types import MetaState
from metainit.training.averaging import average, averaged

KEY = jax.random.key(0)


def loss_fn(params, batch, key):
    error = batch["x"] @ params["w"] + params["b"] - batch["y"]
    return jnp.mean(error**2), {}


def episodes(step):
    rng = np.random.default_rng(step)
    batch = {"x": rng.normal(size=(2, 4, 3)), "y": rng.normal(size=(2, 4))}
    return metainit.Episode(batch, batch)


def learned(decay, steps=12):
    """The states of a learner that leaves "b" and "count" as they are."""
    outer = optax.chain(optax.adam(0.1), average(decay))
    loop = metainit.InnerLoop(loss_fn, optax.sgd(0.1), 1)
    mask = {"w": True, "b": False, "count": False}
    learner = metainit.maml(loop, outer, meta_mask=mask)
    params = {"w": jnp.ones(3), "b": jnp.full((), 2.0), "count": jnp.int32(7)}
    states, update = [learner.init(params)], jax.jit(learner.update)
    for step in range(steps):
        states.append(update(states[-1], episodes(step), KEY)[0])
    return states


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.9999])
def test_it_weighs_every_step_since_the_first(x64, decay):
    states = learned(decay)
    raw = np.array([state.params["w"] for state in states[1:]])
    for steps, state in enumerate(states[1:], 1):
        weights = decay ** np.arange(steps)[::-1]
        wanted = weights @ raw[:steps] / weights.sum()
        got = averaged(state).params
        np.testing.assert_allclose(got["w"], wanted, rtol=1e-8)
        assert (got["b"], got["count"]) == (2.0, 7)
        chex.assert_trees_all_equal(averaged(state).opt_state, state.opt_state)
    # Before any step, and where nothing moves, it is what there is.
    chex.assert_trees_all_equal(averaged(states[0]).params, states[0].params)


def test_training_goes_on_from_the_parameters_themselves():
    plain, kept = learned(0.0), learned(0.9)
    chex.assert_trees_all_equal(
        [state.params for state in plain], [state.params for state in kept]
    )
    assert averaged(plain[-1]).params is plain[-1].params
    # Without it nothing more is in memory.
    adam = optax.adam(0.1).init({"w": jnp.ones(3)})
    states = (plain[-1].opt_state, adam)
    count, wanted = (len(jax.tree.leaves(state)) for state in states)
    assert count == wanted == len(jax.tree.leaves(kept[-1].opt_state)) - 2


def test_an_optimizer_in_parts_averages_each():
    """Weights and step sizes, by optimizers of their own."""
    outer = optax.chain(optax.adam(0.1), average(0.9))
    loop = metainit.InnerLoop(loss_fn, optax.sgd(0.1), 1)
    learner = metainit.lslr(loop, outer, outer)
    states = [learner.init({"w": jnp.ones(3), "b": jnp.zeros(())})]
    update = jax.jit(learner.update)
    for step in range(3):
        states.append(update(states[-1], episodes(step), KEY)[0])
    weights = 0.9 ** np.arange(3)[::-1] / np.sum(0.9 ** np.arange(3))
    wanted = jax.tree.map(
        lambda *leaves: np.tensordot(weights, np.stack(leaves), 1),
        *(state.params for state in states[1:]),
    )
    chex.assert_trees_all_close(averaged(states[-1]).params, wanted, rtol=1e-5)


def test_what_does_not_move_stays_to_the_bit():
    keep = average(0.9)
    params = {"x": jnp.asarray([0.1, -1 / 3, 1e-30], jnp.float32)}
    state = keep.init(params)
    for _ in range(5):
        _, state = keep.update(optax.tree.zeros_like(params), state, params)
    of_state = MetaState(params, (state,), jnp.int32(5))
    chex.assert_trees_all_equal(averaged(of_state).params, params)
