"""Counts of operations against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import pytest

from metainit.models import convolution
from metainit.runtime.budget import compile_step
from metainit.runtime.flops import of_function

X = jnp.ones((8, 8))
PRODUCT = 2 * 8**3


def scanned(length):
    return lambda x: jax.lax.scan(lambda c, _: (c @ x, None), x, length=length)[0]


def test_matrix_products_in_branches_and_loops_of_unknown_length():
    rows, stack = jnp.ones((3, 8)), jnp.ones((5, 8, 8))

    def branch(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x @ x, lambda x: x @ x, x)

    def loop(x):
        return jax.lax.while_loop(lambda c: c[0, 0] < 1, lambda c: c @ c, x)

    for count, function, inputs in (
        (PRODUCT, jnp.matmul, (X, X)),
        (2 * 3 * 8 * 8, jnp.matmul, (rows, X)),
        (5 * PRODUCT, jax.vmap(jnp.matmul), (stack, stack)),
        (2 * PRODUCT, branch, (X,)),
        (PRODUCT, loop, (X,)),
        (PRODUCT, jax.checkpoint(lambda x: x @ x), (X,)),
    ):
        assert of_function(function, *inputs) == count


def test_a_loop_counts_in_full_where_the_compiler_counts_it_once():
    by_compiler = compile_step(scanned(10), X).flops
    assert by_compiler == pytest.approx(PRODUCT, rel=0.01)
    assert of_function(scanned(10), X) == 10 * PRODUCT
    twice = of_function(jax.vmap(scanned(3)), jnp.ones((2, 8, 8)))
    assert twice == 2 * 3 * PRODUCT


IMAGES, KERNEL = jnp.ones((2, 6, 6, 3)), jnp.ones((3, 3, 3, 5))


def test_convolutions():
    numbers = ("NHWC", "HWIO", "NHWC")

    def conv(x, k, groups=1):
        return jax.lax.conv_general_dilated(
            x, k, (1, 1), "VALID", dimension_numbers=numbers, feature_group_count=groups
        )

    by_hand = 2 * (2 * 4 * 4 * 5) * (3 * 3 * 3)
    assert of_function(conv, IMAGES, KERNEL) == by_hand
    assert compile_step(conv, IMAGES, KERNEL).flops == by_hand
    count = of_function(lambda x, k: conv(x, k, 3), IMAGES, jnp.ones((3, 3, 1, 3)))
    assert count == 2 * (2 * 4 * 4 * 3) * (3 * 3)


def test_convolutions_as_matrix_products_count_as_convolutions():
    """Also their derivatives, each a convolution of the same size again."""
    forward = 2 * (2 * 6 * 6 * 5) * (3 * 3 * 3)
    back = 2 * (2 * 6 * 6 * 3) * (3 * 3 * 5)

    def loss(images, kernel):
        return jnp.sum(convolution.PRODUCT.dense(images, kernel, 1) ** 2)

    assert of_function(loss, IMAGES, KERNEL) == forward
    both = of_function(jax.grad(loss, (0, 1)), IMAGES, KERNEL)
    assert both == 2 * forward + back
