"""Parts of the inner and the outer loop that do not depend on the method."""

from typing import Any

import jax
import jax.numpy as jnp

import metainit
from metainit.core.task_batching import Tasks, strategy
from metainit.models import classification
from metainit.models.heads import HEADS
from metainit.models.model import Model
from metainit.runtime import devices
from metainit.training import health, optimizers

# Adam as an inner optimizer needs it: without it, the square root's derivative is
# infinite at a zero gradient.
EPS_ROOT = 1e-8


def start(head: str, model: Model, shot: int) -> Any:
    """Makes the `start` of a head, one of `metainit.config.fields.Method.head`.

    A task's number of classes is that of its support images, divided by `shot`.
    """
    start_of, features = HEADS[head].start, classification.features(model)
    if start_of is None:
        return None

    def start_task(params, support, key):
        way = len(support["label"]) // shot
        return start_of(features, way)(params, support, key)

    return start_task


def minibatches(size: int) -> Any:
    """Makes `InnerLoop.batches`, which keeps an episode's "classes" whole, if any."""

    def batches(support, key):
        per_task = tuple({"classes"} & support.keys())
        return metainit.minibatches(size, per_task)(support, key)

    return batches


def shared_tasks(tasks: str) -> str | Tasks:
    """Makes every device take an equal share of a meta-batch's tasks."""
    mesh = devices.mesh()
    if mesh.size == 1:
        return tasks
    spread, alone = metainit.parallel.over(mesh, devices.AXIS, tasks), strategy(tasks)

    def run(task_fn, shared, episodes, keys):
        # A meta-batch that cannot be stacked comes here as single tasks.
        run_tasks = alone if len(keys) == 1 else spread
        return run_tasks(task_fn, shared, episodes, keys)

    return run


def multi_step(iterations: int, steps: int, first: int) -> Any:
    """Gives the weights of the query's loss at the start and after every inner step.

    This is of MAML++ (Antoniou et al. 2019, arXiv:1810.09502, section 4). All steps
    weigh alike at iteration `first`, where meta-learning begins. `iterations` later,
    only the last one has weight. Where `iterations` is 0, it gives None.
    """
    if not iterations:
        return None

    def weights(step):
        early = jnp.maximum(0, 1 - (step - first) / iterations) / steps
        of_steps = jnp.full(steps, early).at[-1].set(1 - early * (steps - 1))
        return jnp.concatenate([jnp.zeros(1), of_steps])

    return weights


def task_metrics(seen: metainit.TaskMetrics) -> dict[str, jax.Array]:
    """Picks the metrics that the laboratory logs: "loss" and "accuracy", [tasks].

    They are measured after adaptation: on the query or, without one, on the support.
    """
    judged = seen.support.metrics if seen.query is None else seen.query
    accuracy = judged["accuracy"]
    return {
        "loss": seen.query_loss,
        "accuracy": accuracy if accuracy.ndim == 1 else accuracy[:, -1],
    }


def meta_update(learner: metainit.MetaLearner, norms_every: int = 0) -> Any:
    """Makes a meta-iteration, `(state, episodes, key) -> (state, metrics)`.

    The metrics are `task_metrics` and `norms`.
    """

    def update(state, episodes, key):
        grads, seen = learner.gradient(state, episodes, key)
        after = learner.apply(state, grads)
        return after, task_metrics(seen) | norms(norms_every, state, after, grads)

    return update


def norms(
    every: int, before: metainit.MetaState, after: metainit.MetaState, grads: Any
) -> dict[str, Any]:
    """Gives "grad_norm" and, where `every` is not 0, `health.layer_norms`."""
    told = {"grad_norm": optimizers.grad_norm(after.opt_state)}
    if every:
        told[health.NORMS] = health.layer_norms(every, before, after, grads)
    return told
