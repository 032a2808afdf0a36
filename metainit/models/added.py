"""Leaves, FiLM or adapters, that a network gets for inner steps to change.

They start at zero, where they change nothing. They are folded into the network's own
leaves, so that they cost next to nothing and any tree of dicts can have them.
"""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from metainit.models.model import Model

Kind = Literal["film", "adapters"]
Flat = dict[tuple[str, ...], jax.Array]
ADDED = "added"  # their key in a body
_NEEDED = {
    "film": "a normalisation, or a dense layer with a bias",
    "adapters": "a convolution larger than 1x1",
}


def with_added(model: Model, kind: Kind) -> Model:
    """Adds leaves to a network, which inner steps change instead of its own.

    Args:
      model: its parameters are dicts. Training still changes what it changes of them.
      kind: "film" turns each normalisation's output y (an MLP's, each layer's) into
        (1 + gamma) y + beta. Each channel has its gamma and beta (Perez et al. 2018,
        arXiv:1709.07871). "adapters" add a 1x1 convolution in parallel to each larger
        one, with its stride, at the centre of its kernel (Li et al. 2022,
        arXiv:2107.00358). That of a depthwise convolution is depthwise, too.

    Raises:
      ValueError: from `Model.init`, for a network without a place for them.
    """

    def init(key, images):
        body = model.init(key, images)
        flat = flatten_dict(body)
        flat = {
            name: x
            for name, x in flat.items()
            if model.adapts(tuple(map(jax.tree_util.DictKey, name)), x)
        }
        zeros = (_gammas_and_betas if kind == "film" else _adapters)(flat)
        if not zeros:
            raise ValueError(f"model.added={kind} needs {_NEEDED[kind]} that adapts")
        return {**body, ADDED: unflatten_dict(zeros)}

    def features(params, images, weight, key):
        return model.features(folded(params), images, weight, key)

    def learns(path, leaf):
        return is_added(path, leaf) or model.learns(path, leaf)

    def layer_of(path):  # an added leaf has the layer of what it is folded into
        assert model.layer_of is not None
        return model.layer_of(path[1:] if is_added(path, None) else path)

    return model._replace(
        init=init,
        features=features,
        adapts=is_added,
        learns=learns,
        layer_of=layer_of if model.layer_of else None,
        in_task=with_added(model.in_task, kind) if model.in_task else None,
    )


def is_added(path: tuple, leaf: Any) -> bool:
    """Tells whether `with_added` put a leaf into a body."""
    return path[0].key == ADDED


def folded(body: dict[str, Any]) -> dict[str, Any]:
    """Gives the body of the same network without the added leaves."""
    flat = flatten_dict({name: x for name, x in body.items() if name != ADDED})
    added = flatten_dict(body[ADDED])
    for path, leaf in added.items():
        *place, name = path
        if path in flat:  # an adapter has its kernel's name
            rows, columns = (side // 2 for side in flat[path].shape[:2])
            flat[path] = flat[path].at[rows, columns].add(leaf)
        elif name == "gamma":
            scale, bias = _scale(place, flat), (*place, "bias")
            flat[scale] = (1 + leaf) * flat[scale]
            flat[bias] = (1 + leaf) * flat[bias] + added[*place, "beta"]
    return unflatten_dict(flat)


def _gammas_and_betas(flat: Flat) -> Flat:
    zeros = {
        path[:-1]: jnp.zeros_like(x) for path, x in flat.items() if path[-1] == "bias"
    }
    places = [place for place in zeros if _scale(place, flat) in flat]
    return {
        (*place, name): zeros[place] for place in places for name in ("gamma", "beta")
    }


def _adapters(flat: Flat) -> Flat:
    return {
        path: jnp.zeros(x.shape[2:], x.dtype)
        for path, x in flat.items()
        if x.ndim > 2 and max(x.shape[:2]) > 1
    }


def _scale(place: Sequence[str], flat: Flat) -> tuple[str, ...]:
    """Gives the path of a layer's factor: a normalisation's scale, or a kernel."""
    scale = *place, "scale"
    return scale if scale in flat else (*place, "kernel")
