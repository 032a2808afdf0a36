"""Prepares a data set from archives as ArrayRecord, without TensorFlow.

The seven data sets have this in common. Images are spooled in one pass over each
archive, labelled, and written class by class in shards. TFDS's own way sorts more than
1 GB of images with TensorFlow.
"""

import abc
import contextlib
import functools
import io
import logging
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from tqdm import tqdm

from metainit.data.builders import archive, catalog
from metainit.data.images import Rule, Unreadable, ahead, to_stored, together

_PIECE = 1 << 20  # bytes of images that a thread takes at once
_SHARD = 128 << 20  # bytes of images in a shard, which are in memory together
_NAMED = 10  # images that a message names

# A name, and an image: the content of a file, or uint8 [H, W, 3] without loss.
NamedImage = tuple[str, bytes | np.ndarray]


class PrepareError(ValueError):
    """A data set cannot be prepared from the files that there are."""


def located(name: str, manual_dir: Path) -> list[tuple[catalog.File, list[Path]]]:
    """Finds the path of each file of a data set, or of the folders it unpacks to.

    It looks into the folder `name` of `manual_dir`, then into `manual_dir` itself. A
    file without any path is missing.
    """
    return [(file, _paths(file, name, manual_dir)) for file in catalog.find(name).files]


def _paths(file: catalog.File, name: str, manual_dir: Path) -> list[Path]:
    places = (manual_dir / name, manual_dir)
    for place in places:
        if (place / file.name).is_file():
            return [place / file.name]
    for place in places:
        if trees := [place / tree for tree in file.trees if (place / tree).is_dir()]:
            return trees
    return []


class Row(NamedTuple):
    """An image's place in a data set."""

    split: str
    label: int  # an index into the table's names
    image: str  # its name in the spool
    file_name: str  # its name in the prepared data set


class Table(NamedTuple):
    """All images of a data set, and the names of its classes in order."""

    names: Sequence[str]
    rows: Sequence[Row]


class Spool:
    """Keeps byte strings in an open file; `names` maps to their start and length."""

    def __init__(self, file: IO[bytes]):
        self._file = file
        self.names: dict[str, tuple[int, int]] = {}

    def add(self, name: str, content: bytes) -> None:
        self.names[name] = self._file.seek(0, io.SEEK_END), len(content)
        self._file.write(content)

    def read(self, name: str) -> bytes:
        start, length = self.names[name]
        self._file.seek(start)
        return self._file.read(length)


class ArchiveBuilder(tfds.core.ShardBasedBuilder):
    """A data set of labelled images that is made from the files of its catalog entry.

    A subclass says which members of the files are `images` and which are `lists`. Its
    `table` reads the lists. The metadata of a prepared data set count the images that
    were left out as "unreadable" and as "missing".
    """

    VERSION = tfds.core.Version(catalog.VERSION)
    images: re.Pattern[str]
    lists: re.Pattern[str] = re.compile(r"(?!)")
    rule = Rule()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keeps the class out of TFDS's registry, which has some of these names."""
        super().__init_subclass__(**kwargs | {"skip_registration": True})

    def __init__(
        self,
        *,
        manual_dir: Path | None = None,
        skip_unreadable: bool = False,
        **kwargs: Any,
    ):
        """Makes a builder.

        Args:
          manual_dir: where it finds its files when it prepares, see `located`.
          skip_unreadable: leave out and count images that do not decode, and those
            that the lists name but that are missing, in place of stopping.
          **kwargs: of TFDS's builder.
        """
        self._manual_dir = manual_dir
        self._skip_unreadable = skip_unreadable
        super().__init__(file_format="array_record", **kwargs)

    @abc.abstractmethod
    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        """Makes the table of all images; a row whose image is absent is missing.

        Args:
          lists: the content of each list, by the last part of its name.
          images: the names of all images, readable or not.

        Raises:
          PrepareError: the lists are not those of the data set.
        """

    def lines(self, lists: Mapping[str, bytes], name: str) -> list[str]:
        """Returns the lines of a list that are not empty, or refuses an empty list."""
        text = lists.get(name, b"").decode(errors="replace")
        if lines := [line.strip() for line in text.splitlines() if line.strip()]:
            return lines
        raise self.other_files(f"{name} is missing or empty")

    def matlab(self, lists: Mapping[str, bytes], name: str, field: str) -> np.ndarray:
        """Returns a field of a MATLAB file, [n], or refuses a file without it."""
        try:
            file = io.BytesIO(lists.get(name, b""))
            return np.atleast_1d(scipy.io.loadmat(file, squeeze_me=True)[field])
        # scipy raises many kinds of errors for broken files.
        except Exception as error:
            what = f"there is no {name} with an array {field!r} ({error})"
            raise self.other_files(what) from error

    def named(self, names: Sequence[str], name: str) -> Sequence[str]:
        """Returns the names, or refuses another number of them than of classes."""
        classes = catalog.CATALOG[self.name].classes
        if len(names) != classes:
            raise self.other_files(f"{name} has {len(names)} classes, not {classes}")
        return names

    def other_files(self, what: str) -> PrepareError:
        """Makes the error for files that are not those of the data set."""
        files = " and ".join(file.name for file in catalog.CATALOG[self.name].files)
        return PrepareError(f"{self.name}: {what}; get the official {files}")

    def unpack(self, member: archive.Member) -> Iterator[NamedImage]:
        """Yields the images in a member that matched; by default the member itself."""
        yield member.name, member.content

    def _info(self) -> tfds.core.DatasetInfo:
        terms = catalog.CATALOG[self.name].terms
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(),
            "file_name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
            homepage=terms.homepage,
            license=terms.licence or terms.terms,
            citation=terms.citation,
            metadata=tfds.core.MetadataDict(),
        )

    def _download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        with contextlib.ExitStack() as self._until_written:
            super()._download_and_prepare(*args, **kwargs)

    def _shard_iterators_per_split(self, _: Any) -> dict[str, list[Callable]]:
        # It lies in TFDS's unfinished folder, where there must be room anyway. It has
        # no name, so that it cannot be left behind.
        enter = self._until_written.enter_context
        spool = Spool(enter(tempfile.TemporaryFile(dir=self.data_dir)))
        lists, unreadable = self._fill(spool)
        table = self.table(lists, [*spool.names, *unreadable])
        rows = self._present(table.rows, spool, unreadable)
        self.info.features["label"].names = list(table.names)
        # In the order of classes, so that an episode reads neighbouring pages.
        rows.sort(key=lambda row: (row.label, row.file_name))
        bar = enter(_bar(f"{self.name}: writing", len(rows), "image"))

        def examples(shard: Sequence[Row]) -> Iterator[tuple[int, dict[str, Any]]]:
            for number, row in enumerate(shard):
                example = {"label": row.label, "file_name": row.file_name}
                yield number, {"image": spool.read(row.image), **example}
                bar.update()

        shards: dict[str, list[Callable]] = {}
        for split in dict.fromkeys(row.split for row in table.rows) or ("train",):
            present = [row for row in rows if row.split == split]
            if not present:
                what = f"no image is left for the split {split!r}"
                raise PrepareError(f"{self.name}: {what}; mend or add some of them")
            pieces = together(present, lambda row: spool.names[row.image][1], _SHARD)
            shards[split] = [functools.partial(examples, piece) for piece in pieces]
        return shards

    def _present(
        self, rows: Sequence[Row], spool: Spool, unreadable: Mapping[str, str]
    ) -> list[Row]:
        """Keeps the rows that have an image, and counts or refuses the others."""
        absent = [row.image for row in rows if row.image not in spool.names]
        broken = [f"{x} ({unreadable[x]})" for x in absent if x in unreadable]
        missing = [f"{x} (missing)" for x in absent if x not in unreadable]
        self.info.metadata.update(unreadable=len(broken), missing=len(missing))
        if wrong := broken + missing:
            names = ", ".join(wrong[:_NAMED]) + ", and so on" * (len(wrong) > _NAMED)
            what = f"{len(wrong)} images that do not decode or are missing: {names}"
            if not self._skip_unreadable:
                how = "mend or add them, or leave them out by --skip_unreadable"
                raise PrepareError(f"{self.name} has {what}; {how}")
            logging.warning("%s: left out %s", self.name, what)
        return [row for row in rows if row.image in spool.names]

    def _fill(self, spool: Spool) -> tuple[dict[str, bytes], dict[str, str]]:
        """Spools the images; returns the lists, and why images do not decode."""

        def convert(item: NamedImage) -> tuple[str, bytes | Unreadable]:
            name, image = item
            try:
                return name, to_stored(image, self.rule)
            except Unreadable as error:
                return name, error

        def size(item: NamedImage) -> int:
            image = item[1]
            return image.nbytes if isinstance(image, np.ndarray) else len(image)

        lists: dict[str, bytes] = {}
        unreadable: dict[str, str] = {}
        pieces = together(self._images(lists), size, _PIECE)
        for name, stored in ahead(convert, pieces):
            if isinstance(stored, Unreadable):
                unreadable[name] = str(stored)
            else:
                spool.add(name, stored)
        return lists, unreadable

    def _images(self, lists: dict[str, bytes]) -> Iterator[NamedImage]:
        """Yields the images of all files and folders, and fills `lists`."""

        def wanted(name: str) -> bool:
            return bool(self.images.search(name) or self.lists.search(name))

        assert self._manual_dir is not None, "a manual_dir is for preparing"
        seen = False
        for file, paths in located(self.name, self._manual_dir):
            if file.needed and not paths:
                trees = "".join(f" nor {tree}, unpacked," for tree in file.trees)
                what = f"there is no {file.name}{trees} in {self._manual_dir}"
                raise PrepareError(f"{self.name}: {what} or {self.name} there")
            for path in paths:
                size = path.stat().st_size if path.is_file() else None
                with _bar(f"{self.name}: reading {path.name}", size, "B") as bar:
                    for member in archive.members(path, wanted, file.most):
                        if self.lists.search(member.name):
                            lists[member.name.rpartition("/")[2]] = member.content
                        else:
                            seen = True
                            yield from self.unpack(member)
                        bar.update(member.position - bar.n)
        if not seen:
            what = f"no file is named like an image of it, {self.images.pattern}"
            raise self.other_files(f"{what}, in {self._manual_dir}")


def _bar(title: str, total: int | None, unit: str) -> tqdm:
    scale = unit == "B"
    return tqdm(None, title, total, False, unit=unit, unit_scale=scale, disable=None)
