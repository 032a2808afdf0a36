"""Convolution in two interchangeable forms, and pooling that XLA runs well.

The product form and its derivatives are matrix products of shifted slices, or of tiles.
XLA for CPU is slow at convolutions in loops, and at grouped convolutions, which `vmap`
over kernels makes.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from metainit.core.inner_loop import vary
from metainit.core.task_batching import varying_axes

# `(x [n, height, width, c], kernel, stride) -> [n, height', width', features]`, where
# height' is ceil(height / stride), and width' likewise.
Convolution = Callable[[jax.Array, jax.Array, int], jax.Array]


class Form(NamedTuple):
    """The functions that compute convolutions in one form."""

    # It takes kernels [k, k, c, features], k odd, and pads every side by k // 2, as
    # PyTorch does.
    dense: Convolution
    # It takes the same kernels, and pads as TensorFlow does, more after the image.
    same: Convolution
    # It takes kernels [k, k, c], one for each channel, and pads as `same` does.
    depthwise: Convolution


def pointwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """Convolves 1x1 with kernels [c, features], by a matrix product on any backend."""
    return _convolve_once(x[:, ::stride, ::stride], kernel[None, None])


def _product_dense(
    x: jax.Array, kernel: jax.Array, stride: int, tiled: bool = False
) -> jax.Array:
    if stride == 1:
        return _convolve_once(x, kernel, tiled)
    height, width, c = x.shape[1:]
    k = kernel.shape[0]
    if k <= 3:
        patches = jnp.concatenate(_slices(x, k, stride, _symmetric(k)), -1)
        return pointwise(patches, kernel.reshape(k * k * c, -1), 1)
    # Rows are cut first, then columns from them. These 2k slices compile faster than
    # k * k slices. With 3x3 kernels they would make meta-steps 1.5 times slower.
    x = _padded(x, _symmetric(k))
    x = jnp.concatenate([x[:, i : i + height : stride] for i in range(k)], -1)
    x = jnp.concatenate([x[:, :, j : j + width : stride] for j in range(k)], -1)
    return pointwise(x, kernel.transpose(1, 0, 2, 3).reshape(k * k * c, -1), 1)


def _product_same(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    k = kernel.shape[0]
    patches = jnp.concatenate(_slices(x, k, stride, _same_padding(x, k, stride)), -1)
    return patches @ kernel.reshape(-1, kernel.shape[-1])


def _product_depthwise(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    k, _, c = kernel.shape
    padding = _same_padding(x, k, stride)
    if stride > 1:
        slices, taps = _slices(x, k, stride, padding), kernel.reshape(k * k, c)
        return reduce(jnp.add, map(jnp.multiply, slices, taps))
    # Rows are summed before columns. The kernel's derivative is then a sum over whole
    # rows, which is up to 10 times faster.
    height, width = x.shape[1:3]
    x = _padded(x, padding)
    rows = [x[:, i : i + height] for i in range(k)]
    columns = (reduce(jnp.add, map(jnp.multiply, rows, kernel[:, j])) for j in range(k))
    return reduce(jnp.add, (x[:, :, j : j + width] for j, x in enumerate(columns)))


_native = partial(
    jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC")
)
NATIVE = Form(
    lambda x, k, stride: _native(x, k, 2 * (stride,), _symmetric(len(k))),
    lambda x, k, stride: _native(x, k, 2 * (stride,), "SAME"),
    lambda x, k, stride: _native(
        x, k[:, :, None], 2 * (stride,), "SAME", feature_group_count=x.shape[-1]
    ),
)
PRODUCT = Form(_product_dense, _product_same, _product_depthwise)
# Its 3x3 convolutions of stride 1 are products of tiles where `_has_tiles`.
TILED = PRODUCT._replace(dense=partial(_product_dense, tiled=True))


def for_backend() -> Form:
    """Gives the faster form on the backend: product on CPU, native elsewhere."""
    return PRODUCT if jax.default_backend() == "cpu" else NATIVE


def of_few_layers() -> Form:
    """Gives the faster form for a network of few layers, which has tiles on CPU.

    Tiles take longer to compile. The numbers are processor seconds on two cores of an
    AMD EPYC with AVX-512, for slices and tiles. Conv-4 (workload A of
    `python -m benchmarks`) takes 2.43 and 1.90 for a meta-step, and 13 and 18 to
    compile. ResNet-50 (D) takes 19.3 and 19.4, and twice as long to compile.
    """
    form = for_backend()
    return TILED if form is PRODUCT else form


# With at most so many pixels for each feature, one product for each of a kernel's taps
# costs less than transposing the kernel. A first-order step of ResNet-50 (D) then takes
# 5.6 processor seconds on busy cores of an AMD EPYC. It takes 5.9 where 3x3 kernels are
# transposed, and 6.2 where all are. Other bounds were not tried.
_FEW_PIXELS = 4
# Zeros before and after the rows, and before and after the columns.
Padding = tuple[tuple[int, int], tuple[int, int]]


def _symmetric(k: int) -> Padding:
    return ((k // 2, k // 2), (k // 2, k // 2))


def _same_padding(x: jax.Array, k: int, stride: int) -> Padding:
    """Computes the padding 'SAME' of x [n, height, width, c] for kernels of side k."""
    totals = (max((-(-n // stride) - 1) * stride + k - n, 0) for n in x.shape[1:3])
    rows, columns = ((total // 2, total - total // 2) for total in totals)
    return rows, columns


def _padded(x: jax.Array, padding: Padding) -> jax.Array:
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def _slices(x: jax.Array, k: int, stride: int, padding: Padding) -> list[jax.Array]:
    """Cuts out what each of a kernel's k * k weights multiplies, row by row."""
    x = _padded(x, padding)
    height, width = x.shape[1] - k + 1, x.shape[2] - k + 1
    return [
        x[:, i : i + height : stride, j : j + width : stride]
        for i in range(k)
        for j in range(k)
    ]


def _patches(x: jax.Array, k: int) -> jax.Array:
    """Cuts x into the patches [n * height * width, k * k * c] around each pixel."""
    slices = _slices(x, k, 1, _symmetric(k))
    return jnp.concatenate(slices, -1).reshape(-1, k * k * x.shape[-1])


def _convolve_once(x: jax.Array, kernel: jax.Array, tiled: bool = False) -> jax.Array:
    """Computes `Form.dense` with stride 1, by one matrix product or by tiles."""
    dtype = jnp.result_type(x, kernel)
    x, kernel = x.astype(dtype), kernel.astype(dtype)
    return _bind(convolve_p, x, kernel, transposed=False, tiled=tiled)


def _convolve(
    x: jax.Array, kernel: jax.Array, *, transposed: bool, tiled: bool
) -> jax.Array:
    """Convolves x; with `transposed`, turns output cotangents into the input's."""
    if transposed:
        k, _, c, features = kernel.shape
        few = math.prod(x.shape[:3]) <= _FEW_PIXELS * features
        if k == 1 or (few and not tiled):
            return _transposed_by_taps(x, kernel)
        kernel = kernel[::-1, ::-1].swapaxes(2, 3)
    k, _, c, features = kernel.shape
    if k == 1:
        y = x.reshape(-1, c) @ kernel[0, 0]
    elif tiled and _has_tiles(x, features, k):
        return _convolve_tiles(x, kernel)
    else:
        y = _patches(x, k) @ kernel.reshape(-1, features)
    return y.reshape(*x.shape[:-1], features)


def _transposed_by_taps(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Turns the output's cotangents [n, height, width, features] into the input's."""
    k, _, c, features = kernel.shape
    taps = kernel[::-1, ::-1].reshape(k * k, c, features)
    slices = _slices(x, k, 1, _symmetric(k))
    # Contracting a kernel's last axis avoids a transpose. XLA for CPU transposes by
    # strides, which took a sixth of a first-order step of ResNet-50 (D).
    last = ((3,), (1,)), ((), ())
    products = map(partial(jax.lax.dot_general, dimension_numbers=last), slices, taps)
    return reduce(jnp.add, products)


def _of_kernel(x: jax.Array, y: jax.Array, *, k: int, tiled: bool) -> jax.Array:
    """Computes the kernel's cotangent from the input x and the output's cotangent y."""
    c, features = x.shape[-1], y.shape[-1]
    if tiled and _has_tiles(x, features, k):
        return _of_kernel_tiles(x, y)
    patches, y = _patches(x, k), y.reshape(-1, features)
    # XLA for CPU makes a copy to transpose a product's left factor, or its output.
    if len(y) > k * k * c:
        return (y.T @ patches).reshape(features, k, k, c).transpose(1, 2, 3, 0)
    return (patches.T @ y).reshape(k, k, c, features)


def _has_tiles(x: jax.Array, features: int, k: int) -> bool:
    """Tells whether tiles are faster than patches, on processors that were measured.

    Processor milliseconds by patches and by tiles, on two cores of an AMD EPYC with
    AVX-512, for so many images, a side, and channels in and out:

      25, 16, 64: 4.2 and 1.5 forward; 4.8 and 2.4 for the kernel's cotangent
      25, 42, 64: 38 and 17; 44 and 22
      32, 8, 128: 4.7 and 1.6; 3.9 and 1.7
      32, 2, 512: 3.1 and 4.5

    Every step transforms the kernels anew, so that there must be more pixels than
    channels. With few channels the products are too small. Tiles lose digits of
    bfloat16.
    """
    fewest, most = sorted((x.shape[-1], features))
    pixels, precise = math.prod(x.shape[:3]), jnp.finfo(x.dtype).bits >= 32
    return k == 3 and fewest >= 16 and pixels >= 4 * most and precise


# Tiles are Winograd's minimal filtering F(2x2, 3x3) (Lavin & Gray 2016,
# arXiv:1509.09308): 2x2 outputs need 16 products instead of 36. A transform takes the
# four values along an axis, or a kernel's three. `_both` applies it along both axes.
Values = Sequence[jax.Array]
Transform = Callable[[Values], Values]


def _image_transform(d: Values) -> Values:
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]


def _kernel_transform(g: Values) -> Values:
    half = (g[0] + g[2]) / 2
    return g[0], half + g[1] / 2, half - g[1] / 2, g[2]


def _output_transform(m: Values) -> Values:
    return m[0] + m[1] + m[2], m[1] - m[2] - m[3]


def _output_cotangent(y: Values) -> Values:
    return y[0], y[0] + y[1], y[0] - y[1], -y[1]


def _kernel_cotangent_of(u: Values) -> Values:
    half = (u[1] + u[2]) / 2
    return u[0] + half, (u[1] - u[2]) / 2, half + u[3]


def _both(transform: Transform, grid: Sequence[Values]) -> list[Values]:
    columns = map(transform, zip(*grid, strict=True))
    return [transform(row) for row in zip(*columns, strict=True)]


def _halves(x: jax.Array, before: int, after: int) -> jax.Array:
    """Pads x and cuts it into 2x2 pixels: [n, height', 2, width', 2, c].

    Without a barrier XLA would compute x anew for each of the 16 sums that use it.
    """
    n, height, width, c = x.shape
    x = jax.lax.optimization_barrier(x)
    rows, columns = ((before, after + size % 2) for size in (height, width))
    x = _padded(x, (rows, columns))
    return x.reshape(n, x.shape[1] // 2, 2, x.shape[2] // 2, 2, c)


def _tiles(x: jax.Array) -> list[Values]:
    """Transforms the 4x4 pixels around every 2x2 into 4 by 4 arrays [pixels / 4, c]."""
    x = _halves(x, 1, 1)
    rows, columns = x.shape[1] - 1, x.shape[3] - 1

    def pixel(i, j):
        part = x[:, i // 2 :, i % 2, j // 2 :, j % 2]
        return part[:, :rows, :columns].reshape(-1, x.shape[-1])

    grid = [[pixel(i, j) for j in range(4)] for i in range(4)]
    return _both(_image_transform, grid)


def _convolve_tiles(x: jax.Array, kernel: jax.Array) -> jax.Array:
    n, height, width, _ = x.shape
    rows, columns = -(-height // 2), -(-width // 2)
    kernels = _both(_kernel_transform, [list(row) for row in kernel])
    products = [
        [
            (tile @ k).reshape(n, rows, columns, -1)
            for tile, k in zip(*pair, strict=True)
        ]
        for pair in zip(_tiles(x), kernels, strict=True)
    ]
    pairs = [jnp.stack(row, 3) for row in _both(_output_transform, products)]
    y = jnp.stack(pairs, 2).reshape(n, 2 * rows, 2 * columns, -1)
    return y[:, :height, :width]


def _of_kernel_tiles(x: jax.Array, y: jax.Array) -> jax.Array:
    y = _halves(y, 0, 0)
    grid = [[y[:, :, i, :, j].reshape(-1, y.shape[-1]) for j in (0, 1)] for i in (0, 1)]
    cotangents = _both(_output_cotangent, grid)
    products = [
        [tile.T @ y for tile, y in zip(*pair, strict=True)]
        for pair in zip(_tiles(x), cotangents, strict=True)
    ]
    return jnp.stack([jnp.stack(row) for row in _both(_kernel_cotangent_of, products)])


def _bind(primitive: Primitive, *inputs: jax.Array, **params: Any) -> jax.Array:
    """Binds inputs, after making them vary over the same axes of `jax.shard_map`."""
    axes = frozenset.union(*map(varying_axes, inputs))
    return primitive.bind(*vary(inputs, axes), **params)


def _primitive(name: str, function: Any, shape: Any, *static: str) -> Primitive:
    """Makes a primitive of two arrays; `shape` computes its output's shape from theirs.

    JAX would differentiate the cutting of patches into sums of padded slices. With
    those a meta-step of Conv-4 took 1.5 times as long. So two primitives here are each
    other's derivatives, to any order and in both modes.
    """
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
    lambda x, kernel, transposed, **_: (*x[:-1], kernel[2 if transposed else 3]),
    "transposed",
    "tiled",
)
of_kernel_p = _primitive(
    "convolve_of_kernel",
    _of_kernel,
    lambda x, y, k, **_: (k, k, x[-1], y[-1]),
    "k",
    "tiled",
)


def _x_cotangent(ct, x, kernel, *, transposed, tiled):
    return _bind(convolve_p, ct, kernel, transposed=not transposed, tiled=tiled)


def _kernel_cotangent(ct, x, kernel, *, transposed, tiled):
    x, y = (ct, x) if transposed else (x, ct)
    return _bind(of_kernel_p, x, y, k=kernel.aval.shape[0], tiled=tiled)


ad.defbilinear(convolve_p, _x_cotangent, _kernel_cotangent)
ad.defbilinear(
    of_kernel_p,
    lambda ct, x, y, *, k, **way: _bind(convolve_p, y, ct, transposed=True, **way),
    lambda ct, x, y, *, k, **way: _bind(convolve_p, x, ct, transposed=False, **way),
)


def max_pool(x: jax.Array) -> jax.Array:
    """Computes 2x2 maxima, [n, height // 2, width // 2, c] of [n, height, width, c].

    `reduce_window` has a slow second derivative on CPU. That of `max` looks for entries
    equal to the maximum. A compiler may compute that anew and find none: 0 / 0.
    """
    n, height, width, c = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    x = x.reshape(n, height // 2, 2, width // 2, 2, c)
    x = _larger(x[..., 0, :], x[..., 1, :])
    return _larger(x[:, :, 0], x[:, :, 1])


def max_pool3(x: jax.Array) -> jax.Array:
    """Computes 3x3 maxima, stride 2, padded by 1 as in PyTorch: ceil(height / 2)."""
    height, width = x.shape[1:3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-jnp.inf)
    x = reduce(_larger, [x[:, :, j : j + width : 2] for j in range(3)])
    return reduce(_larger, [x[:, i : i + height : 2] for i in range(3)])


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where(a >= b, a, b)
