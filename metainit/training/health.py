"""What tells that a training is unwell."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Metrics = dict[str, Any]  # NumPy arrays, [tasks] or []


def is_finite(metrics: Metrics) -> bool:
    """Whether loss and gradient of a step are."""
    return all(np.isfinite(metrics[name]).all() for name in ("loss", "grad_norm"))


def culprits(
    metrics: Metrics, batch: Any, gradient_norm: Callable[[Any], Any]
) -> list[int]:
    """Tells which tasks of a step, by number, made its loss or gradient not finite.

    Where no task's loss tells it, the step is taken with each task in place of all:
    `gradient_norm` is `(batch) -> norm`. Where that does not either, all did together.
    """
    losses = np.atleast_1d(metrics["loss"])
    numbers = range(len(losses))
    if bad := [number for number in numbers if not np.isfinite(losses[number])]:
        return bad
    if jax.process_count() > 1:  # each process has tasks of its own
        return list(numbers)

    def alone(number: int) -> Any:
        if type(batch) is tuple:  # of tasks that cannot be stacked
            return (batch[number],) * len(batch)
        return jax.tree.map(
            lambda x: np.repeat(np.asarray(x[number])[None], len(x), 0), batch
        )

    norms = [gradient_norm(alone(number)) for number in numbers]
    bad = [number for number in numbers if not np.isfinite(norms[number])]
    return bad or list(numbers)
