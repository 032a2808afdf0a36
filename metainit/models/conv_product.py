"""Convolution with stride 1 as one matrix product, closed under differentiation.

A convolution is linear in the image and in the kernel. Its derivative with respect to
the image is the transposed convolution with the same kernel, that with respect to the
kernel a product of patches and cotangents; both are linear in their two arguments too,
with derivatives among these three. Left to itself JAX differentiates the cutting of
patches into sums of padded slices, and XLA for CPU is slow at those, their derivatives
and the transposed products around them: a meta-step of Conv-4 took 1.5 times as long.
Hence primitives that name each other as derivatives, to any order and direction.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from metainit.core.task_batching import varying_axes


def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Convolution padded by half the kernel on every side, as in PyTorch.

    Args:
      x: [n, height, width, c].
      kernel: [k, k, c, features], k odd.

    Returns:
      [n, height, width, features].
    """
    dtype = jnp.result_type(x, kernel)
    return _bind(convolve_p, x.astype(dtype), kernel.astype(dtype), transposed=False)


def _patches(x: jax.Array, k: int) -> jax.Array:
    """[n * height * width, k * k * c]."""
    _, height, width, c = x.shape
    half = k // 2
    x = jnp.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    slices = [x[:, i : i + height, j : j + width] for i in range(k) for j in range(k)]
    return jnp.concatenate(slices, -1).reshape(-1, k * k * c)


def _convolve(x: jax.Array, kernel: jax.Array, *, transposed: bool) -> jax.Array:
    """`convolve`; transposed it takes cotangents of the output to those of x."""
    k = kernel.shape[0]
    if k == 1:
        pixels, kernel = x.reshape(-1, x.shape[-1]), kernel[0, 0]
        y = pixels @ (kernel.T if transposed else kernel)
    elif transposed:
        turned = kernel[::-1, ::-1].swapaxes(2, 3)
        y = _patches(x, k) @ turned.reshape(-1, turned.shape[-1])
    else:
        y = _patches(x, k) @ kernel.reshape(-1, kernel.shape[-1])
    return y.reshape(*x.shape[:-1], -1)


def _of_kernel(x: jax.Array, y: jax.Array, *, k: int) -> jax.Array:
    """Cotangent of the kernel where y is that of `convolve(x, kernel)`."""
    c, features = x.shape[-1], y.shape[-1]
    patches, y = _patches(x, k), y.reshape(-1, features)
    # XLA for CPU copies the left factor of a product to transpose it, or its output.
    if len(y) > k * k * c:
        return (y.T @ patches).reshape(features, k, k, c).transpose(1, 2, 3, 0)
    return (patches.T @ y).reshape(k, k, c, features)


def _bind(primitive: Primitive, *inputs: jax.Array, **params: Any) -> jax.Array:
    """Inside `jax.shard_map` the inputs must vary over the same mesh axes."""
    axes = frozenset.union(*map(varying_axes, inputs))
    missing = [tuple(axes - varying_axes(each)) for each in inputs]
    alike = [
        jax.lax.pcast(each, names, to="varying") if names else each
        for each, names in zip(inputs, missing, strict=True)
    ]
    return primitive.bind(*alike, **params)


def _primitive(name: str, function: Any, shape: Any, static: str) -> Primitive:
    """Computed by `function`; `shape` takes two shapes and parameters to the third."""
    primitive = Primitive(name)

    def batched(inputs, axes, **params):
        return jax.vmap(partial(function, **params), axes)(*inputs), 0

    primitive.def_impl(jax.jit(function, static_argnames=static))
    primitive.def_abstract_eval(
        lambda a, b, **params: a.update(shape=shape(a.shape, b.shape, **params))
    )
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


convolve_p = _primitive(
    "convolve",
    _convolve,
    lambda x, kernel, transposed: (*x[:-1], kernel[2 if transposed else 3]),
    "transposed",
)
of_kernel_p = _primitive(
    "convolve_of_kernel", _of_kernel, lambda x, y, k: (k, k, x[-1], y[-1]), "k"
)


def _x_cotangent(ct, x, kernel, *, transposed):
    return _bind(convolve_p, ct, kernel, transposed=not transposed)


def _kernel_cotangent(ct, x, kernel, *, transposed):
    x, y = (ct, x) if transposed else (x, ct)
    return _bind(of_kernel_p, x, y, k=kernel.aval.shape[0])


ad.defbilinear(convolve_p, _x_cotangent, _kernel_cotangent)
ad.defbilinear(
    of_kernel_p,
    lambda ct, x, y, *, k: _bind(convolve_p, y, ct, transposed=True),
    lambda ct, x, y, *, k: _bind(convolve_p, x, ct, transposed=False),
)
