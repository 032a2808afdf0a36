"""CIFAR-FS: the 100 classes of CIFAR-100, 600 images each, as 64 / 16 / 20.

Images of Krizhevsky (2009), from the official binary archive, its training and test
files pooled; the split of classes of Bertinetto et al. (arXiv:1805.08136).
"""

import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from metainit.data import cache, class_splits, images
from metainit.data.builders.fetch import fetch

_URL = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
_CHECKSUM = "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
DOWNLOADS = {_URL: 169}  # url: megabytes, rounded
_MEMBERS = ("fine_label_names.txt", "train.bin", "test.bin")
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


def read(data: Any) -> dict[str, cache.Part]:
    """The three roles, from the archive, downloaded on first use.

    Args:
      data: see `metainit.data.loading.load`. `archive` may name a tar.gz of the
        official layout, also one with fewer images.

    Raises:
      ValueError: a missing file, or one of another layout.
    """
    root = cache.root(data.data_dir)
    if data.archive:
        path = Path(data.archive).expanduser()
    else:
        path = fetch(_URL, root / "downloads", _CHECKSUM)
    if not path.is_file():
        raise ValueError(f"data.archive: there is no file {path}")
    shape = (data.size, data.size, data.channels)
    return cache.cached(
        root / "cache",
        "cifar_fs",
        cache.file_key(path),
        shape,
        lambda: _pending(path, data.size, data.channels),
    )


def _pending(path: Path, size: int, channels: int) -> dict[str, cache.Pending]:
    names, fine, pixels = _records(path)
    held_out = {*_VALIDATION, *_TEST}
    split = {
        "train": tuple(name for name in sorted(names) if name not in held_out),
        "validation": tuple(_VALIDATION),
        "test": tuple(_TEST),
    }
    where = class_splits.by_role(split)

    def rows(numbers: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        for number in numbers:
            _, label = where[names[fine[number]]]
            image = Image.fromarray(pixels[number])
            yield label, images.fit(image, size, channels)

    role_of = np.array([where[name][0] for name in names])[fine]
    # Class by class, so that an episode reads neighbouring pages.
    order = np.argsort(fine, kind="stable")
    chosen = {role: order[role_of[order] == role].tolist() for role in cache.ROLES}
    return {
        role: cache.Pending(len(chosen[role]), rows(chosen[role]), split[role])
        for role in cache.ROLES
    }


def _records(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the fine classes [100], fine labels [n], pixels uint8 [n, 32, 32, 3]."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                if name in _MEMBERS and (file := archive.extractfile(member)):
                    found[name] = file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(
            f"data.archive={path} cannot be read as a tar.gz ({error}); it may be cut "
            f"short; give a whole {Path(_URL).name}"
        ) from error
    names = found.get("fine_label_names.txt", b"").decode().split()
    records = found.get("train.bin", b"") + found.get("test.bin", b"")
    whole = set(found) == set(_MEMBERS) and len(names) == 100
    if not whole or not records or len(records) % _RECORD:
        raise ValueError(
            f"data.archive={path} is not laid out as {Path(_URL).name}: "
            f"{', '.join(_MEMBERS)} with 100 names and records of {_RECORD} bytes"
        )
    table = np.frombuffer(records, np.uint8).reshape(-1, _RECORD)
    fine = table[:, 1]
    if np.max(fine) >= len(names) or not {*_VALIDATION, *_TEST} <= set(names):
        raise ValueError(f"data.archive={path} has labels that CIFAR-100 has not")
    pixels = table[:, 2:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
    return names, fine, pixels
