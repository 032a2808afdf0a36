"""Random access to fixed-size uint8 images, by role: what the sampler draws from."""

import functools
from typing import Any, NamedTuple

import numpy as np

from metainit.datasets import cache


class Source(NamedTuple):
    """Images of several classes.

    Attributes:
      name: e.g. "glyphs", "omniglot", "folder:PATH".
      images: uint8 [n, H, W, C], in memory or memory-mapped.
      labels: int32 [n], index into `class_names`. Not to be changed in place.
      class_names: unique.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]


class Roles(NamedTuple):
    """Sources for meta-training, meta-validation and meta-test, of disjoint classes."""

    train: tuple[Source, ...]
    validation: tuple[Source, ...]
    test: tuple[Source, ...]


class _SameArray:
    """Makes an array a dictionary key: the very array, not one that is equal."""

    def __init__(self, array: np.ndarray):
        self.array = array

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _SameArray) and self.array is other.array


@functools.lru_cache(maxsize=64)
def _class_index(labels: _SameArray, classes: int) -> tuple[np.ndarray, ...]:
    order = np.argsort(labels.array, kind="stable")
    ends = np.cumsum(np.bincount(labels.array, minlength=classes))
    return tuple(np.split(order, ends[:-1]))


def class_index(source: Source) -> tuple[np.ndarray, ...]:
    """Where the images of every class stand, computed once for a labels array.

    Returns:
      For each of `source.class_names`, the ascending int64 positions in
      `source.images` of its images.
    """
    return _class_index(_SameArray(source.labels), len(source.class_names))


def load(data: Any) -> Roles:
    """The three roles that the `data` section of a configuration asks for.

    Images are decoded on the first use of a data set and memory-mapped from
    `data_dir` later.

    Args:
      data: a ConfigDict or anything with these attributes.
        name: "glyphs", "omniglot", "cifar_fs", "folder:PATH" or "tfds:NAME".
        size: side of the square images in pixels.
        channels: 1 or 3.
        archive: for omniglot and cifar_fs, a local file in place of the download.
        data_dir: "" for $METAINIT_DATA_DIR or ~/.cache/metainit.
        skip_undecodable: for folder: and tfds:, leave out images that do not decode.
        rotations: give each meta-training class also rotated by 90, 180 and 270
          degrees, as further classes "X@90", "X@180", "X@270" (in memory).
        split_seed, split: for folder: and tfds:, of the split of classes into roles.

    Raises:
      ValueError: in one line, which field is wrong and what would work.
    """
    if data.channels not in (1, 3):
        raise ValueError(f"data.channels={data.channels}; it must be 1 or 3")
    if data.size < 1:
        raise ValueError(f"data.size={data.size}; it must be at least 1 pixel")
    parts = _read(data)
    if data.rotations:
        parts["train"] = _rotated(parts["train"])
    roles = {
        role: (Source(data.name, part.images, part.labels, part.names),)
        for role, part in parts.items()
    }
    return Roles(**roles)


def downloads(data: Any) -> dict[str, int]:
    """What `load` would have to fetch: megabytes (rounded) by url; {} for nothing."""
    from metainit.datasets import cifar_fs, omniglot

    known = {"omniglot": omniglot.DOWNLOADS, "cifar_fs": cifar_fs.DOWNLOADS}
    wanted = {} if data.archive else known.get(data.name, {})
    there = cache.root(data.data_dir) / "downloads"
    return {
        u: mb for u, mb in wanted.items() if not (there / u.split("/")[-1]).exists()
    }


def _read(data: Any) -> dict[str, cache.Part]:
    # Imported where chosen: glyphs and prepared take a second for TFDS.
    kind, _, rest = data.name.partition(":")
    match kind, bool(rest):
        case "glyphs", False:
            from metainit.datasets import glyphs

            return glyphs.read(data)
        case "omniglot", False:
            from metainit.datasets import omniglot

            return omniglot.read(data)
        case "cifar_fs", False:
            from metainit.datasets import cifar_fs

            return cifar_fs.read(data)
        case "folder", True:
            from metainit.datasets import folder

            return folder.read(data, rest)
        case "tfds", True:
            from metainit.datasets import prepared

            return prepared.read(data, rest)
    raise ValueError(
        f"data.name={data.name!r}; choose glyphs, omniglot, cifar_fs, folder:PATH or "
        "tfds:NAME"
    )


def _rotated(part: cache.Part) -> cache.Part:
    classes = len(part.names)
    turns = range(4)
    return cache.Part(
        np.concatenate([np.rot90(part.images, turn, (1, 2)) for turn in turns]),
        np.concatenate([part.labels + turn * classes for turn in turns]),
        part.names
        + tuple(f"{name}@{90 * turn}" for turn in turns[1:] for name in part.names),
    )
