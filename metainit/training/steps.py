"""The steps that an experiment compiles: a meta-iteration and a supervised step."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metainit.config.fields import Joint, Outer
from metainit.core import masks
from metainit.core.types import Episode, LossFn, MetaLearner, MetaState
from metainit.data.batches import JointBatches, MetaBatches
from metainit.models import classification
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import devices, flops, placement
from metainit.runtime.budget import Program, compile_step, seconds_each
from metainit.runtime.placement import EVERYWHERE, SPREAD, Placement
from metainit.training import health, optimizers
from metainit.training import learner as parts

Update = Callable[..., Any]  # `(state, batch, key) -> (state, metrics)`


class Step(NamedTuple):
    """A training step, compiled for every shape of batch, with its arguments."""

    program: Program
    state: MetaState  # before the first step
    batches: Any  # `(step) -> batch`, in joint pretraining `(step, rate) -> batch`
    key: jax.Array  # the root key of every step
    flops: float  # mean over all shapes, as `metainit.runtime.flops` counts


def meta_step(
    learner: MetaLearner,
    state: MetaState,
    batches: MetaBatches,
    key: jax.Array,
    *,
    skips: bool = False,
    norms_every: int = 0,
) -> Step:
    """Compiles a meta-iteration that gives each device an equal share of the tasks.

    Where tasks differ in shape, every device takes all of them, one by one. Where it
    `skips`, a step that is not finite changes nothing. `norms_every` is `every` of
    `health.layer_norms`.
    """
    # The same function is compiled and counted, so that it is traced once.
    update = parts.meta_update(learner, norms_every)
    whole = learner._replace(update=skipping(update) if skips else update)
    if batches.stacked:
        calls = [(state, batches(0), key)]
        program = by_shape(whole.update, calls, lambda _: OVER_TASKS)
    else:
        program = in_parts(learner, state, batches.one_of_each(), key, norms_every)
        if skips:
            program = program._replace(update=skipping(program.update))
        if (count := devices.mesh().size) > 1:
            print(
                "tasks differ in shape and are taken one by one: "
                f"{count} devices do the same, and --devices=1 is as fast"
            )
    period = batches.period
    counts = [operations(whole, state, batches(step), key) for step in range(period)]
    return Step(program, state, batches, key, sum(counts) / period)


def joint_step(
    joint: Joint,
    outer: Outer,
    model: Model,
    preprocess: Preprocess,
    body: Any,
    batches: JointBatches,
    meta: Step,
    norms_every: int = 0,
) -> Step:
    """Compiles a step of joint pretraining: one classifier learns all of meta-train.

    It starts from `body`, with the key and the period of the meta-iteration `meta`.
    """
    key, period = meta.key, meta.batches.period
    example = jnp.zeros((2, *batches.image_shape))
    optimizer = optimizers.joint_optimizer(joint, outer, model.scalars)
    head = classification.linear_head
    if joint.head == "cosine":
        head = partial(classification.cosine_head, key=jax.random.split(key)[0])
    # It is compiled as one program: many single operations take far longer.
    state = jax.jit(
        lambda body: start(model, optimizer, body, example, batches.classes, head)
    )(body)
    loss_fn = classification.joint_loss(model, joint.head, joint.label_smoothing)
    update = supervised(
        model, preprocess, optimizer, loss_fn=loss_fn, norms_every=norms_every
    )
    if outer.skip_nonfinite:
        update = skipping(update)
    calls = ((state, batch, key) for batch in batches.one_of_each())
    counts = [
        flops.of_function(update, state, batches(step), key) for step in range(period)
    ]
    program = by_shape(update, calls, over_images)
    return Step(program, state, batches, key, sum(counts) / period)


def seconds(meta: Step, joint: Step) -> tuple[float, float]:
    """Times a meta-iteration and a joint step in turn; gives means over all shapes.

    The seconds of both include drawing and copying batches.
    """
    period = meta.batches.period

    def take(step: Step) -> None:
        for number in range(period):
            update, batch = step.program.update, step.batches(number)
            jax.block_until_ready(update(step.state, batch, step.key))

    of_meta, of_joint = seconds_each(lambda: take(meta), lambda: take(joint))
    return of_meta / period, of_joint / period


def by_shape(
    update: Update,
    calls: Iterable[tuple[Any, ...]],
    where: Callable[[Any], Placement],
) -> Program:
    """Compiles a step for every shape of its second argument among example calls.

    `where` is `(second argument) -> placement`.
    """
    programs: dict[Any, Program] = {}
    for arguments in calls:
        shapes = _shapes(arguments[1])
        if shapes not in programs:
            where_to = where(arguments[1])
            programs[shapes] = compile_step(update, *arguments, where=where_to)
    return Program(
        lambda *arguments: programs[_shapes(arguments[1])].update(*arguments),
        sum(program.compile_seconds for program in programs.values()),
        max(program.memory for program in programs.values()),
        max(program.flops for program in programs.values()),
    )


def compile_supervised(
    update: Update, state: MetaState, batch: dict[str, Any], key: jax.Array
) -> Program:
    """Compiles a supervised step that gives each device a share, see `over_images`."""
    return compile_step(update, state, batch, key, where=over_images(batch))


def over_images(batch: dict[str, Any]) -> Placement:
    """Places a supervised step so that each device has an equal share of the images.

    If the images do not divide equally, every device computes the whole step. The
    result is the same: batch statistics are those of all images.
    """
    rows = placement.by_rows(batch)
    return Placement((EVERYWHERE, rows, EVERYWHERE), EVERYWHERE)


# It places a meta-iteration, `(state, episodes, key)`, so that each device has an equal
# share of the tasks.
OVER_TASKS = Placement((EVERYWHERE, SPREAD, EVERYWHERE), (EVERYWHERE, None))


def in_parts(
    learner: MetaLearner,
    state: MetaState,
    tasks: Iterable[Any],
    key: jax.Array,
    norms_every: int = 0,
) -> Program:
    """Compiles a meta-iteration over tasks that differ in shape and cannot be stacked.

    The program's batch is a tuple of tasks, episodes with a leading axis of 1. Its
    result is that of `parts.meta_update`. `tasks` has a task of every shape.
    """

    def gradient(state, task, key, number):
        grads, metrics = learner.gradient(state, task, key, number)
        return grads, parts.task_metrics(metrics)

    @jax.jit
    def finish(state, grads, count):
        grads = jax.tree.map(lambda g: g / count, grads)
        after = learner.apply(state, grads)
        return after, parts.norms(norms_every, state, after, grads)

    add = jax.jit(lambda total, grads: jax.tree.map(jnp.add, total, grads))
    calls = ((state, task, key, np.int32(0)) for task in tasks)
    everywhere = Placement((EVERYWHERE,) * 4)
    program = by_shape(gradient, calls, lambda task: everywhere)

    def update(state: MetaState, batch: tuple[Any, ...], key: jax.Array) -> Any:
        total, metrics = None, []
        for number, task in enumerate(batch):
            grads, of_task = program.update(state, task, key, np.int32(number))
            total = grads if total is None else add(total, grads)
            metrics.append(of_task)
        state, norms = finish(state, total, np.float32(len(batch)))
        together = jax.tree.map(lambda *x: np.concatenate(x), *metrics)
        return state, together | norms

    return program._replace(update=update)


def skipping(update: Update) -> Update:
    """Makes a step that changes nothing but the count where it is not finite.

    `optax.apply_if_finite` looks at gradients alone and decides for each optimizer
    separately. It also changes the optimizer's state, so that a run without it could
    not go on with it.
    """

    def step(state, batch, key):
        after, metrics = update(state, batch, key)
        return _if_finite(state, after, metrics["loss"], metrics["grad_norm"]), metrics

    return step


@jax.jit
def _if_finite(before: MetaState, after: MetaState, *numbers: jax.Array) -> MetaState:
    is_finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(x)) for x in numbers]))
    kept = jax.tree.map(lambda x, y: jnp.where(is_finite, y, x), before, after)
    return kept._replace(step=after.step)


def operations(
    learner: MetaLearner, state: MetaState, batch: Any, key: jax.Array
) -> float:
    """Counts operations of a meta-iteration on a batch, stacked or as of `in_parts`."""
    if isinstance(batch, Episode):
        return flops.of_function(learner.update, state, batch, key)
    return sum(flops.of_function(learner.gradient, state, part, key) for part in batch)


def supervised(
    model: Model,
    preprocess: Preprocess,
    optimizer: optax.GradientTransformation,
    head_only: bool = False,
    loss_fn: LossFn | None = None,
    norms_every: int = 0,
) -> Update:
    """Makes a supervised step, `(state, batch, key) -> (state, metrics)`, not jitted.

    The optimizer changes the leaves of `Model.learns` and the head. One with extra
    arguments receives the batch's "rate". With `head_only` the body's gradient is
    zero. The default loss is that of a linear head. Where `norms_every` is not 0, the
    metrics have `health.layer_norms`.
    """
    loss_fn = loss_fn or classification.loss_fn(model)
    mask = classification.with_head(model.learns)
    optimizer = optax.with_extra_args_support(optimizer)

    def step(state, batch, key):
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        prepared = preprocess.for_training(state.params, batch, augment_key)
        learned, fixed = masks.split(state.params, mask, "meta_mask")

        def loss_of(learned):
            params = masks.merge(learned, fixed)
            if head_only:
                params = params | {"body": jax.lax.stop_gradient(params["body"])}
            return loss_fn(params, prepared, dropout_key)

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(learned)
        updates, opt_state = optimizer.update(
            grads, state.opt_state, learned, rate=batch.get("rate")
        )
        params = masks.merge(optax.apply_updates(learned, updates), fixed)
        metrics = {"loss": loss, **metrics, "grad_norm": optax.tree.norm(grads)}
        after = MetaState(params, opt_state, state.step + 1)
        if norms_every:
            norms = health.layer_norms(norms_every, state, after, grads)
            metrics[health.NORMS] = norms
        return after, metrics

    return step


def start(
    model: Model,
    optimizer: optax.GradientTransformation,
    body: Any,
    images: Any,
    classes: int,
    head: Callable[[int, int], dict[str, jax.Array]] = classification.linear_head,
) -> MetaState:
    """Gives the state before the first step.

    Images, float32 [n, h, w, c], give only shapes. `head` is `(features, classes) ->
    head`, of two numbers.
    """
    features = classification.feature_count(model, body, images)
    params = {"body": body, "head": head(features, classes)}
    state = MetaState(params, None, jnp.zeros((), jnp.int32))
    return restarted(state, model, optimizer)


def restarted(
    state: MetaState, model: Model, optimizer: optax.GradientTransformation
) -> MetaState:
    """Gives the state with the optimizer's own state as before the first step."""
    mask = classification.with_head(model.learns)
    learned, _ = masks.split(state.params, mask, "meta_mask")
    return state._replace(opt_state=optimizer.init(learned))


def _shapes(batch: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(np.shape(leaf) for leaf in jax.tree.leaves(batch))
