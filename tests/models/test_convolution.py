"""Both forms of convolution agree in all derivatives; pooling is as XLA's."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from metainit.models import convolution
from metainit.models.convolution import NATIVE, PRODUCT, TILED
from tests.pictures import normal

# Channels of kernels for images with three.
CHANNELS = {"dense": (3, 4), "same": (3, 4), "depthwise": (3,)}
SIDES = {"dense": (1, 3, 7), "same": (3,), "depthwise": (3, 5)}


@pytest.mark.parametrize("size", [(9, 6), (1, 2)])
@pytest.mark.parametrize("kind, k", [(x, k) for x in SIDES for k in SIDES[x]])
@pytest.mark.parametrize("stride", [1, 2])
def test_forms_are_interchangeable(size, kind, k, stride):
    x, kernel = normal(2, *size, 3), normal(k, k, *CHANNELS[kind], seed=1)

    def value_and_gradient(form):
        convolve = getattr(form, kind)

        def loss(x, kernel):
            y = convolve(x, kernel, stride)
            return jnp.sum(jnp.sin(y)), y

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(x, kernel)

    native, product = map(value_and_gradient, (NATIVE, PRODUCT))
    (_, y), _ = product
    assert y.shape == (2, *(-(-n // stride) for n in size), CHANNELS[kind][-1])
    chex.assert_trees_all_close(native, product, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "kind, k, stride, n",
    [
        *(("dense", 1, 1, 2), ("depthwise", 3, 1, 2), ("depthwise", 3, 2, 2)),
        *(("dense", 3, 1, 2), ("dense", 3, 1, 40)),  # few pixels and many
    ],
)
def test_forms_have_the_same_higher_derivatives(x64, kind, k, stride, n):
    """Forward over reverse, reverse over reverse, and one order more, in float64."""
    x, kernel = map(np.float64, (normal(n, 3, 2, 3), normal(k, k, *CHANNELS[kind])))

    def derivatives(form):
        convolve = getattr(form, kind)

        def gradient(x, kernel):
            return jax.grad(
                lambda *at: jnp.sum(convolve(*at, stride) ** 3), argnums=(0, 1)
            )(x, kernel)

        def along(x, kernel):
            return jax.jvp(gradient, (x, kernel), (x, kernel))[1]

        def of_length(derivative):
            return jax.grad(
                lambda *at: sum(jnp.vdot(g, g) for g in derivative(*at)), (0, 1)
            )

        every = [along, of_length(gradient), of_length(along)]
        return jax.jit(lambda *at: [derivative(*at) for derivative in every])(x, kernel)

    chex.assert_trees_all_close(derivatives(PRODUCT), derivatives(NATIVE), rtol=1e-11)


@pytest.mark.parametrize("size", [(4, 4), (5, 2), (3, 7)])
@pytest.mark.parametrize("channels, features", [(16, 17), (20, 16)])
def test_tiles_are_the_convolution(x64, size, channels, features):
    """Its value, derivatives and theirs, in float64, also where sides are odd."""
    x, k = normal(12, *size, channels), normal(3, 3, channels, features, seed=1)
    x, k = map(np.float64, (x, k))
    assert convolution._has_tiles(x, features, 3)

    def derivatives(form):
        def gradient(x, k):
            loss = lambda *at: jnp.sum(form.dense(*at, 1) ** 3)  # noqa: E731
            return jax.value_and_grad(loss, (0, 1))(x, k)

        return jax.jit(lambda *at: jax.jvp(gradient, at, at))(x, k)

    chex.assert_trees_all_close(derivatives(TILED), derivatives(NATIVE), rtol=1e-9)


def test_tiles_lose_no_digits():
    """In float32 they are as close to float64's products as those of slices are."""
    x, k = normal(4, 8, 8, 32), normal(3, 3, 32, 32, seed=1)
    rows = np.pad(np.float64(x), ((0, 0), (1, 1), (1, 1), (0, 0)))
    exact = sum(
        rows[:, i : i + 8, j : j + 8] @ np.float64(k[i, j])
        for i in range(3)
        for j in range(3)
    )
    slices, tiles = (
        np.max(np.abs(form.dense(x, k, 1) - exact)) for form in (PRODUCT, TILED)
    )
    assert tiles < 4 * slices


def test_the_backend_chooses_the_form(monkeypatch):
    """Tiles for networks of few layers."""
    for backend, form, of_few in (("cpu", PRODUCT, TILED), ("gpu", NATIVE, NATIVE)):
        monkeypatch.setattr(jax, "default_backend", lambda name=backend: name)
        assert convolution.for_backend() is form
        assert convolution.of_few_layers() is of_few


def test_products_under_vmap_and_shard_map():
    x, kernels = normal(2, 5, 4, 4, 3), normal(2, 3, 3, 3, 2)

    @jax.jit
    def gradient(x, kernel):
        loss = lambda *at: jnp.sum(PRODUCT.dense(*at, 1) ** 2)  # noqa: E731
        return jax.grad(loss, (0, 1))(x, kernel)

    single = [gradient(*at) for at in zip(x, kernels, strict=True)]
    expected = jax.tree.map(lambda *leaves: jnp.stack(leaves), *single)
    chex.assert_trees_all_close(jax.vmap(gradient)(x, kernels), expected, rtol=1e-5)
    # The kernel is the same on all devices, and so is its gradient, their sum.
    mesh = jax.make_mesh((1,), ("task",), axis_types=(jax.sharding.AxisType.Auto,))
    shared = jax.shard_map(
        gradient,
        mesh=mesh,
        in_specs=(jax.P("task"), jax.P()),
        out_specs=(jax.P("task"), jax.P()),
    )
    chex.assert_trees_all_close(shared(x[0], kernels[0]), single[0], rtol=1e-5)


@pytest.mark.parametrize("size", [(8, 8), (7, 5), (2, 3)])
@pytest.mark.parametrize(
    "pool, window, padding",
    [(convolution.max_pool, 2, (0, 0)), (convolution.max_pool3, 3, (1, 1))],
)
def test_pooling_equals_reduce_window(size, pool, window, padding):
    """Also where entries are equal: the first one gets the derivative."""

    def windows(x):
        shape, strides = (1, window, window, 1), (1, 2, 2, 1)
        around = ((0, 0), padding, padding, (0, 0))
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, shape, strides, around)

    def value_and_gradient(f):
        loss = lambda x: (jnp.sum(jnp.sin(f(x))), f(x))  # noqa: E731
        return jax.jit(jax.grad(loss, has_aux=True))(x)

    x = np.round(normal(2, *size, 3))
    (ours, value), (theirs, wanted) = map(value_and_gradient, (pool, windows))
    assert (value == wanted).all()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
