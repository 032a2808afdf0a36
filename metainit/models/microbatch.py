"""A large batch's loss, taken in pieces that fit in memory."""

from typing import Any

import jax
import jax.numpy as jnp

from metainit.core.types import Key, LossFn


def microbatched(loss_fn: LossFn, size: int) -> LossFn:
    """The mean loss over a batch, computed `size` examples at a time.

    Exact for losses that are means over examples which do not see each other, so not
    with normalisation by batch or support moments. Each piece is computed again for its
    gradient: only one piece's activations are alive.

    Args:
      loss_fn: `(params, batch, key) -> (loss, metrics)`, means over the batch, a dict;
        weighted ones where it has "weight", float32 [n].
      size: examples of a piece; it must divide the batch.

    Returns:
      A function like `loss_fn`. It raises ValueError where `size` does not divide the
      batch.
    """

    def in_pieces(params: Any, batch: Any, key: Key) -> Any:
        count = len(jax.tree.leaves(batch)[0])
        if count % size:
            raise ValueError(
                f"inner.microbatch={size} does not divide the batch of {count} images; "
                "take a divisor of it, or 0 for the whole batch at once"
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
        one = jax.checkpoint(lambda piece, key: loss_fn(params, piece, key))
        values = jax.lax.map(lambda given: one(*given), (pieces, keys))
        share = total / jnp.sum(total)
        return jax.tree.map(lambda x: jnp.tensordot(share, x, 1), values)

    return in_pieces
