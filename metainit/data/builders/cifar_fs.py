"""CIFAR-FS: the 100 classes of CIFAR-100, 600 images each, as 64 / 16 / 20.

Images of Krizhevsky (2009), from the official binary archive, its training and test
files pooled; the split of classes of Bertinetto et al. (arXiv:1805.08136).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metainit.data import cache, images
from metainit.data.builders import archive, catalog
from metainit.data.builders.fetch import obtain

NAMES = "fine_label_names.txt"
_RECORDS = ("train.bin", "test.bin")
_SIDE = 32
# Coarse label, fine label, then the red, green and blue planes.
_RECORD = 2 + 3 * _SIDE * _SIDE

# The other 64 classes are for training.
_VALIDATION = """
beaver beetle butterfly camel cattle crab crocodile flatfish lamp maple_tree
motorcycle otter sea shark television tractor
""".split()
_TEST = """
baby bed bicycle chimpanzee fox leopard man pickup_truck plain poppy rocket rose
snail sweet_pepper table telephone wardrobe whale woman worm
""".split()


def records(name: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Fine labels uint8 [n] and pixels uint8 [n, 32, 32, 3] of train.bin or test.bin.

    Raises:
      ValueError: not whole records, or a label that there is not.
    """
    if not content or len(content) % _RECORD:
        raise ValueError(
            f"{name} has {len(content)} bytes, which is not a number of records of "
            f"{_RECORD}"
        )
    table = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    labels = table[:, 1]
    if (worst := np.max(labels)) > 99:
        raise ValueError(f"{name} has the label {worst}, and 99 is the highest")
    return labels, table[:, 2:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)


def read(data: Any) -> dict[str, cache.Part]:
    """The three roles, from the archive, downloaded on first use.

    Args:
      data: see `metainit.data.loading.load`. `archive` may name a tar.gz of the
        official layout, also one with fewer images.

    Raises:
      ValueError: a missing file, or one of another layout.
    """
    entry = catalog.CATALOG["cifar_fs"]
    path = obtain(data, entry)[0]

    def build() -> dict[str, cache.Pending]:
        try:
            return _pending(*_pooled(path, entry.files[0].most), data)
        except ValueError as error:
            raise ValueError(
                f"data.archive={path}: {error}; give the official archive, or one of "
                "its layout"
            ) from error

    key, shape = cache.file_key(path), (data.size, data.size, data.channels)
    return cache.cached(data.data_dir, entry.name, key, shape, build)


def _pending(
    names: list[str], labels: np.ndarray, pixels: np.ndarray, data: Any
) -> dict[str, cache.Pending]:
    held_out = {*_VALIDATION, *_TEST}
    split = {
        "train": tuple(name for name in sorted(names) if name not in held_out),
        "validation": tuple(_VALIDATION),
        "test": tuple(_TEST),
    }
    # Class by class, so that an episode reads neighbouring pages.
    order = np.argsort(labels, kind="stable")

    def pending(role: str) -> cache.Pending:
        label_of = {name: label for label, name in enumerate(split[role])}
        numbers = [number for number in order if names[labels[number]] in label_of]

        def rows() -> Iterator[tuple[int, np.ndarray]]:
            for number in numbers:
                image = Image.fromarray(pixels[number])
                fitted = images.fit(image, data.size, data.channels)
                yield label_of[names[labels[number]]], fitted

        return cache.Pending(len(numbers), rows(), split[role])

    return {role: pending(role) for role in cache.ROLES}


def _pooled(path: Path, limit: int) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the classes [100], labels [n] and pixels [n, 32, 32, 3], train first."""
    members = archive.members(path, lambda name: True, limit)
    content = {Path(name).name: content for name, content, _ in members}
    names = content.get(NAMES, b"").decode(errors="replace").split()
    if len(names) != 100 or not {*_VALIDATION, *_TEST} <= set(names):
        raise ValueError(f"{NAMES} does not name the 100 classes of CIFAR-100")
    parts = [records(name, content.get(name, b"")) for name in _RECORDS]
    labels, pixels = (np.concatenate(part) for part in zip(*parts, strict=True))
    return names, labels, pixels
