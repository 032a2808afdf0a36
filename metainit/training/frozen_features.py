"""What a frozen encoder makes of every image, computed once and kept on disk."""

import functools
import hashlib
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from numpy.lib.format import open_memmap
from tqdm import tqdm

from metainit.data.batches import chunks
from metainit.data.loading import Roles, Source
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime.budget import seconds_each

CHUNK = 64  # images a call of the compiled encoder

# Part of every key: raise it when the layout on disk changes.
_FORMAT = 1


def on_maps(model: Model, images: Any) -> Model:
    """The model on maps that `encode` made; its parameters stay those for images.

    Args:
      model: with `Model.encode`.
      images: float32 [n, h, w, c], for shapes only.
    """
    return model._replace(encode=None, init=lambda key, _: model.init(key, images))


def encode(
    roles: Roles,
    model: Model,
    body: Any,
    preprocess: Preprocess,
    folder: str | pathlib.Path,
) -> Roles:
    """Roles whose images are maps of features: float32 [n, h, w, c], memory-mapped.

    A map that exists for the same images, weights, normalisation and precision is used
    again. Maps are written beside their place and renamed, so that an interrupted call
    leaves none.

    Args:
      roles: of uint8 images; images are not augmented.
      model: with `Model.encode`.
      body: its parameters, float32.
      preprocess: of which the normalisation is used.
      folder: of the maps; made where missing.

    Raises:
      ValueError: when the disk has no room for them.
    """
    of_chunk = _of_chunk(model, preprocess)
    network = hashlib.sha256(repr((_FORMAT, preprocess.mean, preprocess.std)).encode())
    network.update(model.computed_in.encode())
    for name, leaf in jax.tree_util.tree_leaves_with_path(body["encoder"]):
        network.update(jax.tree_util.keystr(name).encode() + np.asarray(leaf).tobytes())
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def place(source: Source) -> tuple[pathlib.Path, tuple[int, ...]]:
        chunk = jax.ShapeDtypeStruct((CHUNK, *source.images.shape[1:]), np.uint8)
        made = jax.eval_shape(of_chunk, body, chunk)
        digest = network.copy()
        digest.update(repr((made, source.images.shape)).encode())
        # Of the images themselves where their hashes are not known.
        known = source.images if source.hashes is None else source.hashes
        digest.update(known.tobytes())
        return folder / f"{digest.hexdigest()}.npy", made.shape[1:]

    places = [(source, *place(source)) for source in sum(roles, ())]
    missing = {path: (s, shape) for s, path, shape in places if not path.exists()}
    needed = sum(4 * len(s.images) * math.prod(shape) for s, shape in missing.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"encoder.cached=True needs {needed / 1e9:.1f} GB in {folder}, and "
            f"{free / 1e9:.1f} GB are free; set it to False, cut the encoder later, "
            "lower data.size or give another data.data_dir"
        )
    for path, (source, shape) in missing.items():
        with tempfile.TemporaryDirectory(dir=folder, prefix=".new-") as new:
            part = pathlib.Path(new) / path.name
            maps = open_memmap(part, "w+", np.float32, (len(source.images), *shape))
            _fill(maps, source, lambda images: of_chunk(body, images))
            maps.flush()
            os.replace(part, path)
    made = iter(
        source._replace(images=np.load(path, mmap_mode="r"))
        for source, path, _ in places
    )
    return Roles(*(tuple(next(made) for _ in of_role) for of_role in roles))


def stand_ins(roles: Roles, model: Model, body: Any, preprocess: Preprocess) -> Roles:
    """Roles as `encode` makes them, of zeros that take no room, for a dry run.

    Prints what encoding would take; writes nothing. Arguments as of `encode`.
    """
    of_chunk = _of_chunk(model, preprocess)

    @functools.cache
    def measured(*shape: int) -> tuple[float, tuple[int, ...]]:
        """Seconds an image, and the shape of its map."""
        chunk = np.zeros((CHUNK, *shape), np.uint8)
        (seconds,) = seconds_each(lambda: of_chunk(body, chunk))
        return seconds / CHUNK, jax.eval_shape(of_chunk, body, chunk).shape[1:]

    def stand_in(source: Source) -> Source:
        _, shape = measured(*source.images.shape[1:])
        zeros = np.broadcast_to(np.float32(0), (len(source.images), *shape))
        return source._replace(images=zeros)

    found = Roles(*(tuple(map(stand_in, of_role)) for of_role in roles))
    every = [source.images for source in sum(roles, ())]
    seconds = sum(len(images) * measured(*images.shape[1:])[0] for images in every)
    size = sum(source.images.nbytes for source in sum(found, ()))
    print(
        "encoder.cached=True encodes every image once, beforehand, where that is not "
        f"done yet: about {seconds / 3600:.2f} hours and {size / 1e9:.1f} GB on disk"
    )
    return found


def _of_chunk(model: Model, preprocess: Preprocess) -> Callable:
    """`(body, images uint8 [n, h, w, c]) -> maps`, compiled."""
    assert model.encode is not None
    encode_images = model.encode
    return jax.jit(lambda body, x: encode_images(body, preprocess.normalise(x)))


def _fill(maps: np.ndarray, source: Source, encode: Callable) -> None:
    title = f"encoding {source.name}"
    with tqdm(total=len(maps), desc=title, disable=None, unit="image") as bar:
        for rows, count in chunks(np.arange(len(maps)), CHUNK):
            maps[rows[:count]] = encode(source.images[rows])[:count]
            bar.update(count)
