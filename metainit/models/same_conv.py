"""Convolution padded as TensorFlow's 'SAME' is, dense and depthwise, in two forms.

At stride 2 'SAME' puts the larger half of the padding after the image, and none before
it where one pixel is enough; PyTorch's explicit padding is symmetric.
"""

import functools
from typing import NamedTuple, Protocol

import jax
import jax.numpy as jnp


class Convolution(Protocol):
    """`(x [n, height, width, c], kernel, stride) -> [n, height', width', features]`.

    height' is ceil(height / stride), width' likewise.
    """

    def __call__(self, x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array: ...


class Form(NamedTuple):
    """How convolutions are computed.

    Attributes:
      dense: with kernels [k, k, c, features].
      depthwise: with kernels [k, k, c], each channel by itself, c features.
    """

    dense: Convolution
    depthwise: Convolution


def padding(length: int, k: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of `length`, for kernels of k."""
    total = max((-(-length // stride) - 1) * stride + k - length, 0)
    return total // 2, total - total // 2


def _native_dense(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return _native(x, kernel, stride, 1)


def _native_depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return _native(x, kernel[:, :, None], stride, x.shape[-1])


def _native(x: jax.Array, kernel: jax.Array, stride: int, groups: int) -> jax.Array:
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def _sliced_dense(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    patches = jnp.concatenate(_slices(x, kernel.shape[0], stride), -1)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _sliced_depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    k, _, c = kernel.shape
    if stride > 1:
        slices, taps = _slices(x, k, stride), kernel.reshape(k * k, c)
        return functools.reduce(jnp.add, map(jnp.multiply, slices, taps))
    # Rows are summed before columns: the kernel's derivative is then a sum over whole
    # rows, up to 10 times faster.
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), padding(height, k, 1), padding(width, k, 1), (0, 0)))
    rows = [x[:, i : i + height] for i in range(k)]
    columns = (
        functools.reduce(jnp.add, map(jnp.multiply, rows, kernel[:, j]))
        for j in range(k)
    )
    return functools.reduce(
        jnp.add, [part[:, :, j : j + width] for j, part in enumerate(columns)]
    )


def _slices(x: jax.Array, k: int, stride: int) -> list[jax.Array]:
    """What each of a kernel's k * k weights is multiplied with, row by row."""
    height, width = x.shape[1:3]
    rows, columns = padding(height, k, stride), padding(width, k, stride)
    x = jnp.pad(x, ((0, 0), rows, columns, (0, 0)))
    height, width = height + sum(rows) - k + 1, width + sum(columns) - k + 1
    return [
        x[:, i : i + height : stride, j : j + width : stride]
        for i in range(k)
        for j in range(k)
    ]


NATIVE = Form(_native_dense, _native_depthwise)
# Shifted slices, multiplied and added: all derivatives are of that kind too, where XLA
# for CPU is slow at the derivatives of grouped convolutions.
SLICES = Form(_sliced_dense, _sliced_depthwise)


def for_backend() -> Form:
    """The faster form on the default backend: slices on CPU, native elsewhere."""
    return SLICES if jax.default_backend() == "cpu" else NATIVE
