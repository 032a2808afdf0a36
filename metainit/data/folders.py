"""Reads a tree of folders in which each folder of images is a class."""

import logging
import math
import os
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metainit.config.fields import Data
from metainit.data import cache, class_splits, images
from metainit.runtime.arguments import nearest

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"}
DEFAULT_SHARE = 0.2
_ROLE_OF = {role: role for role in cache.ROLES} | dict.fromkeys(
    ("val", "valid"), "validation"
)
# Folders that a classifier is tested on, in order of preference.
_HELD_OUT = ("test", "validation", "val", "valid")

# The images of every class, both sorted by name.
Classes = dict[str, list[Path]]


def read(data: Data, path: str) -> dict[str, cache.Part]:
    """Reads the classes of a tree by role.

    A class is a folder that holds images. Its name is its path below the root. If the
    root holds exactly train, validation (or val) and test, those are the roles.
    Otherwise the classes are split by `data.split`. Names that start with a dot are
    ignored. Files without one of `SUFFIXES` are counted in a warning.

    Raises:
      ValueError: no such folder, no images in it, the parts of a class in several
        folders, or an image that does not decode.
    """
    top, classes = _open(path, f"data.name='folder:{path}'")
    _check_parts(top, classes)
    roles = sorted(_ROLE_OF.get(name, "") for name in _folders(classes))
    if roles == sorted(cache.ROLES):
        below = {_ROLE_OF[x]: part for x, part in _below(top, classes).items()}
        split = {role: below[role] for role in cache.ROLES}
    else:
        names = class_splits.shuffle_split(list(classes), data.split)
        split = {role: {name: classes[name] for name in names[role]} for role in names}

    layout = {role: list(chosen) for role, chosen in split.items()}
    skip = bool(data.skip_undecodable)
    key = cache.file_key(*chain(*classes.values())), layout, skip
    name, shape = f"folder-{top.resolve().name}", (data.size, data.size, data.channels)
    return cache.cached(data.data_dir, name, key, shape, skip, lambda: _pending(split))


class Labelled(NamedTuple):
    """The images of a tree, in the order of their classes and file names.

    If both sides share an array, each labels the images of the other side -1.
    """

    train: cache.Part
    test: cache.Part  # of the same classes, if the tree has them on both sides
    files: tuple[Path, ...]  # of the images of `test`, in their order
    rule: str  # says what was held out


def read_labelled(
    path: str,
    size: int,
    channels: int,
    share: float | None,
    seed: int,
    data_dir: str = "",
) -> Labelled:
    """Reads a tree for a classifier, which holds out images of every class.

    If the root holds nothing but train and one or more of test, validation and val,
    the classifier learns from train and holds out the first of the others. Otherwise
    it holds out a share of the images of every class, by default 0.2, and at least one.
    Which images these are depends on the seed and the file names only; those of a class
    with the same pixels stay together. The cache is the same for every choice.

    Raises:
      ValueError: no such folder, no images, classes a level deeper, a class with one,
        a share that makes no sense, or an image that does not decode.
    """
    top, classes = _open(path, f"folder:{path}")
    folders, shape = _folders(classes), (size, size, channels)
    if len(folders) == 1 and all("/" in name for name in classes):
        (inside,) = folders
        raise ValueError(
            f"{top} holds one folder, {inside}, and the classes lie below it: give "
            f"{top / inside}"
        )

    def decoded(parts: dict[str, Classes]) -> dict[str, cache.Part]:
        files = [list(chain(*part.values())) for part in parts.values()]
        names = {role: list(part) for role, part in parts.items()}
        key = cache.file_key(*chain(*files)), names, [*map(len, files)]
        name = f"labelled-{top.resolve().name}"
        return cache.cached(data_dir, name, key, shape, None, lambda: _pending(parts))

    if "train" in folders and len(folders) > 1 and folders <= {"train", *_HELD_OUT}:
        if share is not None:
            raise ValueError(
                f"test_share={share}, but {top} has images to hold out in a folder of "
                "their own; leave test_share out"
            )
        held_out = next(name for name in _HELD_OUT if name in folders)
        below = _below(top, classes)
        parts = decoded({"train": below["train"], "test": below[held_out]})
        files = tuple(chain(*below[held_out].values()))
        return Labelled(parts["train"], parts["test"], files, f"the folder {held_out}")
    _check_depths(top, classes)
    share = DEFAULT_SHARE if share is None else share
    sizes = [len(files) for files in classes.values()]
    _held_out(classes, sizes, share, seed)  # refuses before it decodes
    whole = decoded({"all": classes})["all"]
    first = cache.first_of(whole.labels, whole.hashes)
    differing = first == np.arange(len(first))
    is_test = np.zeros(len(first), bool)
    sizes = np.bincount(whole.labels[differing]).tolist()
    is_test[differing] = _held_out(classes, sizes, share, seed)
    is_test = is_test[first]  # with the first that has its pixels
    train, test = (
        whole._replace(labels=np.where(left_out, -1, whole.labels).astype(np.int32))
        for left_out in (is_test, ~is_test)
    )
    every = zip(chain(*classes.values()), is_test, strict=True)
    files = tuple(file for file, held_out in every if held_out)
    return Labelled(train, test, files, f"{share} of every class")


def _open(path: str, field: str) -> tuple[Path, Classes]:
    """Finds the root of a tree and its classes; `field` names the tree in an error."""
    top = Path(path).expanduser()
    if not top.is_dir():
        raise ValueError(f"{field}: there is no folder {top}{_near(top)}")
    files_of: Classes = {}
    others: Counter[str] = Counter()
    empty: list[str] = []
    for folder, inner, files in os.walk(top, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".")]
        name = Path(folder).relative_to(top).as_posix()
        for file in (Path(folder, x) for x in sorted(files) if x[0] != "."):
            if (ending := file.suffix.lower()) in SUFFIXES:
                files_of.setdefault(name, []).append(file)
            elif name != ".":
                others[ending] += 1
        if not inner and name not in (".", *files_of):
            empty.append(name)
    lost = len(files_of.pop(".", ()))
    wanted, without = ", ".join(sorted(SUFFIXES)), ", ".join(sorted(empty))
    endings = ", ".join(ending or "no suffix" for ending in sorted(others))
    if not files_of:
        present = {
            f"{lost} in no folder of a class": lost,
            f"folders without any ({without})": empty,
            f"files that end in {endings}": others,
        }
        seen = ", ".join(name for name, count in present.items() if count)
        raise ValueError(
            f"{field}: no images in sub-folders of {top}, but {seen or 'it is empty'}"
            f"; every class needs a folder of its own, such as {top / 'cat'}, with "
            f"files that end in {wanted}"
        )
    if others:
        message = "%s: passed over %d files that end in %s; images must end in %s"
        logging.warning(message, top, others.total(), endings, wanted)
    if empty:
        logging.warning("%s: no images in %s", top, without)
    if lost:
        logging.warning("%s: passed over %d images in no folder of a class", top, lost)
    return top, dict(sorted(files_of.items()))


def _near(top: Path) -> str:
    """Names the folder that was probably meant, if there is any."""
    beside = top.parent.iterdir() if top.parent.is_dir() else ()
    return nearest(top.name, (x.name for x in beside if x.is_dir()))


def _folders(classes: Classes) -> set[str]:
    return {name.split("/")[0] for name in classes}


def _below(top: Path, classes: Classes) -> dict[str, Classes]:
    """Sorts the classes by the folders right below the root."""
    below: dict[str, Classes] = {folder: {} for folder in sorted(_folders(classes))}
    for name, files in classes.items():
        folder, _, inner = name.partition("/")
        if not inner:
            others = " and ".join(sorted(below.keys() - {folder}))
            raise ValueError(
                f"{top / folder} holds images itself; beside {others} it must hold a "
                "folder for every class"
            )
        below[folder][inner] = files
    return below


def _check_parts(top: Path, classes: Classes) -> None:
    """Refuses train/cat beside test/cat, of which two classes would be made."""
    whole: dict[tuple[str, ...], str] = {}
    for name in classes:
        parts = name.split("/")
        at = next((n for n, x in enumerate(parts[:-1]) if x in _ROLE_OF), len(parts))
        other = whole.setdefault((*parts[:at], *parts[at + 1 :]), name)
        if other != name:
            raise ValueError(
                f"{top}: {other} and {name} have images of one class, and would be two "
                "classes here: put all images of a class into one folder"
            )


def _check_depths(top: Path, classes: Classes) -> None:
    """Refuses folders of images at different depths."""
    high, deep = (of(classes, key=lambda x: x.count("/")) for of in (min, max))
    if high.count("/") == deep.count("/"):
        return
    above = Path(deep).parent.as_posix()
    way_out = f"give {top / above}, or move {high} elsewhere"
    if above in classes:
        high, way_out = above, f"move what is in {deep} into {above}, or elsewhere"
    raise ValueError(
        f"{top}: {high} holds images itself, and {deep} lies deeper, so that they "
        f"cannot both be classes: {way_out}"
    )


def _held_out(
    classes: Classes, sizes: Sequence[int], share: float, seed: int
) -> np.ndarray:
    """Chooses the images to hold out of classes of these sizes, bool [n].

    Every class has at least one that is held out, and one that is not.
    """
    if not 0 < share < 1:
        raise ValueError(f"test_share must be above 0 and below 1, got {share}")
    if alone := [x for x, size in zip(classes, sizes, strict=True) if size < 2]:
        first = classes[alone[0]][0]
        others = f"; so have {len(alone) - 1} others: {', '.join(alone[1:11])}"
        raise ValueError(
            f"class {alone[0]!r} has one image, {first}{others * (len(alone) > 1)}; a "
            "class needs 2 or more that differ, to learn from and to hold out"
        )
    is_test = []
    for label, size in enumerate(sizes):
        count = min(max(math.floor(share * size + 0.5), 1), size - 1)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(label,)))
        is_test.append(np.isin(np.arange(size), rng.permutation(size)[:count]))
    return np.concatenate(is_test)


def _pending(parts: dict[str, Classes]) -> dict[str, cache.Pending]:
    pending = {}
    for role, classes in parts.items():
        items = [
            images.Encoded(label, file, str(file))
            for label, files in enumerate(classes.values())
            for file in files
        ]
        pending[role] = cache.Pending(items, len(items), list(classes))
    return pending
