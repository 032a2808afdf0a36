"""A tree of images for a classifier: every class is learned and held out."""

import math
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metainit.data import cache, images
from metainit.data.builders.folder import SUFFIXES, classes_below

# Held out in this order of preference; "val" is another word for it.
_HELD_OUT = ("test", "validation", "val")
_ROLES = {"train", *_HELD_OUT}
DEFAULT_SHARE = 0.2


class Labelled(NamedTuple):
    """The images of a tree, in the order of their classes and file names.

    Attributes:
      train, test: of the same classes, where the tree has them in both.
      files: of the images of `test`, in their order.
      rule: in words, what was held out.
    """

    train: cache.Part
    test: cache.Part
    files: tuple[Path, ...]
    rule: str


def read(
    path: str,
    size: int,
    channels: int,
    share: float | None,
    seed: int,
    data_dir: str = "",
) -> Labelled:
    """Reads a tree in which a folder is a class; decoded images are cached.

    Where the root holds nothing but train and one or more of test, validation and val,
    with the classes inside, train is learned from and the first of the others held
    out. Otherwise `share` of the images of every class is, at least one.

    Args:
      path: the root; see `metainit.data.builders.folder` for what counts as an image.
      size: side of the square images in pixels.
      channels: 1 or 3.
      share: of every class to hold out, above 0 and below 1; None for 0.2, or for a
        tree that has its own parts.
      seed: of the choice, which depends on nothing but it and the file names.
      data_dir: as in `metainit.data.cache.root`.

    Raises:
      ValueError: no such folder, no images, a class with one, a share that makes no
        sense, or an image that does not decode.
    """
    top = Path(path).expanduser()
    if not top.is_dir():
        raise ValueError(f"folder:{path}: there is no folder {top}")
    classes = classes_below(top)
    if not classes:
        raise ValueError(
            f"folder:{path}: no images in sub-folders of {top}; every class needs a "
            f"folder of its own, with files that end in {', '.join(sorted(SUFFIXES))}"
        )
    given = _given_parts(top, classes)
    if given is not None:
        if share is not None:
            raise ValueError(
                f"test_share={share}, but {top} has images to hold out in a folder of "
                "their own; leave test_share out"
            )
        train, test, rule = given
    else:
        train, test = _split(classes, DEFAULT_SHARE if share is None else share, seed)
        rule = f"{DEFAULT_SHARE if share is None else share} of every class"
    parts = {"train": train, "test": test}
    names = {role: list(part) for role, part in parts.items()}
    files = {role: list(chain(*part.values())) for role, part in parts.items()}
    decoded = cache.cached(
        cache.root(data_dir) / "cache",
        f"labelled-{top.resolve().name}",
        (cache.file_key(*files["train"], *files["test"]), names, len(files["test"])),
        (size, size, channels),
        lambda: {
            role: cache.Pending(
                len(files[role]), _decoded(part, size, channels), names[role]
            )
            for role, part in parts.items()
        },
    )
    return Labelled(decoded["train"], decoded["test"], tuple(files["test"]), rule)


def _given_parts(
    top: Path, classes: dict[str, list[Path]]
) -> tuple[dict[str, list[Path]], dict[str, list[Path]], str] | None:
    folders = {name.split("/")[0] for name in classes}
    if "train" not in folders or len(folders) < 2 or folders - _ROLES:
        return None
    held_out = next(name for name in _HELD_OUT if name in folders)
    chosen: dict[str, dict[str, list[Path]]] = {"train": {}, held_out: {}}
    for name, found in classes.items():
        folder, _, below = name.partition("/")
        if not below:
            raise ValueError(
                f"{top / folder} holds images itself; beside "
                f"{' and '.join(sorted(folders - {folder}))} it must hold a folder for "
                "every class"
            )
        if folder in chosen:
            chosen[folder][below] = found
    return chosen["train"], chosen[held_out], f"the folder {held_out}"


def _split(
    classes: dict[str, list[Path]], share: float, seed: int
) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """Two parts of every class, each with one image at least, in order."""
    if not 0 < share < 1:
        raise ValueError(f"test_share must be above 0 and below 1, got {share}")
    train, test = {}, {}
    for label, (name, found) in enumerate(classes.items()):
        if len(found) < 2:
            raise ValueError(
                f"class {name!r} has one image, {found[0]}; it needs 2 or more, to "
                "learn from and to hold out"
            )
        count = min(max(math.floor(share * len(found) + 0.5), 1), len(found) - 1)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(label,)))
        held_out = set(rng.permutation(len(found))[:count].tolist())
        train[name] = [file for n, file in enumerate(found) if n not in held_out]
        test[name] = [file for n, file in enumerate(found) if n in held_out]
    return train, test


def _decoded(
    part: dict[str, list[Path]], size: int, channels: int
) -> Iterator[tuple[int, np.ndarray]]:
    encoded = [
        images.Encoded(label, file, str(file))
        for label, found in enumerate(part.values())
        for file in found
    ]
    decoded = images.decode_all(encoded, size, channels, skip=True)
    for item, (label, pixels) in zip(encoded, decoded, strict=True):
        if pixels is None:
            raise ValueError(
                f"{item.name} does not decode as an image; mend or remove it"
            )
        yield label, pixels
