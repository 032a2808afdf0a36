"""A classifier to take home: a folder of five files, and what it says of images.

weights.safetensors   "body..." and "head..." of the parameters, float32
model.json            the network's settings and its normalisation policy
preprocess.json       size, channels, mean and std of the images it sees
classes.json          names, in the order of its scores
moments.npy           uint8 images whose moments normalise any other, where the
                      policy asks for them
"""

from __future__ import annotations

import io
import json
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from metainit.config import parsing
from metainit.config.fields import Network
from metainit.data.batches import chunks
from metainit.models import classification, registry
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import atomic

CHUNK = 256  # images a call of the compiled program, at most
PIXELS = 2**21  # of them
WEIGHTS, MODEL, MOMENTS = "weights.safetensors", "model.json", "moments.npy"
PREPROCESS, CLASSES = "preprocess.json", "classes.json"


class Classifier(NamedTuple):
    """What a folder holds.

    Attributes:
      settings: {"model": ..., "encoder": ..., "compute": ...} of a config: what
        network to build.
      model: the network body.
      params: {"body": ..., "head": {"kernel": [d, way], "bias": [way]}}.
      preprocess: mean and std.
      size: side of its square images in pixels.
      channels: 1 or 3.
      class_names: in the order of its scores.
      moments: uint8 [m, size, size, channels], of use where `model.joint`.
    """

    settings: dict[str, Any]
    model: Model
    params: Any
    preprocess: Preprocess
    size: int
    channels: int
    class_names: tuple[str, ...]
    moments: np.ndarray


def save(folder: str | pathlib.Path, saved: Classifier) -> None:
    """Writes the files, each whole or not at all."""
    folder = pathlib.Path(folder)
    leaves = {name: np.asarray(leaf) for name, leaf in _named(saved.params).items()}
    atomic.write_bytes(folder / WEIGHTS, safetensors.numpy.save(leaves))
    settings = saved.settings | {"batch_norm": saved.model.policy}
    _write(folder / MODEL, settings | {"moments": MOMENTS * saved.model.joint or None})
    images = {"size": saved.size, "channels": saved.channels}
    mean_std = {"mean": saved.preprocess.mean, "std": saved.preprocess.std}
    _write(folder / PREPROCESS, images | mean_std)
    _write(folder / CLASSES, list(saved.class_names))
    if saved.model.joint:
        content = io.BytesIO()
        np.save(content, saved.moments)
        atomic.write_bytes(folder / MOMENTS, content.getvalue())


def load(folder: str | pathlib.Path) -> Classifier:
    """What `save` wrote.

    Raises:
      ValueError: a file is missing, damaged or does not fit the others.
    """
    folder = pathlib.Path(folder)
    for name in (WEIGHTS, MODEL, PREPROCESS, CLASSES):
        if not (folder / name).is_file():
            raise ValueError(
                f"{folder} has no {name}: it is no folder that metainit finetune has "
                "finished; give its --out"
            )
    try:
        settings = json.loads((folder / MODEL).read_text())
        seen = json.loads((folder / PREPROCESS).read_text())
        size, channels = int(seen["size"]), int(seen["channels"])
        kept = {name: settings[name] for name in ("model", "encoder", "compute")}
        network = parsing.parse(kept | {"size": size, "channels": channels}, Network)
        model = registry.build(network)
        preprocess = Preprocess(
            tuple(seen["mean"]), tuple(seen["std"]), encode=model.encode
        )
        class_names = tuple(json.loads((folder / CLASSES).read_text()))
        moments = np.zeros((1, size, size, channels), np.uint8)
        if model.joint:
            moments = np.load(folder / MOMENTS)
        leaves = safetensors.numpy.load((folder / WEIGHTS).read_bytes())
        params = _filled(model, (size, size, channels), len(class_names), leaves)
    except (
        *(OSError, ValueError, AttributeError, KeyError, TypeError, EOFError),
        safetensors.SafetensorError,
    ) as error:
        raise ValueError(
            f"{folder} cannot be read as a classifier ({type(error).__name__}: "
            f"{error}); fine-tune again into another folder"
        ) from error
    return Classifier(
        kept, model, params, preprocess, size, channels, class_names, moments
    )


def predictor(saved: Classifier, total: int) -> Callable[[np.ndarray], np.ndarray]:
    """`(uint8 [n, size, size, channels]) -> float32 [n, way]`: class probabilities.

    An image is judged alone: what stands beside it does not matter. The compiled
    program computes as many at a time as there are in all, rounded up to a power of
    two, `CHUNK` at most, and of large images fewer.

    Args:
      saved: from `load`.
      total: images to be judged in all.
    """
    fitting = max(1, PIXELS // saved.size**2)
    powers = (max(total - 1, 0).bit_length(), fitting.bit_length() - 1)
    size = min(CHUNK, 1 << min(powers))
    of_query = classification.predict(saved.model)

    @jax.jit
    def run(params: Any, moments: jax.Array, images: jax.Array) -> jax.Array:
        support, query = (
            saved.preprocess.for_evaluation(params, {"image": x}, jax.random.key(0))
            for x in (moments, images)
        )
        return of_query(params, support, query)

    def probabilities(images: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                np.asarray(run(saved.params, saved.moments, images[rows]))[:count]
                for rows, count in chunks(np.arange(len(images)), size)
            ]
        )

    return probabilities


def _filled(
    model: Model, shape: tuple[int, ...], way: int, leaves: dict[str, np.ndarray]
) -> Any:
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    body: Any = jax.eval_shape(model.init, jax.random.key(0), images)
    count = classification.feature_count(model, body, jnp.zeros(images.shape))
    kernel, bias = np.empty((count, way)), np.empty(way)
    wanted = {"body": body, "head": {"kernel": kernel, "bias": bias}}
    named = _named(wanted)
    differing = [
        name
        for name in sorted(named.keys() | leaves.keys())
        if name not in named
        or name not in leaves
        or named[name].shape != leaves[name].shape
    ]
    if differing:
        raise ValueError(f"{WEIGHTS} is of another network: {', '.join(differing)}")
    structure = jax.tree.structure(wanted)
    return jax.tree.unflatten(structure, [jnp.asarray(leaves[name]) for name in named])


def _named(params: Any) -> dict[str, Any]:
    """Leaves by path, its parts joined by dots, in the order of the tree's leaves."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    return {".".join(str(part.key) for part in path): leaf for path, leaf in paths}


def _write(path: pathlib.Path, values: Any) -> None:
    atomic.write_text(path, json.dumps(values, indent=2) + "\n")
