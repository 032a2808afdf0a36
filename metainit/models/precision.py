"""A network computed in half precision, its parameters and its results in full."""

from typing import Any

import jax
import jax.numpy as jnp

from metainit.models.model import Model


def in_bfloat16(model: Model) -> Model:
    """The model with parameters and images cast to bfloat16 inside `features`.

    Parameters stay float32 outside, so gradients and updates are accumulated in that;
    features come out as float32. Half the memory for activations, and about three
    significant digits.
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

    half_model = model._replace(features=features)
    if model.in_task is None:
        return half_model
    encode = model.in_task.encode
    assert encode is not None
    # In front as it is inside `features`.
    in_task = in_bfloat16(model.in_task)._replace(
        encode=lambda params, images: encode(half(params), half(images))
    )
    return half_model._replace(in_task=in_task)
