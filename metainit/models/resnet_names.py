"""ResNet parameters by the names of torchvision, timm and transformers.

The tree's keys, joined by dots, are torchvision's names but for the last word; timm's
names are torchvision's. Kernels [height, width, c, features] are torch's [features, c,
height, width], 1x1 kernels [c, features] are [features, c, 1, 1], and the classifier
"fc" is {"kernel": [features, classes], "bias": [classes]}.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

# The last word: ours in batch normalisation, torch's.
NORM_WORDS = {
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# transformers' names, after an optional "resnet.", to torchvision's.
TRANSFORMERS = (
    (r"embedder\.embedder\.convolution\.", "conv1."),
    (r"embedder\.embedder\.normalization\.", "bn1."),
    (r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.convolution\.", "0."),
    (r"encoder\.stages\.(\d+)\.layers\.(\d+)\.shortcut\.normalization\.", "1."),
    (r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.convolution\.", "conv"),
    (r"encoder\.stages\.(\d+)\.layers\.(\d+)\.layer\.(\d+)\.normalization\.", "bn"),
    (r"classifier\.1\.", "fc."),
)
SHOWN = 5  # names of each kind in an error


def from_torch(flat: Mapping[str, np.ndarray], like: Any) -> Any:
    """A ResNet's tree of the arrays of a file.

    Parts of a ResNet that `like` does not have at all (the classifier, stages after a
    cut) are left out, and so are counters of batches. Nothing is converted but layout.

    Args:
      flat: {name: array} with torchvision's, timm's or transformers' names.
      like: the tree wanted, arrays or their shapes: a ResNet's parameters, with "fc"
        where the classifier is wanted.

    Returns:
      A tree with the structure and shapes of `like`; numpy arrays in the file's dtypes.

    Raises:
      ValueError: naming every kind of missing, unexpected and mis-shaped key.
    """
    flat = {torchvision_name(name): value for name, value in flat.items()}
    paths: list[tuple[Any, Any]]
    structure: Any
    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {_name(path): leaf for path, leaf in paths}
    parts = {name.split(".")[0] for name in wanted}
    problems: dict[str, list[str]] = {"missing": [], "unexpected": [], "of a shape": []}
    for name in flat:
        part = name.split(".")[0]
        left_out = name.endswith(".num_batches_tracked") or (
            re.fullmatch(r"conv1|bn1|layer[1-4]|fc", part) and part not in parts
        )
        if name not in wanted and not left_out:
            problems["unexpected"].append(name)
    leaves = []
    for name, leaf in wanted.items():
        if name not in flat:
            problems["missing"].append(name)
            continue
        value = _from_layout(np.asarray(flat[name]))
        if value.shape != leaf.shape:
            ours = _to_layout(np.broadcast_to(np.float32(0), leaf.shape), name).shape
            problems["of a shape"].append(
                f"{name} {list(np.shape(flat[name]))} and not {list(ours)}"
            )
        leaves.append(value)
    if any(problems.values()):
        kinds = [
            f"{len(names)} {kind} ({', '.join(names[:SHOWN])}"
            f"{', ...' if len(names) > SHOWN else ''})"
            for kind, names in problems.items()
            if names
        ]
        raise ValueError(
            f"these are not the weights of this ResNet: {'; '.join(kinds)}; give a "
            "file of the same stage sizes, width and number of classes"
        )
    return structure.unflatten(leaves)


def to_torch(tree: Any) -> dict[str, np.ndarray]:
    """{torchvision's name: array in torch's layout}; the inverse of `from_torch`."""
    named = {
        _name(path): np.asarray(leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    return {name: _to_layout(leaf, name) for name, leaf in named.items()}


def torchvision_name(name: str) -> str:
    """torchvision's name for a parameter that transformers calls `name`."""
    bare = name.removeprefix("resnet.")
    for pattern, word in TRANSFORMERS:
        if not (found := re.match(pattern, bare)):
            continue
        rest = bare[found.end() :]
        if not found.groups():
            return word + rest
        stage, block, *layer = map(int, found.groups())
        place = f"layer{stage + 1}.{block}."
        if layer:
            return f"{place}{word}{layer[0] + 1}.{rest}"
        return f"{place}downsample.{word}{rest}"
    return name


def _name(path: tuple) -> str:
    *parents, last = (entry.key for entry in path)
    word = "weight" if last == "kernel" else NORM_WORDS[last]
    return ".".join([*parents, word])


def _from_layout(value: np.ndarray) -> np.ndarray:
    if value.ndim == 4 and value.shape[2:] == (1, 1):
        value = value[:, :, 0, 0]
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T


def _to_layout(value: np.ndarray, name: str) -> np.ndarray:
    if value.ndim == 4:
        return np.array(value.transpose(3, 2, 0, 1), order="C")
    value = np.array(value.T, order="C")  # keeps scalars as they are
    is_linear = value.ndim < 2 or name.startswith("fc.")
    return value if is_linear else value[:, :, None, None]
