"""Keeps decoded images on disk, which are written once and then memory-mapped."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock
import numpy as np
from numpy.lib.format import open_memmap
from tqdm import tqdm

from metainit.data import images
from metainit.runtime import atomic

ROLES = ("train", "validation", "test")

# Part of every key: raise it when the layout on disk or `images.fit` changes.
_FORMAT = 2

_DIGEST = "sha256"  # a file, of the small ones beside it
_CHECKED = 1 << 29  # bytes of images or maps that are looked at before they are used


class Part(NamedTuple):
    """The images of one role."""

    images: np.ndarray  # uint8 [n, H, W, C], in memory or memory-mapped
    labels: np.ndarray  # int32 [n], index into `names`
    names: tuple[str, ...]  # the classes
    hashes: np.ndarray  # uint64 [n], of every image's bytes


def hash_image(image: np.ndarray) -> int:
    """Hashes the bytes of an image, not its shape, to 64 bits."""
    digest = hashlib.blake2b(image.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def first_of(labels: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Finds for each image the first of its class with the same pixels, int [n]."""
    pairs = np.stack([labels.astype(np.uint64), hashes], 1)
    _, first, number = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    return first[number.reshape(-1)]


class Pending(NamedTuple):
    """The images of one role before they are decoded."""

    items: Iterable[images.Encoded]
    total: int  # their number
    names: Sequence[str]  # the classes that labels are indices of


def root(data_dir: str) -> Path:
    """Names the folder of downloads, prepared data sets and caches.

    "" stands for $METAINIT_DATA_DIR, or ~/.cache/metainit where that is unset.
    """
    chosen = data_dir or os.environ.get("METAINIT_DATA_DIR") or "~/.cache/metainit"
    return Path(chosen).expanduser()


def file_key(*paths: Path) -> list[tuple[str, int, int]]:
    """Lists path, size in bytes and time of change in ns of each file."""
    stats = ((os.path.abspath(path), path.stat()) for path in paths)
    return [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]


def cached(
    data_dir: str,
    name: str,
    key: object,
    shape: tuple[int, int, int],
    skip: bool | None,
    build: Callable[[], Mapping[str, Pending]],
) -> dict[str, Part]:
    """Reads the images of each role from a cache, which it writes if there is none.

    A second process waits for the first that writes. An interrupted build leaves no
    cache. A damaged cache is written again; of a large one only a part is checked.

    Args:
      data_dir: as for `root`, below which caches lie.
      name: a part of the cache's name.
      key: what the images depend on, compared by its `repr`.
      shape: [H, W, C] of an image.
      skip: whether to leave out what does not decode, as for `images.decode_all`.
      build: gives the images of each role; called only to write a cache.
    """
    digest = hashlib.sha256(repr((_FORMAT, key, shape)).encode()).hexdigest()[:16]
    folder = root(data_dir) / "cache"
    final = folder / f"{name}-{'x'.join(map(str, shape))}-{digest}"
    if final.is_dir():
        try:
            return _parts(final)
        except atomic.DamagedError as error:
            logging.warning("%s: the cache is made again", error)
    make(folder)
    new = folder / f".new-{final.name}"
    with filelock.FileLock(folder / f".{final.name}.lock"):
        try:
            return _parts(final)  # another process may have made it
        except atomic.DamagedError:
            for place in (final, new):
                shutil.rmtree(place, ignore_errors=True)
        try:
            for role, pending in build().items():
                _write(new / role, pending, shape, skip, f"{name} {role}")
            os.rename(new, final)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    return _parts(final)


def make(folder: Path) -> None:
    """Makes a folder below the data folder, or raises ValueError with the reason."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"data_dir: {folder} cannot be made ({error.strerror}); give another "
            "data_dir, or set METAINIT_DATA_DIR"
        ) from error


def _parts(final: Path) -> dict[str, Part]:
    with atomic.reading(final):
        return {path.name: _read(path) for path in sorted(final.iterdir())}


def _write(
    folder: Path,
    pending: Pending,
    shape: tuple[int, int, int],
    skip: bool | None,
    title: str,
) -> None:
    folder.mkdir(parents=True)
    path, (side, _, channels) = folder / "images.npy", shape
    array = allocated(path, np.uint8, (pending.total, *shape))
    labels: list[int] = []
    hashes: list[int] = []
    rows = images.decode_all(pending.items, side, channels, skip)
    for label, image in tqdm(
        rows, title, pending.total, leave=False, disable=None, unit="image"
    ):
        if image is not None:
            array[len(labels)] = image
            labels.append(label)
            hashes.append(hash_image(image))
    if skipped := pending.total - len(labels):
        logging.warning("%s: left out %d undecodable images", title, skipped)
        np.save(folder / "kept.npy", array[: len(labels)])
        os.replace(folder / "kept.npy", path)
    # A class may have lost its last image.
    present, renumbered = np.unique(labels, return_inverse=True)
    np.save(folder / "labels.npy", renumbered.astype(np.int32))
    np.save(folder / "hashes.npy", np.array(hashes, np.uint64))
    names = [pending.names[number] for number in present]
    (folder / "names.json").write_text(json.dumps(names), encoding="utf-8")
    (folder / _DIGEST).write_text(_digest(folder))


def allocated(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """Makes a memory-mapped .npy file and reserves all its room on the disk.

    If the disk became full later, the system would end the process.
    """
    array = open_memmap(path, "w+", dtype, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                words = error.strerror or str(error)
                raise OSError(error.errno, words, str(path)) from None
    return array


def _read(folder: Path) -> Part:
    with atomic.reading(folder):
        part = Part(
            np.load(folder / "images.npy", mmap_mode="r"),
            np.load(folder / "labels.npy"),
            tuple(json.loads((folder / "names.json").read_text(encoding="utf-8"))),
            np.load(folder / "hashes.npy"),
        )
        if (folder / _DIGEST).read_text() != _digest(folder):
            raise ValueError("labels, names or hashes are not as they were written")
        check(part.images, part.hashes)
        return part


def check(arrays: np.ndarray, hashes: np.ndarray) -> None:
    """Raises ValueError if arrays [n, ...] have other hashes.

    Of large arrays only a part is read.
    """
    if len(arrays) != len(hashes):
        raise ValueError(f"{len(arrays)} arrays and {len(hashes)} hashes")
    some = max(1, _CHECKED // max(1, arrays[:1].nbytes))
    every = -(-len(arrays) // some) or 1
    for number in range(0, len(arrays), every):
        if hash_image(arrays[number]) != hashes[number]:
            raise ValueError(f"number {number} is not as it was written")


def _digest(folder: Path) -> str:
    small = ("labels.npy", "names.json", "hashes.npy")
    content = b"".join((folder / name).read_bytes() for name in small)
    return hashlib.sha256(content).hexdigest()
