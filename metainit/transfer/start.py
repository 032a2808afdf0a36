"""Where a fine-tuning starts: its parameters, its head, its optimiser."""

from __future__ import annotations

import functools
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metainit.core import leaves, masks, step_sizes
from metainit.core.types import MetaState
from metainit.data.loading import Source
from metainit.models import classification, heads
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import flops
from metainit.runtime.budget import compile_step
from metainit.training.initialisation import Initialisation
from metainit.transfer import held_out
from metainit.transfer.spec import Spec


def check_params(init: Initialisation, train: Source, spec: Spec) -> None:
    """Refuses parameters of another network, or a head of other classes.

    Raises:
      ValueError: naming every parameter that differs.
    """
    images = jax.ShapeDtypeStruct((2, *train.images.shape[1:]), jnp.float32)
    wanted = {"body": jax.eval_shape(init.model.init, jax.random.key(0), images)}
    given = {"body": init.body}
    if spec.head == "given":
        if init.head is None:
            raise ValueError("head='given', but the initialisation has no head")
        wanted["head"] = jax.eval_shape(
            lambda body, images: _zero_head(init.model, body, train),
            wanted["body"],
            images,
        )
        given["head"] = init.head
    if differing := leaves.differences(leaves.shapes(given), leaves.shapes(wanted)):
        raise ValueError(f"initialisation of another network: {differing}")


def state(init: Initialisation, train: Source, spec: Spec) -> MetaState:
    """The state before the first step, prototypes still to be made.

    Returns:
      Parameters {"body": ..., "head": {"kernel": [d, way], "bias": [way]}}.
    """
    given = spec.head == "given"
    head = init.head if given else _zero_head(init.model, init.body, train)
    return restarted(
        MetaState({"body": init.body, "head": head}, None, jnp.zeros((), jnp.int32)),
        init.model,
        optimizer(spec, init.inner),
    )


def restarted(
    state: MetaState, model: Model, optimizer: optax.GradientTransformation
) -> MetaState:
    """The state with the optimiser's as before its first step."""
    learned, _ = masks.split(state.params, classification.meta_mask(model), "meta_mask")
    return state._replace(opt_state=optimizer.init(learned))


class Prototypes(NamedTuple):
    """A head made of class means, and what that took.

    Attributes:
      head: {"kernel": [d, way], "bias": [way]}.
      seconds: without compiling.
      compile_seconds: of compiling.
      flops: operations, by `metainit.runtime.flops.of_function`.
    """

    head: dict[str, jax.Array]
    seconds: float
    compile_seconds: float
    flops: float


def prototypes(
    model: Model,
    preprocess: Preprocess,
    params: Any,
    moments: np.ndarray,
    train: Source,
    chosen: np.ndarray,
) -> Prototypes:
    """The head that compares squared distances to the class means.

    Args:
      model: the network body.
      preprocess: of images, which are not augmented.
      params: with a head, which says its size only.
      moments: uint8 [m, h, w, c], see `held_out.moment_images`.
      train: the training images.
      chosen: rows of those used.
    """
    way = len(train.class_names)
    count = np.bincount(train.labels[chosen], minlength=way)
    width = params["head"]["kernel"].shape[0]
    images, weight, _ = next(held_out.chunks(train, chosen))
    labels = np.zeros(held_out.CHUNK, np.int32)
    class_sums = _class_sums(model, preprocess, way)
    example = params, moments, images, weight, labels
    sums = compile_step(class_sums, *example)
    operations = flops.of_function(jax.jit(class_sums), *example)
    head = compile_step(heads.nearest_mean, np.zeros((way, width), np.float32))
    begin = time.perf_counter()
    total, spent = np.zeros((way, width)), 0.0
    for images, weight, real in held_out.chunks(train, chosen):
        labels = np.zeros(held_out.CHUNK, np.int32)
        labels[: len(real)] = train.labels[real]
        total += np.asarray(sums.update(params, moments, images, weight, labels))
        spent += operations
    means = (total / count[:, None]).astype(np.float32)
    made = jax.block_until_ready(head.update(means))
    seconds = time.perf_counter() - begin
    compiling = sums.compile_seconds + head.compile_seconds
    return Prototypes(made, seconds, compiling, spent)


@functools.lru_cache(maxsize=8)
def _class_sums(model: Model, preprocess: Preprocess, way: int) -> Any:
    """One object a program: JAX compiles it once for all that share a model."""
    features = held_out.features(model, preprocess)

    def class_sums(params, moments, images, weight, labels):
        member = jax.nn.one_hot(labels, way) * weight[:, None]
        return member.T @ features(params, moments, images, weight)

    return class_sums


def _zero_head(model: Model, body: Any, train: Source) -> dict[str, jax.Array]:
    images = jax.ShapeDtypeStruct((2, *train.images.shape[1:]), jnp.float32)
    features = classification.feature_count(model, body, images)
    kernel = jnp.zeros((features, len(train.class_names)))
    return {"kernel": kernel, "bias": kernel[0]}


def optimizer(spec: Spec, inner: Any = None) -> optax.GradientTransformation:
    """The optimiser of the settings, with every rate in its state.

    A step compiled for one rate, and one tree of step sizes, thus serves them all.

    Args:
      spec: the settings.
      inner: step sizes that were learned (`metainit.core.step_sizes`), None for none.
    """
    if spec.optimizer == "adam":
        plain = optax.inject_hyperparams(optax.adam)(spec.learning_rate)
    else:
        momentum = spec.momentum or None
        plain = optax.inject_hyperparams(optax.sgd)(spec.learning_rate, momentum)
    return plain if inner is None else optax.chain(plain, step_sizes.fixed(inner))
