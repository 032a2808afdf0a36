"""One step of plain supervised learning."""

from typing import Any

import jax
import optax

from metainit.core import masks
from metainit.core.types import MetaState
from metainit.models import classification
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess


def update(
    model: Model,
    preprocess: Preprocess,
    optimizer: optax.GradientTransformation,
    head_only: bool = False,
) -> Any:
    """`(state, batch, key) -> (state, metrics)`, one supervised step; not jitted.

    Args:
      model: the network body; what it does not learn rides along.
      preprocess: of images.
      optimizer: of the leaves of `classifier.meta_mask`.
      head_only: take the gradient of the head alone; the body's is zero then.
    """
    loss_fn, mask = classification.loss_fn(model), classification.meta_mask(model)

    def step(state, batch, key):
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        batch = preprocess.for_training(state.params, batch, augment_key)
        learned, fixed = masks.split(state.params, mask, "meta_mask")

        def loss_of(learned):
            params = masks.merge(learned, fixed)
            if head_only:
                params = params | {"body": jax.lax.stop_gradient(params["body"])}
            return loss_fn(params, batch, dropout_key)

        (loss, metrics), grads = jax.value_and_grad(loss_of, has_aux=True)(learned)
        updates, opt_state = optimizer.update(grads, state.opt_state, learned)
        params = masks.merge(optax.apply_updates(learned, updates), fixed)
        metrics = {"loss": loss, **metrics, "grad_norm": optax.tree.norm(grads)}
        return MetaState(params, opt_state, state.step + 1), metrics

    return step
