"""Three ways to take the inner gradient, which differ in what the outer gradient costs.

A mode makes of a loss `inner_gradient(adapted, rest, batch, key) -> (gradients, loss,
metrics)` for the leaves in `adapted`; loss and metrics carry no gradient.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr

from metainit.core.masks import merge, split
from metainit.core.types import Batch, Key, LossFn, Params

InnerGradient = Callable[[Params, Params, Batch, Key], tuple[Any, jax.Array, Any]]
GradientMode = Callable[[LossFn], InnerGradient]


def reverse(loss_fn: LossFn) -> InnerGradient:
    """Plain reverse mode: the outer gradient keeps every step's activations."""

    def inner_gradient(adapted, rest, batch, key):
        def loss(adapted):
            return loss_fn(merge(adapted, rest), batch, key)

        (value, metrics), grads = jax.value_and_grad(loss, has_aux=True)(adapted)
        return grads, *jax.lax.stop_gradient((value, metrics))

    return inner_gradient


def first_order(loss_fn: LossFn) -> InnerGradient:
    """Inner gradients are constants of the outer gradient (FOMAML, arXiv:1703.03400).

    `start` and `prepare` stay differentiated.
    """
    plain = reverse(loss_fn)

    def inner_gradient(adapted, rest, batch, key):
        return jax.lax.stop_gradient(plain(adapted, rest, batch, key))

    return inner_gradient


def mixed(loss_fn: LossFn) -> InnerGradient:
    """Exact second order without stored activations (MixFlow-MG, arXiv:2505.00793).

    The Hessian is symmetric, so the outer gradient's product with it is one forward
    derivative of the gradient along the cotangent. Only (parameters, batch, key) are
    kept for the backward pass; the inner backward pass is computed again there. The
    derivative of the same gradient with respect to the other float leaves and the
    batch's float leaves gives their cotangents.
    """
    plain = reverse(loss_fn)

    @jax.custom_vjp
    def inner_gradient(adapted, rest, batch, key):
        return plain(adapted, rest, batch, key)

    def forward(*inputs):
        return inner_gradient(*inputs), inputs

    def backward(inputs, cotangents):
        adapted, rest, batch, key = inputs
        direction, _, _ = cotangents  # loss and metrics are detached
        floats, others = split((rest, batch), None, "batch")

        def gradients(adapted):
            def loss(adapted, floats):
                rest, batch = merge(floats, others)
                return loss_fn(merge(adapted, rest), batch, key)[0]

            return jax.grad(loss, argnums=(0, 1))(adapted, floats)

        @jax.jit  # traced once, for the check and for use
        def product(direction):
            return jax.jvp(gradients, (adapted,), (direction,))[1]

        # JAX refuses such a loss too, but names no way out, and so late (while it
        # lowers the caller's whole program) that its error cannot be caught here.
        if "custom_lin" in _primitives(product.trace(direction).jaxpr.jaxpr):
            raise TypeError(
                "the loss uses a function with its own custom_vjp, which cannot be "
                'differentiated forward; use gradient="reverse"'
            )
        of_adapted, of_floats = product(direction)
        no_gradient = jax.tree.map(
            lambda x: np.zeros(np.shape(x), jax.dtypes.float0), (others, key)
        )
        of_rest, of_batch = merge(of_floats, no_gradient[0])
        return of_adapted, of_rest, of_batch, no_gradient[1]

    inner_gradient.defvjp(forward, backward)
    return inner_gradient


def _primitives(jaxpr: Jaxpr) -> set[str]:
    """Names of the operations of a program and of all programs inside it."""
    names = {equation.primitive.name for equation in jaxpr.eqns}
    return names.union(
        *(_primitives(p) for eq in jaxpr.eqns for p in programs_in(eq.params))
    )


def programs_in(params: Mapping[str, Any]) -> Iterator[Jaxpr]:
    """The jaxprs among an equation's parameters, such as the body of a loop."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            item = getattr(item, "jaxpr", item)  # of a closed one
            if isinstance(item, Jaxpr):
                yield item


MODES: dict[str, GradientMode] = {
    "mixed": mixed,
    "reverse": reverse,
    "first_order": first_order,
}


def gradient_mode(gradient: str | GradientMode) -> GradientMode:
    """The mode behind a name; a callable is returned as it is.

    Raises:
      ValueError: for an unknown name.
    """
    if callable(gradient):
        return gradient
    if gradient not in MODES:
        raise ValueError(
            f"gradient must be one of {', '.join(MODES)} or a function, "
            f"got {gradient!r}"
        )
    return MODES[gradient]
