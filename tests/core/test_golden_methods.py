"""Agreement with PyTorch of methods whose meta-gradients were computed there once."""

import encoders
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from problems import KEY

import metainit

EXPECTED = encoders.golden("methods")
NAMES, RATE, STEPS = ("w1", "b1", "w2", "b2"), 0.1, 3


def of(method):
    return {name: EXPECTED[f"{method}/{name}"] for name in NAMES}


def loss_fn(params, batch, key):
    x, y = batch
    hidden = jnp.tanh(x @ params["w1"] + params["b1"])
    return jnp.mean((hidden @ params["w2"] + params["b2"] - y) ** 2), {}


def loop(steps=STEPS):
    return metainit.InnerLoop(loss_fn, optax.sgd(RATE), steps)


def episodes():
    parts = [
        tuple(EXPECTED[f"{part}/{name}"][None] for name in "xy")
        for part in ("support", "query")
    ]
    return metainit.Episode(*parts)


def assert_close(got, expected, rtol=1e-9):
    for name in NAMES:
        size = np.abs(expected[name]).max()
        np.testing.assert_allclose(got[name], expected[name], atol=rtol * size)


def gradients(learner, params):
    state = learner.init(params)
    return jax.jit(learner.gradient)(state, episodes(), KEY)[0]


@pytest.mark.parametrize("gradient", ["mixed", "reverse"])
def test_a_rate_for_each_tensor_and_step(x64, gradient):
    of_logs = dict(zip(NAMES, EXPECTED["lslr/of_logs"].T, strict=True))
    logs = dict(zip(NAMES, jnp.asarray(EXPECTED["lslr/logs"]).T, strict=True))
    learner = metainit.lslr(loop(), optax.sgd(1.0), optax.sgd(1.0), gradient=gradient)
    got = gradients(learner, metainit.MetaParams(of("initial"), logs))
    assert_close(got.model, of("lslr"))
    assert_close(got.inner, of_logs)


def test_a_rate_for_each_element(x64):
    logs = {name: jnp.asarray(EXPECTED[f"meta_sgd/logs/{name}"]) for name in NAMES}
    learner = metainit.meta_sgd(loop(), optax.sgd(1.0), optax.sgd(1.0))
    got = gradients(learner, metainit.MetaParams(of("initial"), logs))
    assert_close(got.model, of("meta_sgd"))
    assert_close(got.inner, {x: EXPECTED[f"meta_sgd/of_logs/{x}"] for x in NAMES})


def test_anil(x64):
    head = lambda path, leaf: path[0].key in ("w2", "b2")  # noqa: E731
    learner = metainit.anil(loop(), optax.sgd(1.0), head)
    assert_close(gradients(learner, of("initial")), of("anil"))


def test_reptile(x64):
    learner = metainit.reptile(loop(), optax.sgd(1.0))
    state, _ = learner.update(learner.init(of("initial")), episodes(), KEY)
    assert_close(state.params, of("reptile"))


def test_implicit_gradients(x64):
    """Of a minimum that 3,000 steps reach; 41 products solve for 41 parameters."""
    mode = metainit.implicit(2.0, cg_steps=60)
    learner = metainit.maml(loop(3000), optax.sgd(1.0), gradient=mode)
    assert_close(gradients(learner, of("initial")), of("imaml"), 1e-8)
