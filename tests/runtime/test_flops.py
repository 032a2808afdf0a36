"""Counts of operations against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import optax
import pytest

import metainit
from metainit.models import convolution
from metainit.runtime.budget import compile_step
from metainit.runtime.flops import of_function

X = jnp.ones((8, 8))
PRODUCT = 2 * 8**3


def scanned(length):
    return lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, length=length)[0]


def test_a_matrix_product():
    assert of_function(lambda x: x @ x, X) == PRODUCT
    rows = jnp.ones((3, 8))
    assert of_function(lambda r, x: r @ x, rows, X) == 2 * 3 * 8 * 8
    many = jax.vmap(jnp.matmul)
    stack = jnp.ones((5, 8, 8))
    assert of_function(many, stack, stack) == 5 * PRODUCT


def test_a_loop_counts_in_full_where_the_compiler_counts_it_once():
    by_compiler = compile_step(scanned(10), X).flops
    assert by_compiler == pytest.approx(PRODUCT, rel=0.01)
    assert of_function(scanned(10), X) == 10 * PRODUCT
    twice = of_function(jax.vmap(scanned(3)), jnp.ones((2, 8, 8)))
    assert twice == 2 * 3 * PRODUCT


def test_convolutions():
    images, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 5))
    numbers = ("NHWC", "HWIO", "NHWC")

    def conv(x, k, groups=1):
        return jax.lax.conv_general_dilated(
            x, k, (1, 1), "VALID", dimension_numbers=numbers, feature_group_count=groups
        )

    by_hand = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    assert of_function(conv, images, kernel) == by_hand
    assert compile_step(conv, images, kernel).flops == by_hand
    depthwise = jnp.ones((3, 3, 1, 3))
    count = of_function(lambda x, k: conv(x, k, 3), images, depthwise)
    assert count == 2 * (2 * 4 * 4 * 3) * (3 * 3)


def test_convolutions_as_matrix_products_count_as_convolutions():
    """Also their derivatives, each a convolution of the same size again."""
    images, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 5))
    forward, back = (
        2 * (2 * 6 * 6 * 5) * (3 * 3 * 3),
        2 * (2 * 6 * 6 * 3) * (3 * 3 * 5),
    )

    def loss(images, kernel):
        return jnp.sum(convolution.PRODUCT.dense(images, kernel, 1) ** 2)

    assert of_function(loss, images, kernel) == forward
    both = of_function(jax.grad(loss, (0, 1)), images, kernel)
    assert both == 2 * forward + back


def test_branches_and_loops_of_unknown_length():
    def branch(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert of_function(branch, X) == 2 * PRODUCT

    def loop(x):
        return jax.lax.while_loop(lambda c: c[0, 0] < 1, lambda c: c @ c, x)

    assert of_function(loop, X) == PRODUCT
    assert of_function(jax.checkpoint(lambda x: x @ x), X) == PRODUCT


def test_an_inner_loop_costs_its_steps():
    """A linear model: forward once and one product for its gradient, each step."""

    def loss(params, batch, key):
        return jnp.mean(jnp.square(batch @ params)), {}

    def adapt(steps):
        loop = metainit.InnerLoop(loss, optax.sgd(0.1), steps)
        return lambda w, x: metainit.adapt(loop, w, x, jax.random.key(0))[0]

    weights, batch = jnp.ones((8, 2)), jnp.ones((16, 8))
    one = 2 * 16 * 8 * 2
    for steps in (1, 5):
        assert of_function(adapt(steps), weights, batch) == steps * 2 * one
