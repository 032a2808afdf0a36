"""Joint supervised pretraining: one classifier over all meta-train classes.

The baseline that meta-learning has to beat: the same images, network, augmentation,
optimizer, schedule and device time, without episodes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metainit.config.fields import Experiment
from metainit.core import masks
from metainit.core.types import MetaState
from metainit.data.loading import Source, rows
from metainit.models import classification
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.training import learner

Batch = dict[str, Any]


def batch(
    sources: tuple[Source, ...], size: int, seed: int, step: int, progress: float
) -> Batch:
    """Images drawn evenly from all sources' images; a pure function of its arguments.

    Where sources differ in the size of their images, a batch is of one of them.

    Returns:
      {"image": uint8 [size, h, w, c], "label": int32 [size], "progress": float32 []},
      labels counted on from source to source.
    """
    rng = np.random.default_rng((seed, step))
    kept = [rows(source) for source in sources]
    first_class = np.cumsum([0] + [len(source.class_names) for source in sources])
    ends = np.cumsum([len(each) for each in kept])
    if len({source.images.shape[1:] for source in sources}) == 1:
        drawn = rng.integers(ends[-1], size=size)
    else:
        one = np.searchsorted(ends, rng.integers(ends[-1]), side="right")
        drawn = ends[one] - len(kept[one]) + rng.integers(len(kept[one]), size=size)
    owner = np.searchsorted(ends, drawn, side="right")
    where = [
        kept[s][number - (ends[s] - len(kept[s]))]
        for s, number in zip(owner, drawn, strict=True)
    ]
    return {
        "image": np.stack(
            [sources[s].images[row] for s, row in zip(owner, where, strict=True)]
        ),
        "label": np.array(
            [
                sources[s].labels[row] + first_class[s]
                for s, row in zip(owner, where, strict=True)
            ],
            np.int32,
        ),
        "progress": np.float32(progress),
    }


def init(
    config: Experiment, model: Model, body: Any, images: jax.Array, classes: int
) -> MetaState:
    """The state before the first step; the classifier's head starts at zero.

    Args:
      config: of the experiment.
      model: the network body.
      body: its parameters.
      images: float32 [n, h, w, c], for shapes only.
      classes: of all sources together.
    """
    kernel = jnp.zeros((classification.feature_count(model, body, images), classes))
    params = {"body": body, "head": {"kernel": kernel, "bias": kernel[0]}}
    learned, _ = masks.split(params, classification.meta_mask(model), "meta_mask")
    opt_state = learner.outer_direction(config).init(learned)
    return MetaState(params, opt_state, jnp.zeros((), jnp.int32))


def update(config: Experiment, model: Model, preprocess: Preprocess) -> Any:
    """`(state, batch, key) -> (state, metrics)`, one supervised step; not jitted.

    The batch's "progress", float32 [], is the device time spent so far in
    meta-iterations' worth: the rate follows the same schedule as meta-learning's.
    """
    loss_fn = classification.loss_fn(model)
    mask = classification.meta_mask(model)
    direction = learner.outer_direction(config)
    rate = learner.schedule(config, config.joint.learning_rate)

    def step(state, batch, key):
        key = jax.random.fold_in(key, state.step)
        augment_key, dropout_key = jax.random.split(key)
        prepared = preprocess.for_training(state.params, batch, augment_key)
        learned, fixed = masks.split(state.params, mask, "meta_mask")
        (loss, metrics), grads = jax.value_and_grad(
            lambda learned: loss_fn(masks.merge(learned, fixed), prepared, dropout_key),
            has_aux=True,
        )(learned)
        updates, opt_state = direction.update(grads, state.opt_state, learned)
        now = rate(batch["progress"])
        learned = jax.tree.map(lambda p, u: p - now * u, learned, updates)
        params = masks.merge(learned, fixed)
        metrics = {"loss": loss, **metrics, "grad_norm": learner.grad_norm(opt_state)}
        return MetaState(params, opt_state, state.step + 1), metrics

    return step
