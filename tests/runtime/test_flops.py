"""Counts of operations against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import optax
import pytest

import metainit
from metainit.models import conv
from metainit.runtime.flops import Flops, of_function, of_program

X = jnp.ones((8, 8))
PRODUCT = 2 * 8**3


def scanned(length):
    return lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, length=length)[0]


def compiled(fn, *args):
    return jax.jit(fn).lower(*args).compile()


def test_a_matrix_product():
    assert of_function(lambda x: x @ x, X) == Flops(PRODUCT, True)
    assert of_program(compiled(lambda x: x @ x, X)) == Flops(PRODUCT, True)
    rows = jnp.ones((3, 8))
    assert of_function(lambda r, x: r @ x, rows, X).total == 2 * 3 * 8 * 8
    many = jax.vmap(jnp.matmul)
    stack = jnp.ones((5, 8, 8))
    assert of_function(many, stack, stack) == Flops(5 * PRODUCT, True)


def test_the_compiler_counts_a_loop_once_and_we_say_so():
    found = of_program(compiled(scanned(10), X))
    assert found is not None
    assert found.total == pytest.approx(PRODUCT, rel=0.01) and not found.complete
    assert of_function(scanned(10), X) == Flops(10 * PRODUCT, True)
    twice = of_function(jax.vmap(scanned(3)), jnp.ones((2, 8, 8)))
    assert twice == Flops(2 * 3 * PRODUCT, True)


def test_convolutions():
    images, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 5))
    numbers = ("NHWC", "HWIO", "NHWC")

    def conv(x, k, groups=1):
        return jax.lax.conv_general_dilated(
            x, k, (1, 1), "VALID", dimension_numbers=numbers, feature_group_count=groups
        )

    by_hand = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    assert of_function(conv, images, kernel).total == by_hand
    found = of_program(compiled(conv, images, kernel))
    assert found is not None and found.total == by_hand
    depthwise = jnp.ones((3, 3, 1, 3))
    count = of_function(lambda x, k: conv(x, k, 3), images, depthwise).total
    assert count == 2 * (2 * 4 * 4 * 3) * (3 * 3)


def test_convolutions_as_matrix_products_count_as_convolutions():
    """Also their derivatives, each a convolution of the same size again."""
    images, kernel = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 5))
    forward, back = (
        2 * (2 * 6 * 6 * 5) * (3 * 3 * 3),
        2 * (2 * 6 * 6 * 3) * (3 * 3 * 5),
    )

    def loss(images, kernel):
        return jnp.sum(conv.product(images, kernel, 1) ** 2)

    assert of_function(loss, images, kernel).total == forward
    both = of_function(jax.grad(loss, (0, 1)), images, kernel)
    assert both.total == 2 * forward + back


def test_branches_and_loops_of_unknown_length():
    def branch(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    assert of_function(branch, X) == Flops(2 * PRODUCT, True)

    def loop(x):
        return jax.lax.while_loop(lambda c: c[0, 0] < 1, lambda c: c @ c, x)

    assert of_function(loop, X) == Flops(PRODUCT, False)
    assert of_function(jax.checkpoint(lambda x: x @ x), X) == Flops(PRODUCT, True)


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
        assert of_function(adapt(steps), weights, batch).total == steps * 2 * one
