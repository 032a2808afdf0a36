"""What tells that a training is unwell."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Metrics = dict[str, Any]  # NumPy arrays, [tasks] or []


def is_finite(metrics: Metrics) -> bool:
    """Whether loss and gradient of a step are."""
    return all(np.isfinite(metrics[name]).all() for name in ("loss", "grad_norm"))


def by_loss(metrics: Metrics) -> list[int]:
    """Tells the tasks, by number, whose loss is not finite; of none that is, all.

    There are none in a batch of images of all.
    """
    losses = metrics["loss"]
    if not np.ndim(losses):
        return []
    return np.flatnonzero(~np.isfinite(losses)).tolist() or list(range(len(losses)))


def culprits(
    metrics: Metrics, batch: Any, gradient_norm: Callable[[Any], Any]
) -> list[int]:
    """Tells which tasks of a step, by number, made its loss or gradient not finite.

    Where no task's loss tells it, the step is taken with each task in place of all:
    `gradient_norm` is `(batch) -> norm`. Where that does not either, all did together.
    """
    tasks = by_loss(metrics)
    # Of several processes each has tasks of its own.
    if not np.isfinite(metrics["loss"]).all() or jax.process_count() > 1:
        return tasks

    def alone(task: int) -> Any:
        if type(batch) is tuple:  # of tasks that cannot be stacked
            return (batch[task],) * len(batch)
        return jax.tree.map(
            lambda x: np.repeat(np.asarray(x[task])[None], len(x), 0), batch
        )

    bad = [task for task in tasks if not np.isfinite(gradient_norm(alone(task)))]
    return bad or tasks
