"""Conv-4's parameters by names in the style of PyTorch.

    blocks.0.conv.weight [filters, c, 3, 3]   blocks.0.conv.bias [filters]
    blocks.0.norm.weight [filters]            blocks.0.norm.bias [filters]

and so on for blocks 1 to 3; without normalisation there is no "norm". The classifier is
"fc.weight" [classes, features] and "fc.bias" [classes]. Features of a flattened output
are in the order height, width, filter, where PyTorch's `flatten` would put the filter
first.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

NORM_WORDS = {"scale": "weight", "bias": "bias"}


def from_torch(flat: Mapping[str, np.ndarray], like: Any) -> Any:
    """A tree with the structure and shapes of `like`, Conv-4's parameters.

    Raises:
      ValueError: naming missing, unexpected and mis-shaped keys.
    """
    paths: list[tuple[Any, Any]]
    structure: Any
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    named = {torch_name(path): leaf.shape for path, leaf in paths}
    kinds = {
        "missing": [name for name in named if name not in flat],
        "unexpected": [name for name in flat if name not in named],
        "of a shape": [
            f"{name} {list(flat[name].shape)}"
            for name, shape in named.items()
            if name in flat and _from_layout(flat[name]).shape != shape
        ],
    }
    if any(kinds.values()):
        lists = [
            f"{len(names)} {kind} ({', '.join(names)})"
            for kind, names in kinds.items()
            if names
        ]
        raise ValueError(
            f"these are not the weights of this Conv-4: {'; '.join(lists)}; give those "
            "of the same filters, normalisation and number of classes"
        )
    return structure.unflatten([_from_layout(flat[name]) for name in named])


def to_torch(tree: Any) -> dict[str, np.ndarray]:
    """{name: array in torch's layout}; the inverse of `from_torch`."""
    return {
        torch_name(path): _to_layout(np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def torch_name(path: tuple) -> str:
    """The name in a file of the leaf at `path` of the tree."""
    first, *rest = (entry.key for entry in path)
    if first == "fc":
        return f"fc.{'weight' if rest == ['kernel'] else 'bias'}"
    part, block = re.fullmatch(r"(.*)_(\d)", first).groups()  # type: ignore[union-attr]
    if rest:
        return f"blocks.{block}.norm.{NORM_WORDS[rest[-1]]}"
    return f"blocks.{block}.conv.{'weight' if part == 'kernel' else 'bias'}"


def _from_layout(value: np.ndarray) -> np.ndarray:
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def _to_layout(value: np.ndarray) -> np.ndarray:
    value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T
    return np.array(value, order="C")
