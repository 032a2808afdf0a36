"""Who reads each data set of the catalog, and noise in place of one that is absent."""

from collections.abc import Callable, Sequence

import numpy as np

from metainit.config.fields import Data
from metainit.data import cache, class_splits
from metainit.data.builders import cifar_fs, omniglot, prepared
from metainit.data.builders.catalog import CATALOG


def _read_glyphs(data: Data) -> dict[str, cache.Part]:
    # They need matplotlib and TFDS, which everything else here does without.
    from metainit.data.builders import glyphs

    return glyphs.read(data)


# Each data set that has a split of its classes, and what reads the images of its roles.
READERS: dict[str, Callable[[Data], dict[str, cache.Part]]] = {
    "cifar_fs": cifar_fs.read,
    "glyphs": _read_glyphs,
    "omniglot": omniglot.read,
}


def read(data: Data) -> dict[str, cache.Part]:
    """Reads the images of a data set of the catalog by role.

    Raises:
      ValueError: in one line, which field is wrong and what would work.
    """
    if reader := READERS.get(data.name):
        return reader(data)
    return prepared.read(data, data.name)


def stand_in(data: Data) -> dict[str, cache.Part]:
    """Makes noise in the shapes of a data set of the catalog, to time steps with.

    All images of a role share their memory, and nothing is written to disk.
    """
    entry = CATALOG[data.name.removeprefix("tfds:")]
    images = entry.per_class[0] if entry.per_class else entry.total // entry.classes
    counts: Sequence[int] | None = entry.roles
    if counts is None:
        numbers = [f"{number:03}" for number in range(entry.classes)]
        split = class_splits.shuffle_split(numbers, data.split)
        counts = [len(split.get(role, ())) for role in cache.ROLES]
    rng = np.random.default_rng(list(entry.name.encode()))
    shape = (data.size, data.size, data.channels)
    parts = {}
    for role, classes in zip(cache.ROLES, counts, strict=True):
        if classes:
            count = classes * images
            image = rng.integers(0, 256, shape, dtype=np.uint8)
            parts[role] = cache.Part(
                images=np.broadcast_to(image, (count, *shape)),
                labels=np.repeat(np.arange(classes, dtype=np.int32), images),
                names=tuple(f"{role} {number:04}" for number in range(classes)),
                hashes=rng.integers(0, 2**64, count, dtype=np.uint64),
            )
    return parts
