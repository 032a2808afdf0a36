"""A batch in pieces, and half precision: the same gradients, exactly or nearly."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import metainit
from metainit.models import classification, conv4, normalisation
from metainit.models.heads.prototype import PROTOTYPE
from metainit.models.model import Model
from metainit.models.wrappers import in_bfloat16, microbatched

KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def problem():
    model = conv4.conv4(4, "none", "stride")
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.standard_normal((6, 8, 8, 1)), jnp.float32),
        "label": jnp.arange(6) % 3,
    }
    body = {"body": jax.jit(model.init)(KEY, batch["image"])}
    head = PROTOTYPE.start(classification.features(model), 3)
    return model, jax.jit(head)(body, batch, KEY), batch


def test_padding_counts_for_nothing_in_any_derivative(x64, problem):
    """40 images in batches of 32: the second is a piece of 8 and three of padding."""
    model, params, _ = problem
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    along = jax.tree.map(lambda x: jnp.asarray(rng.standard_normal(x.shape)), params)
    batches = metainit.minibatches(32)(
        {
            "image": jnp.asarray(rng.standard_normal((40, 8, 8, 1))),
            "label": jnp.arange(40) % 3,
            "weight": jnp.asarray(rng.uniform(0.5, 2, 40)),
        },
        KEY,
    )
    partly = dict(batches(1))
    partly["weight"] = partly["weight"].at[jnp.arange(4, 8)].set(0)  # half a piece too
    plain = classification.loss_fn(model)

    @functools.partial(jax.jit, static_argnums=0)
    def loss_gradient_and_product(loss_fn, batch):
        gradient = jax.value_and_grad(lambda p: loss_fn(p, batch, KEY), has_aux=True)
        value, of_value = jax.jvp(gradient, (params,), (along,))
        return value, of_value[1]

    pieces = microbatched(plain, 8)
    for batch in (batches(0), batches(1), partly):
        got, expected = (
            loss_gradient_and_product(loss_fn, batch) for loss_fn in (pieces, plain)
        )
        chex.assert_trees_all_close(got, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("classes", [None, (True, False, True)])
def test_a_size_that_does_not_divide_fills_the_last_piece(x64, problem, classes):
    model, params, batch = problem
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    batch = batch | {"image": jnp.asarray(batch["image"], jnp.float64)}
    plain = classification.loss_fn(model)
    if classes is not None:
        batch = batch | {
            "classes": jnp.array(classes),
            "label": batch["label"] // 2 * 2,
        }
    got, expected = (f(params, batch, KEY) for f in (microbatched(plain, 4), plain))
    chex.assert_trees_all_close(got, expected, rtol=1e-12, atol=1e-12)


def test_half_precision_is_close_and_its_gradients_are_float32(problem):
    model, params, batch = problem
    (loss, half), (exact, full) = (
        jax.jit(jax.value_and_grad(lambda p, f=f: f(p, batch, KEY)[0]))(params)
        for f in map(classification.loss_fn, (in_bfloat16(model), model))
    )
    assert loss != exact
    np.testing.assert_allclose(loss, exact, rtol=0.05)
    for a, b in zip(jax.tree.leaves(half), jax.tree.leaves(full), strict=True):
        assert a.dtype == jnp.float32
        assert jnp.linalg.norm(a - b) < 0.1 * jnp.linalg.norm(b) + 1e-3


def test_running_statistics_are_never_in_half_precision():
    dtypes = {}

    def features(params, images, weight, key):
        dtypes.update(jax.tree.map(lambda x: x.dtype.name, params), images=images.dtype)
        return images

    names = ("kernel", "scale", "bias", "mean", "var")
    params = {"bn": {name: jnp.ones(2) for name in names}}
    in_bfloat16(Model(lambda *of: params, features)).features(
        params, jnp.ones((1, 2)), None, None
    )
    assert dtypes.pop("images") == jnp.bfloat16
    kept = {name for name, dtype in dtypes["bn"].items() if dtype == "float32"}
    assert kept == {"mean", "var"}
    # They do not take the activations with them.
    layer = normalisation.BatchNorm("frozen")
    halves = {
        name: jnp.ones(2, jnp.float32 if name in kept else jnp.bfloat16)
        for name in names[1:]
    }
    kernel, x = jnp.ones((3, 2), jnp.bfloat16), jnp.ones((4, 3), jnp.bfloat16)
    y = layer.apply({"params": halves}, lambda kernel: x @ kernel, kernel, None)
    assert y.dtype == jnp.bfloat16
