"""Learned step sizes, momentum and decay: closed forms, hand loops, differences."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_hypergradient import closed_form, problem, quadratic

import metainit
from metainit import step_sizes

STEPS, RATE, KEY = 4, 0.05, jax.random.key(0)
ONLY_RATES = lambda path, leaf: path[0].name == "inner"  # noqa: E731


def loop(optimizer=None):
    return metainit.InnerLoop(quadratic, optimizer or optax.sgd(RATE), STEPS)


def gradient_of(optimizer, params, episodes, **options):
    fn = metainit.meta_gradient(loop(optimizer), **options)
    return jax.jit(fn)(params, episodes, KEY)


def test_the_last_phase_goes_on_for_ever():
    logs = {"w": jnp.arange(3.0)}
    held = [step_sizes.at(logs, step, (0, 1, 5))["w"] for step in (0, 1, 4, 5, 900)]
    assert held == [0, 1, 1, 2, 2]
    assert step_sizes.at(logs, 7) is logs


@pytest.mark.parametrize("make", [metainit.lslr, metainit.meta_sgd])
def test_a_learner_has_an_outer_rate_for_each_part(x64, make):
    w, episodes = problem(3)
    learner = make(loop(), optax.sgd(0.1), optax.sgd(10.0))
    state = learner.init({"w": w})
    shape = (STEPS,) if make is metainit.lslr else (4,)
    assert state.params.inner["w"].shape == shape
    grads, metrics = learner.gradient(state, episodes, KEY)
    logs = jax.tree.map(lambda x: x - 1.0, state.params.inner)
    slower = state._replace(params=state.params._replace(inner=logs))
    _, expected = learner.gradient(slower, episodes, KEY)
    seen = metainit.evaluate(learner.loop, slower.params, episodes, KEY)
    np.testing.assert_allclose(seen.query_loss[:, -1], expected.query_loss, rtol=1e-12)
    assert (expected.query_loss != metrics.query_loss).all()
    of_w, of_rates = closed_form(w, episodes, [RATE] * STEPS)
    np.testing.assert_allclose(grads.model["w"], of_w, rtol=1e-12)
    total = grads.inner["w"].sum()  # all steps, or all elements, together
    np.testing.assert_allclose(total, RATE * of_rates.sum(), rtol=1e-12)
    after, _ = jax.jit(learner.update)(state, episodes, KEY)
    np.testing.assert_allclose(after.params.model["w"], w - 0.1 * of_w, rtol=1e-12)
    moved = -10 * grads.inner["w"]
    np.testing.assert_allclose(after.params.inner["w"], moved, rtol=1e-12)
    # Step sizes alone, of a caller's start.
    alone = make(loop(), optax.sgd(0.1), optax.sgd(10.0), meta_mask=ONLY_RATES)
    state, _ = alone.update(alone.init(after.params), episodes, KEY)
    np.testing.assert_array_equal(state.params.model["w"], after.params.model["w"])
    assert np.all(state.params.inner["w"] != after.params.inner["w"])


def by_hand(w, meta, episodes, phase_of):
    """The mean query loss after SGD with momentum and decay, step by step."""
    losses = []
    for task in range(2):
        support, query = jax.tree.map(lambda x, task=task: x[task], episodes)
        v, now = np.zeros(4), w
        for step in range(STEPS):
            rate, momentum, decay = (x["w"][phase_of(step)] for x in meta)
            grad = support["A"] @ now - support["b"]
            v = v / (1 + np.exp(-(np.log(0.9 / 0.1) + momentum))) + grad
            now = now - RATE * np.exp(rate) * (v + 0.01 * np.exp(decay) * now)
        losses.append(quadratic({"w": now}, query, None)[0])
    return np.mean(losses)


def test_rate_momentum_and_decay_by_hand_and_by_differences(x64):
    """A central difference for each of the six numbers."""
    w, episodes = problem(3)
    phases = (0, 2)
    rng = np.random.default_rng(1)
    meta = step_sizes.Sgd(*({"w": 0.3 * rng.standard_normal(2)} for _ in range(3)))
    params = metainit.MetaParams({"w": w}, jax.tree.map(jnp.asarray, meta))
    optimizer = step_sizes.sgd(RATE, 0.9, 0.01, phases)
    (loss, _), got = gradient_of(optimizer, params, episodes)
    phase_of = lambda step: int(step >= 2)  # noqa: E731
    np.testing.assert_allclose(loss, by_hand(w, meta, episodes, phase_of), rtol=1e-12)
    flat, structure = jax.tree.flatten(meta)
    h = 1e-5
    for number, phase in np.ndindex(3, 2):
        sides = []
        for sign in (1, -1):
            moved = [leaf.copy() for leaf in flat]
            moved[number][phase] += sign * h
            meta = structure.unflatten(moved)
            sides.append(by_hand(w, meta, episodes, phase_of))
        difference = (sides[0] - sides[1]) / (2 * h)
        slope = jax.tree.leaves(got.inner)[number][phase]
        np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-9)


def test_the_block_of_the_page_runs():
    page = pathlib.Path(__file__).parents[2] / "docs" / "methods.md"
    (block,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)
    w, episodes = problem(3)
    names = {"params": {"w": w}, "loss_fn": quadratic, "episodes": episodes, "key": KEY}
    exec(block, names)
    assert all(leaf.any() for leaf in jax.tree.leaves(names["state"].params.inner))
    assert (names["state"].params.model["w"] == w).all()
