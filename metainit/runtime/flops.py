"""What a program takes, told from its operations alone: nothing is compiled.

XLA counts the body of a loop once; inner steps and tasks are loops, which count in full
here. Counted are matrix products and convolutions, which is nearly all there is.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import Jaxpr, Literal

from metainit.core.hypergradient import programs_in


def of_function(
    fn: Callable[..., Any], *args: Any, of_branches: Callable[..., float] = max
) -> float:
    """Counts operations of matrix products and convolutions, by tracing alone.

    A multiplication and an addition are two. Multiplications by padding and by the
    zeros of a dilated convolution count. Of the branches of a `cond` the largest
    counts, or what `of_branches` makes of them; a `while_loop`'s body counts once.
    """
    return _of_jaxpr(jax.make_jaxpr(fn)(*args).jaxpr, of_branches)


def equations(fn: Callable[..., Any], *args: Any) -> int:
    """Counts what the compiler has to compile: a loop's body once, all branches."""
    return _equations(jax.make_jaxpr(fn)(*args).jaxpr)


def bytes_needed(fn: Callable[..., Any], *args: Any) -> int:
    """Estimates the memory of temporaries and outputs.

    It is what lives at once where operations run in the order in which they were
    traced and nothing is fused, but for what is computed element by element, of which
    the compiler keeps one array of several.
    """
    return _peak(jax.make_jaxpr(fn)(*args).jaxpr)


def _of_jaxpr(jaxpr: Jaxpr, of_branches: Callable[..., float]) -> float:
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
        parts = [_of_jaxpr(inner, of_branches) for inner in _programs(equation)]
        repeats = params["length"] if name == "scan" else 1
        if name == "shard_map":  # what one device does
            repeats = params["mesh"].size
        is_cond = name == "cond" and parts
        total += of_branches(parts) if is_cond else repeats * sum(parts)
    return total


def _equations(jaxpr: Jaxpr) -> int:
    parts = (part for equation in jaxpr.eqns for part in _programs(equation))
    return len(jaxpr.eqns) + sum(map(_equations, parts))


def _peak(jaxpr: Jaxpr) -> int:
    """Bytes that live at once inside a program, its inputs not counted."""
    last_use = {
        variable: number
        for number, equation in enumerate(jaxpr.eqns)
        for variable in equation.invars
        if not isinstance(variable, Literal)
    }
    kept = {variable for variable in jaxpr.outvars if not isinstance(variable, Literal)}
    alive, peak = 0, 0
    made: set[Any] = set()
    for number, equation in enumerate(jaxpr.eqns):
        out = sum(map(_bytes, equation.outvars))
        inner = max((_peak(part) for part in _programs(equation)), default=0)
        peak = max(peak, alive + max(out, inner))
        made |= set(equation.outvars)
        alive += out
        for variable in {x for x in equation.invars if not isinstance(x, Literal)}:
            is_dead = last_use[variable] == number and variable not in kept
            alive -= _bytes(variable) if is_dead and variable in made else 0
        unused = (x for x in equation.outvars if x not in last_use and x not in kept)
        alive -= sum(map(_bytes, unused))
    return peak


def _bytes(variable: Any) -> int:
    aval = variable.aval
    return aval.size * aval.dtype.itemsize if hasattr(aval, "shape") else 0


def _programs(equation: Any) -> Iterator[Jaxpr]:
    """The programs inside an operation, such as the body of a loop."""
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
