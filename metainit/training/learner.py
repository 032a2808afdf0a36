"""From a config to the values of the pure layer."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

import metainit
from metainit.config.fields import Experiment
from metainit.core import step_sizes
from metainit.core.task_batching import Tasks, strategy
from metainit.models import classification
from metainit.models.added import is_added
from metainit.models.heads import CLOSED_FORMS, HEADS
from metainit.models.heads.base import is_head
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess, in_task
from metainit.models.wrappers import microbatched
from metainit.runtime import devices
from metainit.training import health, optimizers

# Adam inside: the square root's derivative at a zero gradient is infinite without it.
EPS_ROOT = 1e-8


def start(head: str, model: Model, shot: int) -> Any:
    """Makes the `start` of a head, one of `metainit.config.fields.Method.head`.

    A task has as many classes as its support has `shot` images.
    """
    start_of, features = HEADS[head].start, classification.features(model)
    if start_of is None:
        return None

    def start_task(params, support, key):
        way = len(support["label"]) // shot
        return start_of(features, way)(params, support, key)

    return start_task


def log_step_sizes(config: Experiment, model: Model, body: Any) -> Any:
    """Gives learned step sizes at their start, for a body and a linear head on it.

    A tensor of the head has one, whatever its shape is, as that differs with the way.
    """
    method = config.method
    by: Literal["tensor", "element"] = "tensor"
    if method.step_sizes == "element":
        by = "element"
    head = {"kernel": jnp.zeros(()), "bias": jnp.zeros(())}
    return step_sizes.init(
        {"body": body, "head": head},
        adapt_mask(config, model),
        by=by,
        phases=method.phases,
    )


def adapt_mask(config: Experiment, model: Model) -> Any:
    """Masks what inner steps change: with ANIL the head, with BOIL all but the head."""
    if config.method.algorithm == "anil":
        return is_head
    lets = classification.with_head(model.adapts)
    if config.method.algorithm != "boil":
        return lets
    return lambda path, leaf: not is_head(path, leaf) and lets(path, leaf)


def learner(
    config: Experiment, model: Model, preprocess: Preprocess
) -> metainit.MetaLearner:
    """Makes the meta-learning algorithm that `config.method` describes."""
    method, outer, tasks = config.method, optimizers.outer(config), _tasks(config)
    loop, model = _inner_loop(config, model, preprocess, method.head)
    mask = classification.with_head(model.learns)
    if method.algorithm == "reptile":
        return metainit.reptile(loop, outer, tasks=tasks, meta_mask=mask)
    arguments = _arguments(config, model)
    if method.step_sizes == "fixed":
        return metainit.maml(loop, outer, meta_mask=mask, **arguments)

    def with_step_sizes(path, leaf):
        return path[0].name == "inner" or mask(path[1:], leaf)

    rate = optimizers.scheduled(config, config.outer.step_size_rate)
    return metainit.lslr(
        loop,
        outer,
        optax.chain(optax.scale_by_adam(), rate),
        phases=method.phases,
        meta_mask=with_step_sizes,
        **arguments,
    )


def started(config: Experiment, model: Model, params: Any) -> Any:
    """Gives what a learner begins with: parameters, with step sizes if they learn."""
    if config.method.step_sizes == "fixed":
        return params
    logs = log_step_sizes(config, model, params["body"])
    return metainit.MetaParams(params, logs)


def rates_learner(
    config: Experiment, model: Model, preprocess: Preprocess
) -> metainit.MetaLearner:
    """Meta-learns the factors of `metainit.core.step_sizes`, of weights as they are.

    Its parameters are `MetaParams({"body": ...}, factors)`. Of the body it learns what
    was put beside the weights: the scale of features of unit length, ridge's penalty,
    and leaves of `model.added`. A head that would be learned starts from zero.
    """

    def learns(path, leaf):
        if path[0].name == "inner":
            return True
        of_body = path[2:]
        return of_body[0].key in model.scalars or is_added(of_body, leaf)

    head = "zero" if config.method.head == "learned" else config.method.head
    loop, model = _inner_loop(config, model, preprocess, head)
    optimizer = step_sizes.learned(loop.optimizer, config.method.phases)
    return metainit.maml(
        loop._replace(optimizer=optimizer),
        optimizers.of_recipe(config),
        meta_mask=learns,
        **_arguments(config, model),
    )


def _inner_loop(
    config: Experiment, model: Model, preprocess: Preprocess, head: str
) -> tuple[metainit.InnerLoop, Model]:
    """Makes the inner loop of meta-training, and the model as that sees it."""
    model, preprocess = inner_parts(config, model, preprocess)
    loss_fn = classification.loss_fn(model)
    if config.inner.microbatch:
        loss_fn = microbatched(loss_fn, config.inner.microbatch)
    rate, batch = config.inner.learning_rate, config.inner.batch
    is_adam = config.inner.optimizer == "adam"
    loop = metainit.InnerLoop(
        loss_fn,
        optax.adam(rate, eps_root=EPS_ROOT) if is_adam else optax.sgd(rate),
        config.inner.steps,
        adapt_mask=adapt_mask(config, model),
        start=start(head, model, config.train_task.shot),
        prepare=preprocess.for_training,
        batches=_minibatches(batch) if batch else None,
    )
    return loop, model


def inner_parts(
    config: Experiment, model: Model, preprocess: Preprocess
) -> tuple[Model, Preprocess]:
    """Gives both as a task's inner loop takes them: see `Model.in_task`.

    Microbatches bound the images in memory. All of them at once would undo that.
    """
    if config.inner.microbatch:
        return model, preprocess
    return in_task(model, preprocess)


def _minibatches(size: int) -> Any:
    """Makes `InnerLoop.batches`. An episode's classes stay whole where it has them."""

    def batches(support, key):
        per_task = tuple({"classes"} & support.keys())
        return metainit.minibatches(size, per_task)(support, key)

    return batches


def _tasks(config: Experiment) -> str | Tasks:
    """How a meta-batch is gone through: by every device an equal share, that is."""
    tasks, mesh = config.method.tasks, devices.mesh()
    if mesh.size == 1:
        return tasks
    spread, alone = metainit.parallel.over(mesh, devices.AXIS, tasks), strategy(tasks)

    def run(task_fn, shared, episodes, keys):
        # A single task is of a meta-batch that cannot be stacked.
        run_tasks = alone if len(keys) == 1 else spread
        return run_tasks(task_fn, shared, episodes, keys)

    return run


def _arguments(config: Experiment, model: Model) -> dict[str, Any]:
    """What `metainit.maml` takes besides loop, optimizer and mask."""
    method, steps = config.method, config.inner.steps
    left_out = None
    if method.leave_one_out:
        left_out = CLOSED_FORMS[method.head]
    return {
        "gradient": gradient_of(config),
        "tasks": _tasks(config),
        "query_loss": classification.query_loss(model, left_out),
        "step_weights": multi_step(
            method.multi_step, steps, 0 if config.cold_start else config.warm_start
        ),
    }


def gradient_of(config: Experiment) -> Any:
    """Gives the mode of the meta-gradient, see `metainit.meta_gradient`."""
    method = config.method
    if method.gradient == "truncated":
        return metainit.truncated(method.last)
    if method.gradient == "implicit":
        return metainit.implicit(method.damping, method.cg_steps)
    return method.gradient


def multi_step(iterations: int, steps: int, first: int) -> Any:
    """Gives the weights of the query's loss at the start and after every inner step.

    MAML++ (Antoniou et al. 2019, arXiv:1810.09502, section 4): all steps weigh alike at
    iteration `first`, where meta-learning begins, and `iterations` later the last one
    alone does. None where `iterations` is 0.
    """
    if not iterations:
        return None

    def weights(step):
        early = jnp.maximum(0, 1 - (step - first) / iterations) / steps
        of_steps = jnp.full(steps, early).at[-1].set(1 - early * (steps - 1))
        return jnp.concatenate([jnp.zeros(1), of_steps])

    return weights


def init_head(
    config: Experiment, model: Model, body: Any, images: jax.Array, key: jax.Array
) -> dict[str, Any]:
    """Gives {"head": ...} before meta-training where it is learned, else {}.

    Its kernel is random; images, float32 [n, h, w, c], are for shapes only.
    """
    if config.method.head != "learned":
        return {}
    shape = classification.feature_count(model, body, images), config.train_task.way
    kernel = jax.nn.initializers.lecun_normal()(key, shape)
    return {"head": {"kernel": kernel, "bias": jnp.zeros(shape[1])}}


def task_metrics(seen: metainit.TaskMetrics) -> dict[str, jax.Array]:
    """Picks what the laboratory logs: "loss" and "accuracy", [tasks].

    They are of the query after adaptation, or of the support where there is no query.
    """
    judged = seen.support.metrics if seen.query is None else seen.query
    accuracy = judged["accuracy"]
    return {
        "loss": seen.query_loss,
        "accuracy": accuracy if accuracy.ndim == 1 else accuracy[:, -1],
    }


def meta_update(learner: metainit.MetaLearner, norms_every: int = 0) -> Any:
    """Makes `(state, episodes, key) -> (state, metrics)`.

    Metrics are `task_metrics` and `norms`.
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
