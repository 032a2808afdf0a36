"""Wrappers for half precision, features of unit length and losses in pieces."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from metainit.core.types import Key, LossFn
from metainit.models.model import Model
from metainit.models.normalisation import is_statistics


def in_bfloat16(model: Model) -> Model:
    """Makes a model that casts parameters and images to bfloat16 in its functions.

    Parameters stay float32 outside, and so do the sums of gradients and updates.
    Features, and the output of `encode`, are float32. Activations take half the memory
    and have about three significant digits. Running statistics are not cast.
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


def unit_length(model: Model, scale: float) -> Model:
    """Scales features to unit length times a factor that is meta-learned.

    The body, a dict, gets the `Model.scalars` "log_scale" and "log_penalty", both [].
    The first begins at log(scale). The second begins at 0 and is for
    `metainit.models.heads.ridge`. Inner steps change neither, so that the start of a
    task, its inner loss and its query loss have one scale.
    """
    scalars = "log_scale", "log_penalty"

    def init(key: Key, images: jax.Array) -> Any:
        start = jnp.log(jnp.float32(scale)), jnp.zeros(())
        return {**model.init(key, images), **dict(zip(scalars, start, strict=True))}

    def features(
        body: Any, images: jax.Array, weight: jax.Array | None, key: Key | None
    ) -> jax.Array:
        x = model.features(without(scalars, body), images, weight, key)
        length = jnp.sqrt(jnp.sum(jnp.square(x), -1, keepdims=True) + 1e-12)
        return jnp.exp(body["log_scale"]) * x / length

    def adapts(path: tuple, leaf: Any) -> bool:
        return path[0].key not in scalars and model.adapts(path, leaf)

    def learns(path: tuple, leaf: Any) -> bool:
        return path[0].key in scalars or model.learns(path, leaf)

    def layer_of(path):
        assert model.layer_of is not None
        return None if path[0].key in scalars else model.layer_of(path)

    return model._replace(
        init=init,
        features=features,
        adapts=adapts,
        learns=learns,
        layer_of=layer_of if model.layer_of else None,
        scalars=scalars,
        in_task=unit_length(model.in_task, scale) if model.in_task else None,
    )


def without(scalars: Sequence[str], body: Any) -> Any:
    """Gives a body without its `Model.scalars`."""
    return {name: part for name, part in body.items() if name not in scalars}


def microbatched(loss_fn: LossFn, size: int) -> LossFn:
    """Makes a loss that computes a batch in pieces of `size` examples.

    It is exact for a mean over examples that do not see each other, so not with batch
    or support moments. The mean is weighted where the batch has "weight", float32 [n].
    Gradients compute a piece again, so that only one piece's activations are in memory.
    Examples of weight 0 fill the last piece. Every piece gets an episode's "classes"
    [way].
    """

    def in_pieces(params: Any, batch: Any, key: Key) -> Any:
        batch = dict(batch)
        classes = {"classes": batch.pop("classes")} if "classes" in batch else {}
        count = len(jax.tree.leaves(batch)[0])
        pieces_count = -(-count // size)
        if missing := pieces_count * size - count:
            batch.setdefault("weight", jnp.ones(count))
            batch = jax.tree.map(
                lambda x: jnp.pad(x, [(0, missing)] + [(0, 0)] * (x.ndim - 1)), batch
            )
        pieces = jax.tree.map(
            lambda x: x.reshape(pieces_count, size, *x.shape[1:]), batch
        )
        weight = pieces.get("weight", jnp.ones((pieces_count, size)))
        total = jnp.sum(weight, 1)
        # A piece of padding counts for nothing, but its mean and derivatives would be
        # 0 / 0. So its examples weigh 1 in them.
        pieces |= {"weight": jnp.where(total[:, None] == 0, 1, weight)}
        keys = jax.random.split(key, pieces_count)
        of_piece = jax.checkpoint(
            lambda piece, key: loss_fn(params, piece | classes, key)
        )
        values = jax.lax.map(lambda inputs: of_piece(*inputs), (pieces, keys))
        share = total / jnp.sum(total)
        return jax.tree.map(lambda x: jnp.tensordot(share, x, 1), values)

    return in_pieces
