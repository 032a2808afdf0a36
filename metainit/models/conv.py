"""3x3 convolution in two interchangeable forms, and pooling that XLA runs well."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

Conv = Callable[[jax.Array, jax.Array, int], jax.Array]


def native(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`lax.conv`, padded by 1 on every side as in PyTorch ('SAME' differs at stride 2).

    Args:
      x: [n, height, width, c].
      kernel: [3, 3, c, features].
      stride: of both axes.

    Returns:
      [n, ceil(height / stride), ceil(width / stride), features].
    """
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def product(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The same as `native`, as nine shifted slices and one matrix product.

    All its derivatives are slices and matrix products too: XLA for CPU does not
    optimise convolutions inside loops, and `vmap` over kernels makes this a batched
    product, where a convolution becomes a grouped one.
    """
    height, width, c = x.shape[1:]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    patches = [
        x[:, i : i + height : stride, j : j + width : stride]
        for i in range(3)
        for j in range(3)
    ]
    return jnp.concatenate(patches, -1) @ kernel.reshape(9 * c, -1)


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


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(a >= b, a, b)
