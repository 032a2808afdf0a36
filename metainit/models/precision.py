"""A network computed in half precision, its parameters and its results in full."""

from typing import Any

import jax
import jax.numpy as jnp

from metainit.models.model import Model


def in_bfloat16(model: Model) -> Model:
    """The model with parameters and images cast to bfloat16 inside its functions.

    Parameters stay float32 outside, so gradients and updates are accumulated in that;
    features, and what `encode` gives, come out as float32. Half the memory for
    activations, and about three significant digits.
    """

    def half(tree: Any) -> Any:
        return jax.tree.map(
            lambda x: (
                x.astype(jnp.bfloat16) if jnp.issubdtype(x.dtype, jnp.floating) else x
            ),
            tree,
        )

    def features(params, images, weight, key):
        found = model.features(half(params), half(images), weight, key)
        return found.astype(jnp.float32)

    def encode(params, images):
        assert model.encode is not None
        return model.encode(half(params), half(images)).astype(jnp.float32)

    return model._replace(
        features=features,
        encode=encode if model.encode else None,
        in_task=in_bfloat16(model.in_task) if model.in_task else None,
        computed_in="bfloat16",
    )
