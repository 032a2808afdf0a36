"""Feature maps that a frozen encoder makes of images, computed once, kept on disk.

Where the last stages of an encoder learn, its first stages make the maps.
"""

import functools
import logging
import math
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import filelock
import jax
import jax.numpy as jnp
import numpy as np
from numpy.lib.format import open_memmap

from metainit.core import masks
from metainit.data import cache
from metainit.data.batches import chunks
from metainit.data.loading import Source
from metainit.models.model import Model
from metainit.runtime import atomic, digest, progress
from metainit.runtime.budget import seconds_each
from metainit.training.initialisation import Initialisation

CHUNK = 64  # images in one call of the compiled encoder
SAMPLE = 8  # images that the encoder is timed on

# It is a part of every key. Raise it when the files change, or how maps are computed.
_FORMAT = 2
_HASHES = ".hashes"


def encode(
    init: Initialisation,
    sources: Sequence[Source],
    folder: str | pathlib.Path,
    field: str = "encoder.cached",
) -> tuple[Initialisation, tuple[Source, ...]]:
    """Encodes images, and gives initialisation and sources with the maps in place.

    The maps, float32 [n, h, w, c], are memory-mapped from `folder`. Maps that are there
    for the same images, frozen weights, normalisation and precision are used again, and
    a call that was stopped goes on. The parameters are still those for images. It
    raises ValueError where the disk has no room for the maps, and names `field`, which
    asked for them in the config.
    """
    body, of_chunk = init.body, _of_chunk(init)
    settings = repr((_FORMAT, *init.preprocess[:2], init.model.computed_in))
    # Learned weights do not change the maps, so that other runs can use them too.
    frozen = masks.split(body, init.model.learns, "learns")[1]
    network = digest.sha256((settings, frozen["encoder"]))
    folder = pathlib.Path(folder)
    cache.make(folder)

    def place(source: Source) -> tuple[pathlib.Path, tuple[int, ...]]:
        chunk = jax.ShapeDtypeStruct((CHUNK, *source.images.shape[1:]), np.uint8)
        made = jax.eval_shape(of_chunk, body, chunk)
        # The images themselves make the key where their hashes are not known.
        known = source.images if source.hashes is None else source.hashes
        key = digest.sha256((network, repr((made, source.images.shape)), known))
        return folder / f"{key}.npy", made.shape[1:]

    places = [(source, *place(source)) for source in sources]
    for _, path, _ in places:
        _require_whole(path)
    missing = {path: (s, shape) for s, path, shape in places if not path.exists()}
    needed = sum(4 * len(s.images) * math.prod(shape) for s, shape in missing.values())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ValueError(
            f"{field}=True needs {needed / 1e9:.1f} GB in {folder}, of which "
            f"{free / 1e9:.1f} are free; set it to False, or give another data.data_dir"
        )
    for path, (source, shape) in missing.items():
        with filelock.FileLock(path.with_suffix(".lock")):
            if not path.exists():  # another process may have made them
                _encode(source, path, shape, lambda images: of_chunk(body, images))
    made = (np.load(path, mmap_mode="r") for _, path, _ in places)
    return _on_maps(init, sources, made)


def _encode(
    source: Source, path: pathlib.Path, shape: tuple[int, ...], encode: Callable
) -> None:
    """Writes the maps of a source, and goes on where an earlier call was stopped."""
    part, told = path.with_suffix(".part"), path.with_suffix(".done")
    wanted = (len(source.images), *shape)
    try:
        maps, done = open_memmap(part, "r+"), int(told.read_text())
        if maps.shape != wanted or done % CHUNK:
            raise ValueError
    except (OSError, ValueError):  # there are no maps yet, or none that fit
        maps, done = cache.allocated(part, np.float32, wanted), 0
    name, total = stage_of(source), len(maps)
    with progress.Stage(name, total, done, units=0) as stage:
        progress.tell(f"{name}: {total:,} images", "")
        for rows, count in chunks(np.arange(done, total), CHUNK):
            maps[rows[:count]] = encode(source.images[rows])[:count]
            maps.flush()
            atomic.write_text(told, str(rows[count - 1] + 1))
            stage.advance(count)
    hashes = np.array([cache.hash_image(x) for x in maps], np.uint64)
    atomic.write_bytes(path.with_suffix(_HASHES), hashes.tobytes())
    os.replace(part, path)
    told.unlink(missing_ok=True)


def stage_of(source: Source) -> str:
    """Names what a terminal shows while images are encoded."""
    return f"encoding {source.name}"


def _require_whole(path: pathlib.Path) -> None:
    """Deletes maps that are not as they were written, so that they are made again."""
    hashes = path.with_suffix(_HASHES)
    if not (path.exists() and hashes.exists()):
        return
    try:
        with atomic.reading(path):
            cache.check(np.load(path, mmap_mode="r"), np.fromfile(hashes, np.uint64))
    except atomic.DamagedError as error:
        logging.warning("%s: the maps are made again", error)
        path.unlink()


def stand_ins(
    init: Initialisation, sources: Sequence[Source], field: str = "encoder.cached"
) -> tuple[Initialisation, tuple[Source, ...], float]:
    """Does as `encode` for a dry run, with zeros that take no room for the maps.

    It prints what encoding would take, also gives the seconds, and writes nothing.
    """
    of_chunk = _of_chunk(init)

    @functools.cache
    def measured(*shape: int) -> tuple[float, tuple[int, ...]]:
        """Measures the seconds for an image, and gives the shape of its map."""
        chunk = np.zeros((SAMPLE, *shape), np.uint8)
        (seconds,) = seconds_each(lambda: of_chunk(init.body, chunk))
        return seconds / SAMPLE, jax.eval_shape(of_chunk, init.body, chunk).shape[1:]

    maps, seconds = [], 0.0
    for source in sources:
        of_image, shape = measured(*source.images.shape[1:])
        seconds += len(source.images) * of_image
        maps.append(np.broadcast_to(np.float32(0), (len(source.images), *shape)))
    size = sum(images.nbytes for images in maps)
    print(
        f"{field}=True encodes every image once, where that is not done yet: about "
        f"{seconds / 3600:.2f} hours and {size / 1e9:.1f} GB on disk"
    )
    return *_on_maps(init, sources, maps), seconds


def _on_maps(
    init: Initialisation, sources: Sequence[Source], maps: Iterable[np.ndarray]
) -> tuple[Initialisation, tuple[Source, ...]]:
    model = _model_on_maps(init.model, (2, *sources[0].images.shape[1:]))
    on_maps = init._replace(model=model, preprocess=init.preprocess.of_features())
    pairs = zip(sources, maps, strict=True)
    return on_maps, tuple(source._replace(images=images) for source, images in pairs)


@functools.cache  # the same object again, for which jax has compiled already
def _model_on_maps(model: Model, shape: tuple[int, ...]) -> Model:
    def init(key: jax.Array, maps: Any) -> Any:
        return model.init(key, jnp.zeros(shape))

    return model._replace(encode=None, init=init)


def _of_chunk(init: Initialisation) -> Callable:
    """Makes `(body, images uint8 [n, h, w, c]) -> maps`, compiled."""
    assert init.model.encode is not None
    encode_images, normalise = init.model.encode, init.preprocess.normalise
    return jax.jit(lambda body, x: encode_images(body, normalise(x)))
