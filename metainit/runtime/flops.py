"""Floating-point operations of a program, by the compiler's count and by our own.

XLA counts the body of a loop once, however often it runs: inner steps and tasks are
loops, so the compiler's number for a meta-iteration is far too small. `of_program` says
where that is so; `of_function` counts matrix products and convolutions, which is nearly
all there is, loops in full.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.extend import core

from metainit.core.hypergradient import programs_in


class Flops(NamedTuple):
    """Operations of one call; a multiplication and an addition are two.

    Attributes:
      total: of them.
      complete: False where some were counted once that run more often.
    """

    total: float
    complete: bool


def of_program(compiled: Any) -> Flops | None:
    """The compiler's count (`cost_analysis`), or None where it has none.

    Args:
      compiled: `jax.jit(f).lower(*args).compile()`.
    """
    analysis = compiled.cost_analysis()
    if isinstance(analysis, list):  # of the first device, in some versions
        analysis = analysis[0] if analysis else None
    if not analysis or "flops" not in analysis:
        return None
    return Flops(float(analysis["flops"]), " while(" not in compiled.as_text())


def of_function(fn: Callable[..., Any], *args: Any) -> Flops:
    """Our count of matrix products and convolutions, without running anything.

    Multiplications by padding and by the zeros of a dilated convolution count. Of the
    branches of a `cond` the largest counts; a `while_loop`'s body counts once, and the
    result is not complete then.

    Args:
      fn: a function that JAX can trace.
      args: arrays or `jax.ShapeDtypeStruct`s.
    """
    return _of_jaxpr(jax.make_jaxpr(fn)(*args).jaxpr)


def _of_jaxpr(jaxpr: core.Jaxpr) -> Flops:
    total, complete = 0.0, True
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        inputs: list[Any] = [value.aval for value in equation.invars]
        if name == "dot_general":
            output: Any = equation.outvars[0].aval
            (contracted, _), _ = params["dimension_numbers"]
            depth = math.prod(inputs[0].shape[axis] for axis in contracted)
            total += 2 * output.size * depth
            continue
        if name == "conv_general_dilated":
            output, kernel = equation.outvars[0].aval, inputs[1]
            features = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * output.size * kernel.size / features
            continue
        if name.startswith("convolve"):  # of metainit.models.conv_product
            product = partial(equation.primitive.impl, **params)
            params = {"product": jax.make_jaxpr(product)(*inputs)}
        inner = [_of_jaxpr(each) for each in programs_in(params)]
        if not inner:
            continue
        of_inner = sum(each.total for each in inner)
        if name == "scan":
            of_inner *= params["length"]
        elif name == "cond":
            of_inner = max(each.total for each in inner)
        elif name == "while":
            complete = complete and not of_inner
        total += of_inner
        complete = complete and all(each.complete for each in inner)
    return Flops(total, complete)
