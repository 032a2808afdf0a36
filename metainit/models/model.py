"""The interface of a network: pure functions, and facts about them."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from metainit.core.masks import is_float
from metainit.core.types import Key, Params
from metainit.models import normalisation

InitFn = Callable[[Key, jax.Array], Params]  # `Model.init`
FeaturesFn = Callable[[Params, jax.Array, jax.Array | None, Key | None], jax.Array]
EncodeFn = Callable[[Params, jax.Array], jax.Array]  # `Model.encode`
LeafMask = Callable[[tuple, Any], bool]  # `(path, leaf) -> bool`
LayerFn = Callable[[tuple], int | None]  # `Model.layer_of`


def every(path: tuple, leaf: Any) -> bool:
    """Tells whether a leaf can have a gradient."""
    return is_float(leaf)


class Model(NamedTuple):
    """A network's body, on which `metainit.models.heads` puts heads."""

    # `(key, images float32 [n, height, width, c]) -> parameters`.
    init: InitFn
    # `(parameters, images, weight, key) -> float32 [n, d]`. `weight`, float32 [n] or
    # None, is the share of each image in normalisation moments. It is 0 for padding and
    # for a query that must not be seen. `key` drives dropout; None switches it off.
    features: FeaturesFn
    # Whether the support normalises the query. Both are then given together.
    joint: bool = False
    policy: str = "none"  # how it normalises, in words for every result row
    adapts: LeafMask = every  # what inner steps change
    # What training changes. It leaves others, such as running statistics or a frozen
    # encoder, as they are.
    learns: LeafMask = every
    # A frozen part in front, `(parameters, images) -> images`, or None. A task computes
    # it once, and `features` takes its output.
    encode: EncodeFn | None = None
    # The rest of the network, which takes the output of `encode`. Its own `encode` is
    # the part that training changes and inner steps do not. A task computes that part
    # once. None where there is no such part.
    in_task: "Model | None" = None
    # Whether an image's features depend on nothing but the parameters: on no other
    # image and no dropout. If inner steps do not change them, they are computed once.
    alone: bool = False
    computed_in: str = ""  # the activations' dtype, if it is not the parameters'
    # `(path of a leaf) -> number of its layer`. It is 0 for the layer that sees the
    # images, and None for a leaf of no layer. Networks whose layers have no known order
    # have no such function.
    layer_of: LayerFn | None = None
    # Keys of float32 scalars that the body has beside the network's own parameters.
    # Meta-learning changes them. Inner steps and joint pretraining do not.
    scalars: tuple[str, ...] = ()


def from_linen(module: nn.Module) -> Model:
    """Wraps a linen module `(images, weight, train) -> features` of "params" alone."""

    def init(key, images):
        return module.init(key, images, None, False)["params"]

    def features(params, images, weight, key):
        train, rngs = (False, None) if key is None else (True, {"dropout": key})
        return module.apply({"params": params}, images, weight, train, rngs=rngs)

    return Model(init, features)


def normalised(module: nn.Module, norm: str) -> Model:
    """Wraps a linen module whose layers are numbered and normalised by a policy.

    It raises ValueError for a policy that is none of `normalisation.TRAINED_HERE`.
    """
    check_choice("norm", norm, normalisation.TRAINED_HERE)
    return from_linen(module)._replace(
        joint=norm == "support",
        policy=normalisation.POLICIES[norm],
        alone=norm in ("group", "none"),
        layer_of=numbered,
    )


def numbered(path: tuple) -> int:
    """Gives the number that ends a layer's name ("Dense_1"), for `Model.layer_of`."""
    return int(path[0].key.rpartition("_")[2])


def check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError for a choice that does not exist."""
    if value not in choices:
        raise ValueError(f"{field} must be one of {', '.join(choices)}, got {value!r}")
