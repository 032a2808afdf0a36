"""The data sets with a name, as `catalog.toml` describes them.

An entry says whose a data set is, where it comes from and how big it is. Nothing was
measured unless the file says so; None is unknown. `readers` knows who reads it.
"""

import tomllib
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

VERSION = "1.0.0"  # of the data sets that our builders prepare


class File(NamedTuple):
    """A file of a data set."""

    name: str  # under which it is kept
    folders: Sequence[str]  # addresses with a last "/", in order of preference
    bytes: int  # rounded where there is no exact number to be had
    checksum: str  # "sha256:HEX" or "md5:HEX"
    checksum_source: str = "TFDS 4.9.10"
    trees: Sequence[str] = ()  # folders that it unpacks to, all taken in its place
    unpacked: int = 0  # bytes of all files in it, where they are many more
    needed: bool = True  # for the data set to be prepared

    @property
    def urls(self) -> tuple[str, ...]:
        """Where to get it, in order of preference."""
        return tuple(folder + self.name for folder in self.folders)

    @property
    def most(self) -> int:
        """Bytes of all its files together from which on it is refused."""
        return 2 * max(self.bytes, self.unpacked)


class Terms(NamedTuple):
    """Whose a data set is and what one may do with it."""

    title: str
    licence: str | None = None  # None where the makers state none that we know of
    terms: str | None = None  # a sentence; None where unknown
    homepage: str = ""  # of the makers
    citation: str = ""  # of the paper


class Entry(NamedTuple):
    """What is known of a data set before it is on this machine.

    A data set whose makers split its classes into `roles` is read from its files. Any
    other is prepared first, and its classes are split by `data.split`. The fields
    below `roles` are for those.
    """

    name: str  # as in `data.name` and as of its folder
    terms: Terms
    classes: int
    total: int  # images of all splits
    files: Sequence[File] = ()
    per_class: Sequence[int] | None = None  # least and most images of a class
    roles: tuple[int, int, int] | None = None  # classes of train, validation and test
    role: str = ""  # what it is for in mixed meta-learning
    images: Mapping[str, int] = types.MappingProxyType({})  # by split, where known
    prepared_bytes: int = 0  # on disk once prepared, about
    note: str = ""  # what else to know before getting it


def _rows() -> Iterator[Entry]:
    text = Path(__file__).with_name("catalog.toml").read_text(encoding="utf-8")
    for name, row in tomllib.loads(text).items():
        terms = Terms(**row.pop("terms"))
        files = tuple(File(**file) for file in row.pop("files", ()))
        yield Entry(name=name, terms=terms, files=files, **row)


CATALOG = {entry.name: entry for entry in _rows()}


def to_prepare() -> tuple[str, ...]:
    """Names the data sets that are prepared before they are used."""
    return tuple(entry.name for entry in CATALOG.values() if entry.roles is None)


def find(name: str) -> Entry:
    """Finds a data set that is prepared before it is used, or lists those there are."""
    if name not in to_prepare():
        raise ValueError(
            f"there is no data set {name!r} to prepare; choose from "
            f"{', '.join(to_prepare())}"
        )
    return CATALOG[name]


def terms_of(name: str) -> Terms:
    """Tells the terms of a data set by its `data.name`, without "@SIZE"."""
    kind, _, rest = name.partition(":")
    if kind == "folder":
        return Terms(f"the folder {Path(rest).name}", terms="The images' owner knows.")
    name = rest or name
    if name in CATALOG:
        return CATALOG[name].terms
    page = f"https://www.tensorflow.org/datasets/catalog/{name}"
    return Terms(title=f"{name}, of TFDS", homepage=page)
