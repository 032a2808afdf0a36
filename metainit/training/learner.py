"""From a config to the values of the pure layer."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import metainit
from metainit.config.fields import Experiment
from metainit.core import step_sizes
from metainit.models import classification, heads
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess, in_task
from metainit.models.wrappers import microbatched

# Adam inside: the square root's derivative at a zero gradient is infinite without it.
EPS_ROOT = 1e-8


def start(head: str, model: Model, shot: int) -> Any:
    """Makes the `start` of a "prototype", "zero" or "learned" head.

    A task has as many classes as its support has `shot` images.
    """
    if head == "learned":
        return None
    make = {"prototype": heads.prototype_head, "zero": heads.zero_head}[head]
    of_batch = classification.features(model)

    def start_task(params, support, key):
        return make(of_batch, len(support["label"]) // shot)(params, support, key)

    return start_task


def log_step_sizes(model: Model, body: Any) -> Any:
    """Gives learned step sizes at their start, for a body and a linear head on it."""
    head = {"kernel": jnp.zeros(()), "bias": jnp.zeros(())}
    mask = classification.with_head(model.adapts)
    return step_sizes.init({"body": body, "head": head}, mask)


def adapt_mask(config: Experiment, model: Model) -> Any:
    """Masks what inner steps change; with ANIL, the head alone."""
    if config.method.algorithm == "anil":
        return heads.is_head
    return classification.with_head(model.adapts)


def learner(
    config: Experiment, model: Model, preprocess: Preprocess
) -> metainit.MetaLearner:
    """Makes the meta-learning algorithm that `config.method` describes."""
    loop, model = _inner_loop(config, model, preprocess, config.method.head)
    mask = classification.with_head(model.learns)
    if config.method.algorithm == "reptile":
        tasks = config.method.tasks
        return metainit.reptile(loop, _outer(config), tasks=tasks, meta_mask=mask)
    return _maml(config, loop, model, mask)


def rates_learner(
    config: Experiment, model: Model, preprocess: Preprocess
) -> metainit.MetaLearner:
    """Meta-learns the factors of `metainit.core.step_sizes` and nothing else.

    Its parameters are `MetaParams({"body": ...}, factors)`; the body rides along. A
    head that would be learned starts from zero.
    """
    head = "zero" if config.method.head == "learned" else config.method.head
    loop, model = _inner_loop(config, model, preprocess, head)
    loop = loop._replace(optimizer=step_sizes.learned(loop.optimizer))
    return _maml(config, loop, model, lambda path, leaf: path[0].name == "inner")


def _inner_loop(
    config: Experiment, model: Model, preprocess: Preprocess, head: str
) -> tuple[metainit.InnerLoop, Model]:
    """Makes the inner loop of meta-training, and the model as that sees it."""
    # Microbatches bound the images in memory: all of them at once would undo that.
    if not config.inner.microbatch:
        model, preprocess = in_task(model, preprocess)
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
        batches=metainit.minibatches(batch) if batch else None,
    )
    return loop, model


def _maml(
    config: Experiment, loop: metainit.InnerLoop, model: Model, mask: Any
) -> metainit.MetaLearner:
    return metainit.maml(
        loop,
        _outer(config),
        gradient=config.method.gradient,
        tasks=config.method.tasks,
        query_loss=classification.query_loss(model),
        meta_mask=mask,
    )


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


def schedule(peak: float, length: Any = None, warmup: int = 0) -> optax.Schedule:
    """Gives a rate by step: constant, or a cosine from `peak` to 0.

    Args:
      length: steps, a number or an array, in which it falls to 0; None: never.
      warmup: first steps, in which it rises in proportion to their number.
    """

    def rate(step):
        rising = jnp.minimum(1, (step + 1) / warmup) if warmup else 1.0
        if length is None:
            return rising * peak
        falling = 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(step / length, 0, 1)))
        return rising * (peak * falling)

    return rate


def _direction(config: Experiment) -> optax.GradientTransformation:
    """Gives Adam's direction after clipping; the norm before stays in the state."""
    return optax.chain(
        optax.snapshot("grad_norm", optax.tree.norm),
        optax.clip_by_global_norm(config.outer.clip or float("inf")),
        optax.scale_by_adam(),
    )


class Phase(NamedTuple):
    """Where meta-learning's schedule stands.

    Attributes:
      first: int32 [], the meta-iteration that it begins with, after a warm start.
      done: int32 [], steps since then.
    """

    first: jax.Array
    done: jax.Array


def _outer(config: Experiment) -> optax.GradientTransformation:
    """Makes the outer optimizer, whose rate is 0 from iteration `decay_steps` on.

    Where it begins is part of its state (`begun_at`), so that one program does for a
    cold and for a warm start.
    """
    outer = config.outer

    def update(updates, phase, params=None):
        length = outer.decay_steps - phase.first if outer.decay_steps else None
        rate = schedule(outer.learning_rate, length, outer.warmup_steps)(phase.done)
        later = phase._replace(done=optax.safe_increment(phase.done))
        return optax.tree.scale(-rate, updates), later

    def init(params):
        return Phase(jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    scale = optax.GradientTransformation(init, update)
    return optax.chain(_direction(config), scale)


def begun_at(opt_state: optax.OptState, iteration: int) -> optax.OptState:
    """Has the outer optimizer's schedule begin with a meta-iteration."""

    def is_phase(path, value):
        return getattr(path[-1], "tuple_name", "") == "Phase"

    return optax.tree.set(opt_state, is_phase, first=jnp.int32(iteration))


def joint_optimizer(config: Experiment) -> optax.GradientTransformationExtraArgs:
    """Makes joint pretraining's optimizer, whose argument `rate` is float32 [].

    It is AdamW (arXiv:1711.05101), whose decay is of kernels alone.
    """

    def update(updates, state, params=None, *, rate, **unused):
        return optax.tree.scale(-rate, updates), state

    decay = optax.add_decayed_weights(config.joint.weight_decay, _kernels)
    scale = optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
    return optax.chain(_direction(config), decay, scale)


def _kernels(params: Any) -> Any:
    """Masks kernels: no biases, and no scale of a normalisation."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: getattr(path[-1], "key", None) == "kernel", params
    )


def joint_rates(
    config: Experiment, steps: int, pace: float, length: float
) -> np.ndarray:
    """Gives joint pretraining's rate at each of its steps, float32 [steps].

    It falls to 0 by a cosine, in `length` meta-iterations' worth of device time;
    `pace` steps are worth one. It rises first as meta-learning's does.
    """
    warmup = config.outer.warmup_steps
    rate = schedule(config.joint.learning_rate, length, warmup)
    return np.asarray(rate(np.arange(steps) / pace), np.float32)


def grad_norm(opt_state: Any) -> Any:
    """Reads the global norm of the last outer gradient, before clipping."""
    return optax.tree.get(opt_state, "grad_norm")


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


def meta_update(learner: metainit.MetaLearner) -> Any:
    """Makes `(state, episodes, key) -> (state, task_metrics and "grad_norm")`."""

    def update(state, episodes, key):
        state, seen = learner.update(state, episodes, key)
        return state, task_metrics(seen) | {"grad_norm": grad_norm(state.opt_state)}

    return update
