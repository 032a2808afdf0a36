"""The archives that a data set is made from, and where they lie."""

from pathlib import Path
from typing import NamedTuple


class PrepareError(ValueError):
    """A data set that cannot be prepared from what there is."""


class Input(NamedTuple):
    """A part of a data set, as it may lie in the manual folder.

    Attributes:
      file: name of the archive, or of a file by itself.
      trees: folders that the archive unpacks to, looked for where it is missing; all
        that are there are read.
      bytes: of all files in it together, unpacked; twice as many are refused.
      needed: whether the data set cannot be prepared without.
    """

    file: str
    trees: tuple[str, ...]
    bytes: int
    needed: bool = True


def locate(given: Input, manual_dir: Path, name: str) -> list[Path]:
    """The archive, or else the folders that it unpacks to, or else none.

    Either is looked for in the data set's own folder in `manual_dir`, then in that
    itself.

    Args:
      given: what to look for.
      manual_dir: of all data sets.
      name: of the data set, and of its own folder.

    Raises:
      PrepareError: none is there, and it is needed.
    """
    places = (manual_dir / name, manual_dir)
    for place in places:
        if (place / given.file).is_file():
            return [place / given.file]
    for place in places:
        if found := [place / tree for tree in given.trees if (place / tree).is_dir()]:
            return found
    if not given.needed:
        return []
    trees = f", nor {' or '.join(given.trees)}, unpacked," if given.trees else ""
    raise PrepareError(
        f"{name}: there is no {given.file}{trees} in {places[0]} or {places[1]}"
    )
