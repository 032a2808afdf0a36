"""A step whose loss or gradient is not finite: its cause, and the state before it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from metainit.core.types import MetaState
from metainit.runtime import placement
from metainit.runtime.checkpoint import LAST, NONFINITE, Checkpoints
from metainit.training.health import Metrics
from metainit.training.session import Run


class NonFiniteError(ArithmeticError):
    """Loss or gradient became infinite or NaN; the last good checkpoint is kept."""


def is_finite(metrics: Metrics) -> bool:
    """Tells whether the loss and the gradient of a step are finite."""
    return all(np.isfinite(metrics[name]).all() for name in ("loss", "grad_norm"))


def by_loss(metrics: Metrics) -> list[int]:
    """Lists the tasks whose loss is not finite, by number.

    If every loss is finite, it lists all tasks. A batch of joint pretraining has no
    tasks: the list is empty.
    """
    losses = metrics["loss"]
    if not np.ndim(losses):
        return []
    return np.flatnonzero(~np.isfinite(losses)).tolist() or list(range(len(losses)))


def _culprits(
    metrics: Metrics, batch: Any, gradient_norm: Callable[[Any], Any]
) -> list[int]:
    """Lists the tasks that made the loss or the gradient of a step not finite.

    If every loss is finite, it takes the step once for each task, with that task in the
    place of all others. `gradient_norm` is `(batch) -> norm` of such a step. If every
    norm is finite too, it lists all tasks.
    """
    tasks = by_loss(metrics)
    # Each of several processes has only its own tasks.
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


def before(run: Run, step: int, at: int, state: MetaState, key: jax.Array) -> MetaState:
    """Computes the state before a step again, from `state` before step `at`.

    This is needed since a step is checked after the devices have taken later ones.
    """
    for number in range(at, step):
        state, _ = run.update(state, placement.copied(run.batch(number)), key)
    return state


def error(
    run: Run, step: int, state: MetaState, metrics: Metrics, key: jax.Array
) -> NonFiniteError:
    """Saves the state before a step that is not finite, and makes the error."""
    loss, norm = float(np.mean(metrics["loss"])), float(metrics["grad_norm"])
    what, cause = "gradient", "a norm of zero, which has none"
    if not np.isfinite(loss):
        what, cause = "loss", "an image is degenerate"

    def norm_of(batch: Any) -> Any:
        return run.update(state, placement.copied(batch), key)[1]["grad_norm"]

    tasks = _culprits(metrics, run.batch(step), norm_of)
    kept = "There was no checkpoint yet"
    if (run.folder / LAST).exists():
        kept = f"The last good checkpoint is kept in {run.folder / LAST}"
    dump = run.folder / NONFINITE
    recorded = {name: np.asarray(x).tolist() for name, x in metrics.items()}
    saved = Checkpoints(dump)
    saved.save(step, state, {"metrics": recorded})
    saved.wait()
    return NonFiniteError(
        f"{run.name}: the {what} of {run.where(step, tasks)}, is not finite "
        f"(loss {loss}, gradient norm {norm}); likely a rate is too high "
        f"({', '.join(run.rates)}), or {cause}. {kept}; the state before this step "
        f"is in {dump}"
    )
