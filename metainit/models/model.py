"""What the laboratory asks of a network: two pure functions."""

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
    """Masks all leaves that have a gradient."""
    return is_float(leaf)


class Model(NamedTuple):
    """A network body; heads are put on it by `metainit.models.heads`."""

    # `(key, images float32 [n, height, width, c]) -> parameters`.
    init: InitFn
    # `(parameters, images, weight, key) -> float32 [n, d]`. `weight`, float32 [n] or
    # None, is each image's share in normalisation moments (0 for padding and for a
    # query that must not be seen). `key` drives dropout; None switches it off.
    features: FeaturesFn
    # Whether a query is normalised by its support: both are given together then.
    joint: bool = False
    policy: str = "none"  # of normalisation, in words for every result row
    adapts: LeafMask = every  # what inner steps change
    # What training changes. The others (a frozen encoder, running statistics) ride
    # along.
    learns: LeafMask = every
    # A frozen part in front, `(parameters, images) -> images`, computed once a task;
    # `features` takes what it gives. None for none.
    encode: EncodeFn | None = None
    # The same network with `encode` for the part behind this one's, taking what that
    # gives: training changes it and inner steps do not, so that it is computed once a
    # task. None for none.
    in_task: "Model | None" = None
    # Whether an image's features depend on the parameters and on nothing else: no other
    # image, no dropout. They are computed once then where inner steps change none.
    alone: bool = False
    computed_in: str = ""  # the dtype of activations where it is not the parameters'
    # `(path of a leaf) -> number of its layer`: 0 for the one that sees the images,
    # None for a leaf of no layer. None where no order of layers is known.
    layer_of: LayerFn | None = None
    # Keys of the body that stand beside the network's own parameters, float32 [] each:
    # meta-learning learns them, inner steps and joint pretraining do not.
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
    """Wraps a linen module of numbered layers by how it is normalised.

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
    """`Model.layer_of` where a layer's names all end with its number ("Dense_1")."""
    return int(path[0].key.rpartition("_")[2])


def check_choice(field: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError for a choice that does not exist."""
    if value not in choices:
        raise ValueError(f"{field} must be one of {', '.join(choices)}, got {value!r}")
