"""Ways to take the inner gradient, which differ in what the outer gradient costs.

A mode makes of a loss `inner_gradient(adapted, rest, batch, key) -> (gradients, loss,
metrics)` for the leaves in `adapted`; loss and metrics carry no gradient. `truncated`
and `implicit` are modes that change the outer gradient of the whole loop, too.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.extend.core import Jaxpr
from jax.scipy.sparse.linalg import cg

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
        direction, _, _ = cotangents  # loss and metrics are detached
        return (*_second_derivative(loss_fn, *inputs)(direction), _none(inputs[-1]))

    inner_gradient.defvjp(forward, backward)
    return inner_gradient


def _second_derivative(
    loss_fn: LossFn, adapted: Params, rest: Params, batch: Batch, key: Key
) -> Callable[[Params], tuple[Params, Params, Batch]]:
    """Makes `(direction) -> derivatives of <gradient, direction>`.

    They are taken by `adapted` (the Hessian times the direction), `rest` and `batch`,
    in forward mode over the gradient; direction is a tree like `adapted`.
    """
    floats, others = split((rest, batch), None, "batch")

    def gradients(adapted):
        def loss(adapted, floats):
            rest, batch = merge(floats, others)
            return loss_fn(merge(adapted, rest), batch, key)[0]

        return jax.grad(loss, argnums=(0, 1))(adapted, floats)

    @jax.jit  # traced once, for the check and for use
    def product(direction):
        return jax.jvp(gradients, (adapted,), (direction,))[1]

    # JAX refuses such a loss too, but names no way out, and so late (while it lowers
    # the caller's whole program) that its error cannot be caught here.
    if "custom_lin" in _primitives(product.trace(adapted).jaxpr.jaxpr):
        raise TypeError(
            "the loss uses a function with its own custom_vjp, which cannot be "
            'differentiated forward; use gradient="reverse"'
        )

    def derivative(direction):
        of_adapted, of_floats = product(direction)
        return of_adapted, *merge(of_floats, _none(others))

    return derivative


def _none(tree: Any) -> Any:
    """The cotangent of leaves that have none: integers and keys."""
    return jax.tree.map(lambda x: np.zeros(np.shape(x), jax.dtypes.float0), tree)


class Truncated(NamedTuple):
    """A mode of `truncated`."""

    last: int
    mode: GradientMode

    def __call__(self, loss_fn: LossFn) -> InnerGradient:
        return self.mode(loss_fn)

    def constant_steps(self, num_steps: int) -> int:
        """The first steps, through which no derivative goes."""
        return max(0, num_steps - self.last)

    def rejoined(
        self, loss_fn: LossFn, started: Params, adapted: Params, *unused: Any
    ) -> Params:
        """`adapted`, to the bit, whose cotangent goes to the start as it is."""
        return jax.tree.map(
            lambda start, value: value + (start - jax.lax.stop_gradient(start)),
            started,
            adapted,
        )


def truncated(last: int, gradient: str | GradientMode = "mixed") -> Truncated:
    """Differentiates the `last` inner steps only; the earlier ones count as a constant.

    What comes back to the first of them is passed on to the start unchanged, so that 0
    is first order and `num_steps` or more is the mode itself. Activations, and states
    of the inner loop, are kept for those steps alone: for many-step training.

    Args:
      last: steps, 0 or more.
      gradient: the mode of these steps, as of `metainit.meta_gradient`.

    Raises:
      ValueError: for a negative number, or an unknown mode.
    """
    if not isinstance(last, int) or last < 0:
        raise ValueError(f"truncated: last must be 0 or more steps, got {last}")
    return Truncated(last, gradient_mode(gradient))


class Implicit(NamedTuple):
    """A mode of `implicit`."""

    damping: float
    cg_steps: int

    def __call__(self, loss_fn: LossFn) -> InnerGradient:
        return first_order(loss_fn)

    def constant_steps(self, num_steps: int) -> int:
        """All of them."""
        return num_steps

    def rejoined(
        self,
        loss_fn: LossFn,
        started: Params,
        adapted: Params,
        rest: Params,
        batch: Batch,
        key: Key,
    ) -> Params:
        """`adapted` with the derivatives of a minimum of the pulled loss.

        There started = adapted + gradient / damping, so a cotangent v comes back to the
        start as x = (I + H / damping)^-1 v (iMAML, eq. 6), by conjugate gradients, and
        to `rest` and the batch as the derivative of -<gradient, x> / damping.
        """

        @jax.custom_vjp
        def minimum(started, adapted, rest, batch, key):
            return adapted

        def forward(*inputs):
            return adapted, inputs

        def backward(inputs, cotangent):
            _, adapted, rest, batch, key = inputs
            derivative = _second_derivative(loss_fn, adapted, rest, batch, key)

            def matrix(v):
                return jax.tree.map(
                    lambda v, hv: v + hv / self.damping, v, derivative(v)[0]
                )

            x, _ = cg(matrix, cotangent, tol=0.0, maxiter=self.cg_steps)
            of_rest, of_batch = derivative(x)[1:]
            of_rest, of_batch = jax.tree.map(
                lambda c: c if c.dtype == jax.dtypes.float0 else -c / self.damping,
                (of_rest, of_batch),
            )
            none = jax.tree.map(jnp.zeros_like, adapted)
            return x, none, of_rest, of_batch, _none(key)

        minimum.defvjp(forward, backward)
        return minimum(started, adapted, rest, batch, key)


def implicit(damping: float = 1.0, cg_steps: int = 5) -> Implicit:
    """Implicit gradients (iMAML, Rajeswaran et al. 2019, arXiv:1909.04630).

    The inner loss gets the term damping / 2 |adapted - started|^2, and the outer
    gradient is that of its minimum, whatever steps led there: memory does not grow
    with their number. It is exact where the inner loop has converged, and needs every
    step to see the whole support, by an optimiser without a state of its own that
    matters at the minimum (SGD).

    Args:
      damping: lambda of the paper, above 0.
      cg_steps: of conjugate gradients, each one product with the Hessian.

    Raises:
      ValueError: for numbers out of these ranges.
    """
    if callable(damping) or not damping > 0 or cg_steps < 1:
        raise ValueError(
            f"implicit: damping must be above 0 and cg_steps 1 or more, got {damping} "
            f"and {cg_steps}"
        )
    return Implicit(damping, cg_steps)


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


def mode_optimizer(
    mode: GradientMode, optimizer: optax.GradientTransformation
) -> optax.GradientTransformation:
    """The inner optimizer as a mode needs it: `Implicit` pulls towards the start."""
    if not isinstance(mode, Implicit):
        return optimizer
    damping = mode.damping

    def pull(grads, start, params):
        grads = jax.tree.map(
            lambda g, w, w0: g + damping * (w - w0), grads, params, start
        )
        return grads, start

    return optax.chain(
        optax.GradientTransformation(lambda params: params, pull), optimizer
    )


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
            f"gradient must be one of {', '.join(MODES)} or a function such as "
            f"metainit.truncated(5) or metainit.implicit(), got {gradient!r}"
        )
    return MODES[gradient]
