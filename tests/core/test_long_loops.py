"""Gradients of long inner loops: truncated and implicit ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import KEY, learned_rates
from test_hypergradient import EXACT, RATES, closed_form, meta_grads, problem, quadratic

import metainit


@pytest.mark.parametrize("last", [0, 3, 4, 9])
@pytest.mark.parametrize("gradient", EXACT)
def test_truncated_closed_form(x64, last, gradient):
    """Nothing but the last steps is differentiated, and the start gets what is left."""
    w, episodes = problem(1)
    params = metainit.MetaParams({"w": w}, jnp.asarray(RATES))
    mode = metainit.truncated(last, gradient)
    got = meta_grads(params, episodes, learned_rates(), gradient=mode)
    of_w, of_rates = closed_form(w, episodes, RATES, last)
    of_rates[: max(0, len(RATES) - last)] = 0
    np.testing.assert_allclose(got.model["w"], of_w, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(got.inner, of_rates, rtol=1e-12, atol=1e-12)
    plain = metainit.InnerLoop(quadratic, learned_rates(), len(RATES))
    task = jax.tree.map(lambda x: x[0], episodes.support)
    adapt = functools.partial(metainit.adapt, plain, params, task, KEY)
    ends = jax.jit(lambda: [adapt(gradient=g)[0]["w"] for g in (mode, gradient)])()
    np.testing.assert_array_equal(*ends)


def implicit_gradient(params, episodes, prepare, steps, damping=2.0):
    loop = metainit.InnerLoop(quadratic, optax.sgd(0.2), steps, prepare=prepare)
    loop = loop._replace(adapt_mask=lambda path, leaf: path[0].key == "w")
    mode = metainit.implicit(damping, cg_steps=4)
    fn = jax.jit(metainit.meta_gradient(loop, gradient=mode))
    return fn(params, episodes, KEY)[1]


def test_implicit_is_exact_on_quadratics(x64):
    """By the start, and by a leaf that reaches the inner loss through the batch.

    The minimum is (A + damping)^-1 (b + damping w); four products with a matrix of
    4 x 4 solve its equations.
    """
    w, episodes = problem(1)
    params = {"w": w, "scale": np.array(1.5)}
    prepare = lambda params, batch, key: batch | {"b": params["scale"] * batch["b"]}  # noqa: E731

    def by_hand(params):
        def query_loss(episode):
            support, query = (prepare(params, batch, None) for batch in episode)
            matrix = support["A"] + 2.0 * jnp.eye(4)
            end = jnp.linalg.solve(matrix, support["b"] + 2.0 * params["w"])
            return quadratic({"w": end}, query, None)[0]

        return jnp.mean(jax.vmap(query_loss)(episodes))

    got = implicit_gradient(params, episodes, prepare, 200)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9),
        got,
        jax.grad(by_hand)(params),
    )


def test_adapting_pulls_towards_the_start_as_training_does(x64):
    """To the minimum (A + damping)^-1 (b + damping w)."""
    w, episodes = problem(1)
    loop = metainit.InnerLoop(quadratic, optax.sgd(0.2), 200)
    learner = metainit.maml(loop, optax.sgd(0.1), gradient=metainit.implicit(2.0))
    support = jax.tree.map(lambda x: x[0], episodes.support)
    adapted, _ = learner.adapt({"w": w}, support, KEY)
    matrix = support["A"] + 2.0 * np.eye(4)
    minimum = np.linalg.solve(matrix, support["b"] + 2.0 * w)
    np.testing.assert_allclose(adapted["w"], minimum, rtol=1e-9)
    _, seen = learner.update(learner.init({"w": w}), episodes, KEY)
    measured = metainit.evaluate(learner.loop, {"w": w}, episodes, KEY)
    same = measured.query_loss[:, -1], seen.query_loss
    np.testing.assert_allclose(*same, rtol=1e-12)


def temporary_bytes(gradient, steps):
    """Of the compiled meta-gradient of a large problem."""

    def loss(params, batch, key):
        return jnp.sum((params["w"] * batch) ** 4), {}

    loop = metainit.InnerLoop(loss, optax.sgd(0.01), steps)
    fn = jax.jit(metainit.meta_gradient(loop, gradient=gradient))
    ones = metainit.Episode(*[jnp.ones((2, 4096))] * 2)
    compiled = fn.lower({"w": jnp.ones(4096)}, ones, KEY).compile()
    return compiled.memory_analysis().temp_size_in_bytes


def test_memory_grows_with_the_steps_that_are_differentiated():
    state = 4 * 4096
    implicit = [temporary_bytes(metainit.implicit(), n) for n in (5, 20, 80)]
    truncated = [temporary_bytes(metainit.truncated(5), n) for n in (20, 80)]
    assert max(implicit) - min(implicit) < state
    assert truncated[1] - truncated[0] < state
    assert temporary_bytes("mixed", 80) - temporary_bytes("mixed", 20) > 50 * state
