"""Whose a data set is and what one may do with it, of every name a config takes."""

import pathlib
from typing import NamedTuple

from metainit.data.builders import catalog


class Terms(NamedTuple):
    """As of `metainit.data.builders.catalog.Entry`.

    Attributes:
      title: for people.
      licence: its name, None where none is stated that we know of.
      terms: what one may do with it, a sentence; None where unknown.
      homepage: of the makers, "" for none.
      citation: the paper, "" for none.
    """

    title: str
    licence: str | None
    terms: str | None
    homepage: str
    citation: str


_GLYPHS = Terms(
    "glyphs of the DejaVu fonts",
    "Bitstream Vera licence; changes in the public domain",
    "Any use; the fonts are not to be sold by themselves.",
    "https://dejavu-fonts.github.io",
    "drawn by metainit",
)
_OMNIGLOT = Terms(
    "Omniglot",
    "MIT",
    "Any use, with the licence's notice.",
    "https://github.com/brendenlake/omniglot",
    "Lake, Salakhutdinov, Tenenbaum: Human-level concept learning through "
    "probabilistic program induction, 2015",
)


def of(name: str) -> Terms:
    """The terms of a data set by its name in a config, without "@SIZE"."""
    kind, _, rest = name.partition(":")
    if kind == "folder":
        own = "The images' owner knows."
        return Terms(f"the folder {pathlib.Path(rest).name}", None, own, "", "")
    name = rest or name
    if name == "glyphs":
        return _GLYPHS
    if name == "omniglot":
        return _OMNIGLOT
    if (
        entry := catalog.CATALOG.get("cifar100" if name == "cifar_fs" else name)
    ) is None:
        page = f"https://www.tensorflow.org/datasets/catalog/{name}"
        return Terms(f"{name}, of TFDS", None, None, page, "")
    title = entry.title + " (the split CIFAR-FS)" * (name == "cifar_fs")
    return Terms(title, entry.licence, entry.terms, entry.homepage, entry.citation)
