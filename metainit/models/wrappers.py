"""A network in half precision; a large batch's loss in pieces that fit in memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from metainit.core.types import Key, LossFn
from metainit.models.model import Model
from metainit.models.normalisation import is_statistics


def in_bfloat16(model: Model) -> Model:
    """Casts parameters and images to bfloat16 inside the model's functions.

    Parameters stay float32 outside, so gradients and updates are accumulated in that;
    features, and what `encode` gives, come out as float32. Half the memory for
    activations, and about three significant digits. Running statistics are not cast.
    """

    def half(x: jax.Array) -> jax.Array:
        return x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x

    def halved(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(
            lambda path, x: x if path and is_statistics(path, x) else half(x), params
        )

    def wrapped(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
        return lambda params, images, *more: function(
            halved(params), half(images), *more
        ).astype(jnp.float32)

    return model._replace(
        features=wrapped(model.features),
        encode=wrapped(model.encode) if model.encode else None,
        in_task=in_bfloat16(model.in_task) if model.in_task else None,
        computed_in="bfloat16",
    )


def microbatched(loss_fn: LossFn, size: int) -> LossFn:
    """Averages a loss over a batch, computed `size` examples at a time.

    Exact for losses that are means over examples which do not see each other (weighted
    where the batch has "weight", float32 [n]), so not with batch or support moments.
    Each piece is computed again for its gradient: one piece's activations are alive.
    It raises ValueError where `size` does not divide the batch.
    """

    def in_pieces(params: Any, batch: Any, key: Key) -> Any:
        count = len(jax.tree.leaves(batch)[0])
        if count % size:
            raise ValueError(
                f"inner.microbatch={size} does not divide the batch of {count} images"
            )
        pieces = jax.tree.map(
            lambda x: x.reshape(count // size, size, *x.shape[1:]), batch
        )
        weight = pieces.get("weight", jnp.ones((count // size, size)))
        total = jnp.sum(weight, 1)
        # A piece of padding counts for nothing, but by itself its mean would be 0 / 0,
        # and so would its derivatives: its examples weigh 1 there.
        pieces |= {"weight": jnp.where(total[:, None] == 0, 1, weight)}
        keys = jax.random.split(key, count // size)
        of_piece = jax.checkpoint(lambda piece, key: loss_fn(params, piece, key))
        values = jax.lax.map(lambda inputs: of_piece(*inputs), (pieces, keys))
        share = total / jnp.sum(total)
        return jax.tree.map(lambda x: jnp.tensordot(share, x, 1), values)

    return in_pieces
