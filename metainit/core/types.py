"""The words of the pure layer: small values made of arrays and pure functions."""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

PyTree = Any
Params = PyTree
Batch = PyTree
Metrics = PyTree
Key = jax.Array

LossFn = Callable[[Params, Batch, Key], tuple[jax.Array, Metrics]]
Mask = PyTree | Callable[[tuple, Any], bool]


class Episode(NamedTuple):
    """One task, or a meta-batch of tasks when every leaf has a leading task axis.

    Attributes:
      support: pytree the inner loop learns from.
      query: pytree the adapted parameters are judged on.
    """

    support: Batch
    query: Batch


class MetaParams(NamedTuple):
    """Meta-parameters of which a part steers the inner optimizer.

    Attributes:
      model: the network's parameters, adapted by the inner loop.
      inner: handed to the inner optimizer as `meta=`, for example step sizes
        (Meta-SGD, arXiv:1707.09835; LSLR, arXiv:1810.09502). Learned by the outer
        loop only.
    """

    model: Params
    inner: PyTree


class MetaState(NamedTuple):
    """What meta-training carries from one meta-iteration to the next.

    Attributes:
      params: the caller's tree, or `MetaParams`.
      opt_state: of the outer optimizer, for the meta-learned leaves only.
      step: int32 scalar, meta-iterations done.
    """

    params: Params | MetaParams
    opt_state: optax.OptState
    step: jax.Array


class MetaLearner(NamedTuple):
    """A meta-learning algorithm: pure functions, none of them jitted.

    Attributes:
      init: `(params) -> MetaState`.
      adapt: `(state or params, support, key) -> (adapted params, Trace)`, one task.
      update: `(state, episodes, key) -> (state, metrics)`, one meta-iteration. Pass the
        same root key every time: it is folded with the step and the task's index.
      gradient: `(state, episodes, key, first_task=0) -> (gradients, metrics)`, the part
        of `update` before the outer optimizer; for meta-batches whose tasks differ in
        shape, taken in parts. The mean over all tasks of a meta-batch is its gradient.
      apply: `(state, gradients) -> state`, the rest of `update`.
      loop: the inner loop that `adapt` and `update` take, with what the algorithm makes
        of it (what adapts, learned step sizes, the pull of implicit gradients); for
        `metainit.evaluate`.
    """

    init: Callable[[Params | MetaParams], MetaState]
    adapt: Callable[..., tuple[Params, "Trace"]]
    update: Callable[[MetaState, Episode, Key], tuple[MetaState, "TaskMetrics"]]
    gradient: Callable[..., tuple[Params, "TaskMetrics"]]
    apply: Callable[[MetaState, Params], MetaState]
    loop: "InnerLoop"


class Trace(NamedTuple):
    """What one adaptation saw; every leaf has a leading axis of inner steps.

    Attributes:
      loss: float [num_steps], the support loss before each step.
      metrics: the second output of `loss_fn`, stacked, [num_steps, ...].
      observed: outputs of `observe` at step 0 (after `start`) and after every step,
        [num_steps + 1, ...]; None where there was no `observe`.
    """

    loss: jax.Array
    metrics: Metrics
    observed: PyTree


class TaskMetrics(NamedTuple):
    """Metrics of a meta-batch; every leaf keeps its leading task axis.

    Attributes:
      query_loss: float [tasks], the outer loss; of `metainit.evaluate` [tasks,
        num_steps + 1], before and after every inner step.
      query: the second output of the query loss, likewise; None for Reptile.
      support: `Trace` with leaves [tasks, ...].
    """

    query_loss: jax.Array
    query: Metrics
    support: Trace


class _InnerLoopFields(NamedTuple):
    loss_fn: LossFn
    optimizer: optax.GradientTransformation
    num_steps: int
    adapt_mask: Mask | None = None
    start: Callable[[Params, Batch, Key], Params] | None = None
    prepare: Callable[[Params, Batch, Key], Batch] | None = None
    batches: Callable[[Batch, Key], Callable[[jax.Array], Batch]] | None = None


# What the functions of an inner loop are called with.
_TAKES = {
    "loss_fn": ("params", "batch", "key"),
    "start": ("params", "support", "key"),
    "prepare": ("params", "batch", "key"),
    "batches": ("support", "key"),
}


def refuse_other_functions(name: str, value: Any, takes: Sequence[str]) -> None:
    """Refuses what cannot be called with arguments of these names, by a TypeError."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {value!r}")
    try:
        signature = inspect.signature(value)
    except ValueError:  # of some built-in functions
        return
    try:
        signature.bind(*takes)
    except TypeError:
        raise TypeError(
            f"{name} must take ({', '.join(takes)}), got a function of {signature}"
        ) from None


def checked(loss_fn: Callable[..., Any], name: str = "loss_fn") -> Callable[..., Any]:
    """The same loss, which refuses by a TypeError to return what is no such thing."""

    def loss(*inputs):
        result = loss_fn(*inputs)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"{name} must return (loss, metrics), with {{}} where there are no "
                f"metrics; it returned {_in_words(result)}"
            )
        kind = getattr(result[0], "dtype", type(result[0]))
        if np.shape(result[0]) or not jnp.issubdtype(kind, jnp.floating):
            raise TypeError(
                f"{name} must return one real number as the loss, such as a mean over "
                f"the batch; it returned {_in_words(result[0])}"
            )
        return result

    return loss


def require(kind: type, name: str, value: Any, such: str) -> None:
    """Refuses another kind of value by a TypeError that says where there is `such`."""
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be a metainit.{kind.__name__}, {such}; got {_in_words(value)}"
        )


def require_key(key: Any) -> None:
    """Refuses by a TypeError what is no key, such as a seed."""
    if not hasattr(key, "dtype"):
        raise TypeError(
            f"key must be one such as jax.random.key(0), got {_in_words(key)}"
        )


def require_optimizer(name: str, value: Any) -> None:
    """Refuses by a TypeError what is no optax transformation, such as a rate."""
    if not (hasattr(value, "init") and hasattr(value, "update")):
        raise TypeError(
            f"{name} must be an optax transformation such as optax.sgd(0.01), "
            f"got {value!r}"
        )


def _in_words(value: Any) -> str:
    if isinstance(value, jax.Array):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"


class InnerLoop(_InnerLoopFields):
    """How one task is learned from its support set.

    Attributes:
      loss_fn: `(params, batch, key) -> (scalar loss, metrics)`; any network library.
      optimizer: any optax transformation. One that takes extra arguments receives
        `meta=` (the `inner` part of `MetaParams`, else None) and `step=` (int32). Adam
        needs `eps_root > 0`: the derivative of its square root at an inner gradient of
        exactly zero (a zero head, a dead ReLU) is infinite otherwise.
      num_steps: inner steps, 0 or more.
      adapt_mask: which leaves of the *started* parameters adapt: a tree of booleans
        like them, or `(path, leaf) -> bool`. None adapts every float leaf. The inner
        gradient is taken over these leaves only.
      start: `(params, support, key) -> params`, where a task starts; may add or replace
        the head. The outer gradient flows through it.
      prepare: `(params, batch, key) -> batch`, applied once to the support and once to
        the query before the loop; the outer gradient flows through it (features of an
        encoder that does not adapt).
      batches: `(support, key) -> (step -> batch)`; None gives every step the whole
        support. See `metainit.minibatches`.

    Raises:
      ValueError, TypeError: at construction, for a `num_steps` that is not a whole
        number of at least 0, an optimizer that is not an optax transformation, or a
        function that cannot be called so.
    """

    __slots__ = ()

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        loop = super().__new__(cls, *args, **kwargs)
        if not isinstance(loop.num_steps, int) or isinstance(loop.num_steps, bool):
            raise TypeError(
                f"num_steps must be a Python int, got {loop.num_steps!r}: the number "
                "of inner steps is fixed when the program is compiled"
            )
        if loop.num_steps < 0:
            raise ValueError(f"num_steps must be 0 or more, got {loop.num_steps}")
        require_optimizer("optimizer", loop.optimizer)
        for name, takes in _TAKES.items():
            value = getattr(loop, name)
            if value is not None:
                refuse_other_functions(name, value, takes)
        return loop

    @classmethod
    def _make(cls, iterable: Iterable[Any]) -> Self:  # type: ignore[override]
        return cls(*iterable)  # so that `_replace` checks as well
