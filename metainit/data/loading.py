"""Loads data sets as sources: images of one size, with classes, for each role."""

import dataclasses
import itertools
import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metainit.config.fields import Data, TransferData, own_size
from metainit.data import cache, folders
from metainit.data.builders import prepared, readers
from metainit.data.builders.catalog import CATALOG, to_prepare


class Source(NamedTuple):
    """Images of several classes."""

    name: str  # e.g. "glyphs", "omniglot", "folder:PATH"
    # uint8 [n, H, W, C], in memory or memory-mapped. Or float32: the features of a
    # frozen encoder, as of `metainit.training.frozen_features`.
    images: np.ndarray
    # int32 [n], an index into `class_names`, or -1 for an image that is left out. Never
    # change them in place.
    labels: np.ndarray
    class_names: tuple[str, ...]
    hashes: np.ndarray | None = None  # uint64 [n], of the decoded images, if known


class Roles(NamedTuple):
    """Sources of meta-training, meta-validation and meta-test, with disjoint classes.

    `held_out` has classes of the meta-train data sets on which nothing is trained or
    chosen. They test within the domain, where `test` has other data sets.
    """

    train: tuple[Source, ...]
    validation: tuple[Source, ...]
    test: tuple[Source, ...]
    held_out: tuple[Source, ...] = ()


# Positions of each class's images, by the address of the labels and number of classes.
_POSITIONS: dict[tuple[int, int], tuple[np.ndarray, ...]] = {}


def class_index(source: Source) -> tuple[np.ndarray, ...]:
    """Finds the positions of each class's images, int64 and ascending.

    It does so once for each array of labels.
    """
    labels, classes = source.labels, len(source.class_names)
    key = id(labels), classes
    if key not in _POSITIONS:
        order = np.argsort(labels, kind="stable")
        order = order[np.searchsorted(labels[order], 0) :]
        ends = np.cumsum(np.bincount(labels[order], minlength=classes))
        _POSITIONS[key] = tuple(np.split(order, ends[:-1]))
        weakref.finalize(labels, _POSITIONS.pop, key, None)
    return _POSITIONS[key]


def rows(source: Source) -> np.ndarray:
    """Finds the positions of the images that are not left out, int64 and ascending."""
    return np.flatnonzero(source.labels >= 0)


def images_used(sources: Iterable[Source]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs each source's images with the rows of those that are not left out."""
    return [(source.images, rows(source)) for source in sources]


def load(data: Data, stand_ins: Sequence[str] = ()) -> Roles:
    """Reads the roles that the `data` section of a configuration asks for.

    Either the classes of `data.name` are split into three roles, or `data.train`,
    `data.validation` and `data.test` name data sets. In the second case a share
    `data.held_out` of each meta-train set's classes is kept apart. Another share of
    them stands in for `data.validation`, or for `data.test`, where it is empty.

    Args:
      data: the section. A data set "NAME@SIZE" is read at that size. `data.rotations`
        adds the classes of meta-training turned, as "X@90", "X@180" and "X@270".
      stand_ins: names of data sets that `absent` lists. Noise takes their place.

    Raises:
      ValueError: in one line, which field is wrong and what would work.
    """
    roles: dict[str, list[Source]] = {role: [] for role in Roles._fields}
    for wanted, as_role in _wanted(data):
        if wanted.name in stand_ins:
            parts, title = readers.stand_in(wanted), wanted.name
        else:
            parts, title = _read(wanted), _title(wanted)
        for part_role, role in as_role.items():
            if part_role not in parts:
                raise ValueError(
                    f"{wanted.name} has no classes for {part_role}: data.split="
                    f"{wanted.split} must give every role a share"
                )
            part = parts[part_role]
            if data.rotations and role == "train":
                part = _rotated(part)
            roles[role].append(Source(title, *part))
    return Roles(**{role: tuple(sources) for role, sources in roles.items()})


def whole(data: Data) -> Source:
    """Reads every class of the data set `data.name`, whatever its role elsewhere.

    Raises:
      ValueError: in one line, which field is wrong and what would work.
    """
    parts = list(_read(dataclasses.replace(data, split=(0.0, 0.0, 1.0))).values())
    return Source(_title(data), *(parts[0] if len(parts) == 1 else _joined(parts)))


def _joined(parts: Sequence[cache.Part]) -> cache.Part:
    """Joins parts that have no class in common."""
    first = itertools.accumulate((len(part.names) for part in parts), initial=0)
    labels = [part.labels + number for part, number in zip(parts, first, strict=False)]
    return cache.Part(
        images=np.concatenate([part.images for part in parts]),
        labels=np.concatenate(labels),
        names=sum((part.names for part in parts), ()),
        hashes=np.concatenate([part.hashes for part in parts]),
    )


def names(data: Data | TransferData) -> tuple[str, ...]:
    """Lists every data set that `load`, or `whole`, would read."""
    given: tuple[str, ...] = (data.name,)
    if isinstance(data, Data) and data.train:
        given = data.train + data.validation + data.test
    return tuple(dict.fromkeys(own_size(name, data.size)[0] for name in given))


def names_to_prepare(data: Data | TransferData) -> tuple[str, ...]:
    """Lists the data sets that `load` would read and that must be prepared first."""
    wanted = (name.removeprefix("tfds:") for name in names(data))
    return tuple(dict.fromkeys(name for name in wanted if name in to_prepare()))


def _wanted(data: Data) -> Iterator[tuple[Data, dict[str, str]]]:
    """Yields a section for each data set, and the roles that its own roles become."""

    def want(name: str, *split: float) -> Data:
        name, size = own_size(name, data.size)
        return dataclasses.replace(data, name=name, size=size, split=split)

    if not data.train:
        yield want(data.name, *data.split), {role: role for role in cache.ROLES}
        return
    share, roles = data.held_out, {"train": "train"}
    if chosen := 0.0 if data.validation else share:
        roles["validation"] = "validation"
    if share:
        roles["test"] = "held_out" if data.test else "test"
    for name in data.train:
        yield want(name, 1 - chosen - share, chosen, share), roles
    for name in data.validation:
        yield want(name, 0.0, 1.0, 0.0), {"validation": "validation"}
    for name in data.test:
        yield want(name, 0.0, 0.0, 1.0), {"test": "test"}


def downloads(data: Data) -> dict[str, int]:
    """Lists the addresses that `load` would fetch, with their size in megabytes."""
    folder = cache.root(data.data_dir) / "downloads"
    return {
        file.urls[0]: round(file.bytes / 1e6)
        for name in ([] if data.archive else names(data))
        if name in CATALOG and CATALOG[name].roles
        for file in CATALOG[name].files
        if not (folder / file.name).exists()
    }


def absent(data: Data) -> tuple[str, ...]:
    """Lists the data sets that are not prepared, or that `load` would have to fetch."""

    def is_absent(name: str) -> bool:
        if (stem := name.removeprefix("tfds:")) in to_prepare():
            return not prepared.is_prepared(stem, cache.root(data.data_dir))
        return bool(downloads(dataclasses.replace(data, name=name, train=())))

    return tuple(filter(is_absent, names(data)))


def _read(data: Data) -> dict[str, cache.Part]:
    kind, _, rest = data.name.partition(":")
    if data.name in CATALOG:
        return readers.read(data)
    if kind == "folder" and rest:
        return folders.read(data, rest)
    if kind == "tfds" and rest:
        return prepared.read(data, rest)
    raise ValueError(
        f"data.name={data.name!r}; choose folder:PATH, tfds:NAME or one of "
        f"{', '.join(CATALOG)}"
    )


def _title(data: Data) -> str:
    """Names a data set, and says what was left out when it was prepared."""
    name = data.name.removeprefix("tfds:")
    if name not in to_prepare():
        return data.name
    folder = prepared.folder_of(name, cache.root(data.data_dir))
    return data.name + prepared.summary(folder).reductions


def _rotated(part: cache.Part) -> cache.Part:
    turned = [
        part._replace(
            images=np.rot90(part.images, turn, (1, 2)),
            names=tuple(f"{name}@{90 * turn}" for name in part.names),
        )
        for turn in (1, 2, 3)
    ]
    return _joined([part, *turned])
