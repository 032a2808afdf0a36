"""What a frozen encoder makes of every image, computed once and kept on disk."""

import functools
import math
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.format import open_memmap
from tqdm import tqdm

from metainit.data.batches import chunks
from metainit.data.loading import Source
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import digest
from metainit.runtime.budget import seconds_each
from metainit.training.initialisation import Initialisation

CHUNK = 64  # images a call of the compiled encoder

# Part of every key: raise it when what is on disk changes, or how it is computed.
_FORMAT = 2


def on_maps(init: Initialisation, images: Any) -> Initialisation:
    """The initialisation on maps that `encode` made of images [n, h, w, c].

    Its parameters stay those for images.
    """
    return init._replace(
        model=_on_maps(init.model, (2, *images.shape[1:])),
        preprocess=init.preprocess.of_features(),
    )


@functools.cache  # so that what is compiled for a model is found again
def _on_maps(model: Model, shape: tuple[int, ...]) -> Model:
    def init(key: jax.Array, maps: Any) -> Any:
        return model.init(key, jnp.zeros(shape))

    return model._replace(encode=None, init=init)


def encode(
    init: Initialisation, sources: Sequence[Source], folder: str | pathlib.Path
) -> tuple[Source, ...]:
    """Sources whose images are maps of features: float32 [n, h, w, c], memory-mapped.

    A map that exists in `folder` for the same images, weights, normalisation and
    precision is used again; an interrupted call leaves none that is half written.

    Raises:
      ValueError: when the disk has no room for them.
    """
    model, preprocess, body = init.model, init.preprocess, init.body
    of_chunk = _of_chunk(model, preprocess)
    settings = repr((_FORMAT, preprocess.mean, preprocess.std, model.computed_in))
    network = digest.sha256((settings, body["encoder"]))
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def place(source: Source) -> tuple[pathlib.Path, tuple[int, ...]]:
        chunk = jax.ShapeDtypeStruct((CHUNK, *source.images.shape[1:]), np.uint8)
        made = jax.eval_shape(of_chunk, body, chunk)
        # Of the images themselves where their hashes are not known.
        known = source.images if source.hashes is None else source.hashes
        key = digest.sha256((network, repr((made, source.images.shape)), known))
        return folder / f"{key}.npy", made.shape[1:]

    places = [(source, *place(source)) for source in sources]
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
    return tuple(
        source._replace(images=np.load(path, mmap_mode="r"))
        for source, path, _ in places
    )


def stand_ins(init: Initialisation, sources: Sequence[Source]) -> tuple[Source, ...]:
    """Sources as `encode` makes them, of zeros that take no room, for a dry run.

    Prints what encoding would take; writes nothing.
    """
    of_chunk = _of_chunk(init.model, init.preprocess)

    @functools.cache
    def measured(*shape: int) -> tuple[float, tuple[int, ...]]:
        """Seconds an image, and the shape of its map."""
        chunk = np.zeros((CHUNK, *shape), np.uint8)
        (seconds,) = seconds_each(lambda: of_chunk(init.body, chunk))
        return seconds / CHUNK, jax.eval_shape(of_chunk, init.body, chunk).shape[1:]

    def stand_in(source: Source) -> Source:
        _, shape = measured(*source.images.shape[1:])
        zeros = np.broadcast_to(np.float32(0), (len(source.images), *shape))
        return source._replace(images=zeros)

    maps = tuple(map(stand_in, sources))
    every = [source.images for source in sources]
    seconds = sum(len(images) * measured(*images.shape[1:])[0] for images in every)
    size = sum(source.images.nbytes for source in maps)
    print(
        "encoder.cached=True encodes every image once, beforehand, where that is not "
        f"done yet: about {seconds / 3600:.2f} hours and {size / 1e9:.1f} GB on disk"
    )
    return maps


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
