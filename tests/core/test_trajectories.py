"""Continual trajectory shifting, against its paper's update written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import only_w

import metainit

TASKS, PERIOD, RATE, BETA = 3, 4, 0.1, 0.5


def loss(params, batch, key):
    """0.5 |w - c|^2, and as much of a head that `start` adds."""
    away = jnp.square(params["w"] - batch["c"]) + jnp.square(params["head"])
    return 0.5 * jnp.sum(away) * params["unit"], {"noise": jax.random.normal(key)}


def start(params, support, key):
    return {**params, "head": support["c"]}


def problem():
    rng = np.random.default_rng(0)
    params = {"w": rng.standard_normal(2), "unit": np.array(1.0)}
    batches = [
        {"c": rng.standard_normal((TASKS, 2))},
        {"c": rng.standard_normal((TASKS, 2))},
    ]
    return params, [metainit.Episode(batch, batch) for batch in batches]


def learner(tasks="scan", inner=None, outer=None):
    params, episodes = problem()
    loop = metainit.InnerLoop(
        loss,
        inner or optax.sgd(RATE),
        PERIOD,
        adapt_mask=lambda path, leaf: path[0].key in ("w", "head"),
        start=start,
    )
    made = metainit.cts(
        loop, outer or optax.sgd(BETA), episodes[0], tasks=tasks, meta_mask=only_w
    )
    return made, params, episodes


@pytest.mark.parametrize("tasks", ["scan", "vmap", "unroll"])
def test_the_update_of_the_paper(x64, tasks):
    """Shift the common start by beta times the mean distance, and every task with it.

    After a period new tasks begin at the common parameters.
    """
    made, params, episodes = learner(tasks)
    state, update = made.init(params), jax.jit(made.update)
    common = params["w"]
    for step in range(2 * PERIOD):
        episode = episodes[step // PERIOD]
        if step % PERIOD == 0:
            own = np.tile(common, (TASKS, 1))
            head = episode.support["c"]
        losses = 0.5 * ((own - episode.support["c"]) ** 2 + head**2).sum(1)
        own = own - RATE * (own - episode.support["c"])
        head = head - RATE * head
        shift = BETA * (own - common).mean(0)
        common, own = common + shift, own + shift
        state, metrics = update(state, episode, jax.random.key(0))
        np.testing.assert_allclose(state.params["w"], common, rtol=1e-12)
        np.testing.assert_allclose(state.opt_state.adapted["w"], own, rtol=1e-12)
        np.testing.assert_allclose(state.opt_state.adapted["head"], head, rtol=1e-12)
        np.testing.assert_allclose(metrics.query_loss, losses, rtol=1e-12)
    assert state.params["unit"] == 1 and state.params.keys() == {"w", "unit"}


def test_one_step_is_reptile(x64):
    made, params, (episode, _) = learner()
    state, _ = made.update(made.init(params), episode, jax.random.key(0))
    loop = metainit.InnerLoop(loss, optax.sgd(RATE), 1, start=start)
    loop = loop._replace(adapt_mask=lambda path, leaf: path[0].key != "unit")
    reptile = metainit.reptile(loop, optax.sgd(BETA), meta_mask=only_w)
    other, _ = reptile.update(reptile.init(params), episode, jax.random.key(0))
    np.testing.assert_allclose(state.params["w"], other.params["w"], rtol=1e-14)


def test_a_stopped_run_goes_on_in_the_middle_of_its_tasks():
    """To the bit, with states of both optimizers; each step has its own key."""
    made, params, episodes = learner(inner=optax.adam(0.1), outer=optax.adam(0.1))
    params = jax.tree.map(np.float32, params)
    update, key = jax.jit(made.update), jax.random.key(1)
    straight, noise = made.init(params), []
    for step in range(2 * PERIOD):
        straight, metrics = update(straight, episodes[step // PERIOD], key)
        noise += metrics.support.metrics["noise"].ravel().tolist()
        if step == PERIOD + 1:
            saved = jax.tree.map(jnp.asarray, jax.device_get(straight))
    for step in range(PERIOD + 2, 2 * PERIOD):
        saved, _ = update(saved, episodes[step // PERIOD], key)
    jax.tree.map(np.testing.assert_array_equal, saved, straight)
    assert len(set(noise)) == len(noise) == 2 * PERIOD * TASKS
    adapted, _ = made.adapt(saved, {"c": episodes[0].support["c"][0]}, key)
    assert adapted.keys() == {"w", "unit", "head"}
