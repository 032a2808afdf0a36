"""Convolution in two interchangeable forms, and pooling that XLA runs well."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from metainit.models import conv_product

Conv = Callable[[jax.Array, jax.Array, int], jax.Array]


def native(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`lax.conv`, padded as in PyTorch by half the kernel on every side.

    'SAME' differs from that at stride 2.

    Args:
      x: [n, height, width, c].
      kernel: [k, k, c, features], k odd.
      stride: of both axes.

    Returns:
      [n, ceil(height / stride), ceil(width / stride), features].
    """
    half = kernel.shape[0] // 2
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((half, half), (half, half)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def product(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The same as `native`, as shifted slices and one matrix product.

    Its derivatives are slices and matrix products too: XLA for CPU does not optimise
    convolutions inside loops, and `vmap` over kernels makes this a batched product,
    where a convolution becomes a grouped one.
    """
    if stride == 1:
        return conv_product.convolve(x, kernel)
    height, width, c = x.shape[1:]
    k, half = kernel.shape[0], kernel.shape[0] // 2
    x = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    if k <= 3:
        patches = [
            x[:, i : i + height : stride, j : j + width : stride]
            for i in range(k)
            for j in range(k)
        ]
        return pointwise(jnp.concatenate(patches, -1), kernel.reshape(k * k * c, -1), 1)
    # Rows first, then columns of those: 2k slices compile sooner than k * k, but of
    # 3x3 kernels they make meta-steps 1.5 times slower.
    x = jnp.concatenate([x[:, i : i + height : stride] for i in range(k)], -1)
    x = jnp.concatenate([x[:, :, j : j + width : stride] for j in range(k)], -1)
    return pointwise(x, kernel.transpose(1, 0, 2, 3).reshape(k * k * c, -1), 1)


def pointwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """1x1 convolution, a matrix product on every backend.

    Args:
      x: [n, height, width, c].
      kernel: [c, features].
      stride: of both axes.

    Returns:
      [n, ceil(height / stride), ceil(width / stride), features].
    """
    return conv_product.convolve(x[:, ::stride, ::stride], kernel[None, None])


def for_backend() -> Conv:
    """The faster form on the default backend: product on CPU, native elsewhere."""
    return product if jax.default_backend() == "cpu" else native


def max_pool(x: jax.Array) -> jax.Array:
    """2x2 max-pooling with stride 2; an odd last row or column is dropped.

    As reshape and selection: `reduce_window` has a slow second derivative on CPU. And
    the derivative of `max` looks for entries equal to the maximum, which a compiler
    that computes them again need not find: 0 / 0. Among equals the first is chosen.

    Args:
      x: [n, height, width, c].

    Returns:
      [n, height // 2, width // 2, c].
    """
    n, height, width, c = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    x = x.reshape(n, height // 2, 2, width // 2, 2, c)
    x = _larger(x[..., 0, :], x[..., 1, :])
    return _larger(x[:, :, 0], x[:, :, 1])


def max_pool3(x: jax.Array) -> jax.Array:
    """3x3 max-pooling with stride 2, padded by 1 as in PyTorch; see `max_pool`.

    Args:
      x: [n, height, width, c].

    Returns:
      [n, ceil(height / 2), ceil(width / 2), c].
    """
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    across = [x[:, :, j : j + width : 2] for j in range(3)]
    x = functools.reduce(_larger, across)
    return functools.reduce(_larger, [x[:, i : i + height : 2] for i in range(3)])


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(a >= b, a, b)
