"""What the laboratory asks of a network: two pure functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from metainit.core.types import Key, Params

# `(key, images float32 [n, height, width, c]) -> parameters`.
InitFn = Callable[[Key, jax.Array], Params]
# `(parameters, images, weight, key) -> float32 [n, d]`, see `Model.features`.
FeaturesFn = Callable[[Params, jax.Array, jax.Array | None, Key | None], jax.Array]
# `(parameters, images) -> images`, see `Model.encode`.
EncodeFn = Callable[[Params, jax.Array], jax.Array]
# `(path, leaf) -> bool`, a mask of leaves.
LeafMask = Callable[[tuple, Any], bool]


class Model(NamedTuple):
    """A network body; heads are put on it by `metainit.models.heads`.

    Attributes:
      init: `(key, images float32 [n, height, width, c]) -> parameters`.
      features: `(parameters, images float32 [n, height, width, c], weight, key) ->
        float32 [n, d]`. `weight`, float32 [n] or None, is each image's share in
        normalisation moments (0 for padding and for a query that must not be seen).
        `key` drives dropout; None switches it off.
      joint: whether a query is normalised by its support, so that both must be given to
        `features` together.
      policy: the normalisation policy in words, printed in every result row.
      adapts: the parameters that inner steps change; None for all.
      learns: the parameters that training changes; None for all. The others (a frozen
        encoder, running statistics) ride along.
      encode: a frozen part in front, computed once a task; `features` takes what it
        gives. None for none.
      in_task: the same network with `encode` for a part in front that training changes
        and inner steps do not, so that its features are computed once a task. None for
        none.
      computed_in: the dtype of activations where it is not that of the parameters.
    """

    init: InitFn
    features: FeaturesFn
    joint: bool = False
    policy: str = "none"
    adapts: LeafMask | None = None
    learns: LeafMask | None = None
    encode: EncodeFn | None = None
    in_task: Model | None = None
    computed_in: str = ""


def from_linen(module: nn.Module, joint: bool = False, policy: str = "none") -> Model:
    """A `Model` of a linen module `(images, weight, train) -> features`.

    Its parameters are the "params" collection; "dropout" is its only random stream.
    """

    def init(key, images):
        return module.init(key, images, None, False)["params"]

    def features(params, images, weight, key):
        rngs = None if key is None else {"dropout": key}
        return module.apply(
            {"params": params}, images, weight, key is not None, rngs=rngs
        )

    return Model(init, features, joint, policy)
