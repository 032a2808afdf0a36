"""Counts the operations of a program, by tracing alone.

XLA counts the body of a loop once. Here every pass counts, since inner steps and tasks
are loops. Only matrix products and convolutions count, which do nearly all the work.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import Jaxpr

from metainit.core.hypergradient import programs_in


def of_function(fn: Callable[..., Any], *args: Any) -> float:
    """Counts operations of matrix products and convolutions, by tracing alone.

    A multiplication and an addition are two operations. Multiplications by padding and
    by the zeros of a dilated convolution count, too. For a `cond` its largest branch
    counts. The body of a `while_loop` counts once.
    """
    return _of_jaxpr(jax.make_jaxpr(fn)(*args).jaxpr)


def _of_jaxpr(jaxpr: Jaxpr) -> float:
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        inputs: list[Any] = [value.aval for value in equation.invars]
        output: Any = equation.outvars[0].aval if equation.outvars else None
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            depth = math.prod(inputs[0].shape[axis] for axis in contracted)
            total += 2 * output.size * depth
            continue
        if name == "conv_general_dilated":
            kernel = inputs[1]
            features = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * output.size * kernel.size / features
            continue
        parts = [_of_jaxpr(inner) for inner in _programs(equation)]
        repeats = params["length"] if name == "scan" else 1
        if name == "shard_map":  # its program is that of one device
            repeats = params["mesh"].size
        is_cond = name == "cond" and parts
        total += max(parts) if is_cond else repeats * sum(parts)
    return total


def _programs(equation: Any) -> Iterator[Jaxpr]:
    """Yields the programs inside an operation, such as the body of a loop."""
    primitive, params = equation.primitive, equation.params
    yield from programs_in(params)
    if primitive.name.startswith("convolve"):  # of metainit.models.convolution
        inputs = tuple(value.aval for value in equation.invars)
        yield _of_convolution(primitive, tuple(params.items()), inputs)


@functools.cache  # the blocks of a network repeat
def _of_convolution(primitive: Any, params: tuple[Any, ...], inputs: Any) -> Jaxpr:
    shapes = (jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs)
    return jax.make_jaxpr(functools.partial(primitive.impl, **dict(params)))(
        *shapes
    ).jaxpr
