"""A batch in pieces, and half precision: the same gradients, exactly or nearly."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import metainit
from metainit.models import classifier, conv4, heads
from metainit.models.microbatch import microbatched
from metainit.models.precision import in_bfloat16

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
    head = heads.prototype_head(classifier.features(model), 3)
    return model, head(body, batch, KEY), batch


def meta_gradient(loss_fn, params, batch):
    loop = metainit.InnerLoop(loss_fn, optax.sgd(0.1), 2)
    one = jax.tree.map(lambda x: x[None], batch)
    gradient = jax.jit(metainit.meta_gradient(loop))
    return gradient(params, metainit.Episode(one, one), KEY)


def test_second_order_gradients_are_those_of_the_whole_batch(problem):
    model, params, batch = problem
    whole = meta_gradient(classifier.loss_fn(model), params, batch)
    pieces = meta_gradient(microbatched(classifier.loss_fn(model), 2), params, batch)
    chex.assert_trees_all_close(pieces, whole, rtol=1e-4, atol=1e-6)


def test_a_size_that_does_not_divide_is_refused(problem):
    model, params, batch = problem
    with pytest.raises(ValueError, match="microbatch=4 does not divide"):
        microbatched(classifier.loss_fn(model), 4)(params, batch, KEY)


def test_half_precision_is_close_and_its_gradients_are_float32(problem):
    model, params, batch = problem
    (loss, _), grads = jax.value_and_grad(
        classifier.loss_fn(in_bfloat16(model)), has_aux=True
    )(params, batch, KEY)
    (exact, _), wanted = jax.value_and_grad(classifier.loss_fn(model), has_aux=True)(
        params, batch, KEY
    )
    assert loss != exact
    np.testing.assert_allclose(loss, exact, rtol=0.05)
    for found, full in zip(
        jax.tree.leaves(grads), jax.tree.leaves(wanted), strict=True
    ):
        assert found.dtype == jnp.float32
        assert jnp.linalg.norm(found - full) < 0.1 * jnp.linalg.norm(full) + 1e-3
