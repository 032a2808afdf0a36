"""CIFAR-FS: the 100 classes of CIFAR-100, 600 images each, as 64 / 16 / 20.

The images are Krizhevsky's (2009), from both files of the official binary archive. The
split of classes is that of Bertinetto et al. (arXiv:1805.08136).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metainit.config.fields import Data
from metainit.data import cache, images
from metainit.data.builders import archive, catalog, fetch

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
    """Parses train.bin or test.bin: fine labels uint8 [n], pixels uint8 [n, 32, 32, 3].

    Raises:
      ValueError: not whole records, or a label that there is not.
    """
    if not content or len(content) % _RECORD:
        what = f"{len(content)} bytes, which are no records of {_RECORD}"
        raise ValueError(f"{name} has {what}")
    table = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    labels = table[:, 1]
    if (worst := np.max(labels)) > 99:
        raise ValueError(f"{name} has the label {worst}, and 99 is the highest")
    return labels, table[:, 2:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)


def read(data: Data) -> dict[str, cache.Part]:
    """Reads the three roles from the archive, or from a `data.archive` like it."""
    return fetch.read(data, catalog.CATALOG["cifar_fs"], _load)


def _load(paths: Sequence[Path]) -> tuple[fetch.Split, fetch.Images]:
    (file,) = catalog.CATALOG["cifar_fs"].files
    members = archive.members(paths[0], lambda name: True, file.most)
    content = {Path(name).name: content for name, content, _ in members}
    names = content.get(NAMES, b"").decode(errors="replace").split()
    if len(names) != 100 or not {*_VALIDATION, *_TEST} <= set(names):
        raise ValueError(f"{NAMES} does not name the 100 classes of CIFAR-100")
    # Training images come first.
    parts = [records(name, content.get(name, b"")) for name in _RECORDS]
    labels, pixels = (np.concatenate(part) for part in zip(*parts, strict=True))
    train = [name for name in sorted(names) if name not in {*_VALIDATION, *_TEST}]
    class_images = {
        name: [images.Encoded(label, image, name) for image in pixels[labels == label]]
        for label, name in enumerate(names)
    }
    return {"train": train, "validation": _VALIDATION, "test": _TEST}, class_images
