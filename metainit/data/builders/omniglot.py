"""Omniglot: 1,623 handwritten characters of 50 alphabets, with 20 drawings each.

It is by Lake, Salakhutdinov and Tenenbaum, Science 350 (2015). Its two sets are pooled
and split by character, 1,100 / 100 / 423, as `omniglot_split.txt` says. Ink is bright
(255), as in `glyphs`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from metainit.config.fields import Data
from metainit.data import cache, images
from metainit.data.builders import archive, catalog, fetch
from metainit.runtime import untrusted

_ROLE_OF = {"t": "train", "v": "validation", "e": "test"}
_MOST = 1 << 26  # bytes of all drawings; those of the official zips are 15 MB

# A class, and one of its drawings.
Drawing = tuple[str, images.Encoded]


def split() -> dict[str, tuple[str, ...]]:
    """Reads the stored split: the sorted "Alphabet/characterNN" of each role."""
    classes: dict[str, list[str]] = {role: [] for role in cache.ROLES}
    listing = Path(__file__).with_name("omniglot_split.txt")
    for line in listing.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            alphabet, letters = line.split()
            for number, letter in enumerate(letters, start=1):
                name = f"{alphabet}/character{number:02}"
                classes[_ROLE_OF[letter]].append(name)
    return {role: tuple(sorted(names)) for role, names in classes.items()}


def read(data: Data) -> dict[str, cache.Part]:
    """Reads the three roles from the archives, downloaded on first use.

    `data.archive` may name one or both official zips, with a comma. Or it names an npz
    with "names", str [n], and "packed", uint8 [n, 20, 98], which `numpy.packbits` made
    of 28x28 booleans. It raises ValueError for other files and broken drawings.
    """
    return fetch.read(data, catalog.CATALOG["omniglot"], _load)


def _load(paths: Sequence[Path]) -> tuple[fetch.Split, fetch.Images]:
    drawings: dict[str, list[images.Encoded]] = {}
    for path in paths:
        for name, drawing in _npz(path) if path.suffix == ".npz" else _zip(path):
            drawings.setdefault(name, []).append(drawing)
    classes = split()
    if strange := sorted(set(drawings).difference(*classes.values())):
        raise ValueError(f"{strange[0]!r} is no character of Omniglot")
    return classes, drawings


def _zip(path: Path) -> Iterator[Drawing]:
    """Yields root/Alphabet/characterNN/NNNN_NN.png, of one bit, in order of names."""
    members = archive.members(path, lambda name: name.endswith(".png"), _MOST)
    content_of = {name: content for name, content, _ in members}
    if not content_of or any(name.count("/") != 3 for name in content_of):
        layout = "images_background/Alphabet/characterNN/NNNN_NN.png"
        raise ValueError(f"{path} is not laid out as {layout}")
    for name, content in sorted(content_of.items()):
        drawing = images.Encoded(0, content, f"{path}: {name}", ink=True)
        yield "/".join(name.split("/")[1:3]), drawing


def _npz(path: Path) -> Iterator[Drawing]:
    try:
        arrays = untrusted.read_npz(path)
        names, packed = arrays["names"].tolist(), arrays["packed"]
        ink = np.unpackbits(packed, axis=-1).reshape(len(names), -1, 28, 28) * 255
    except (KeyError, ValueError, OSError) as error:
        what = f"does not hold Omniglot as packed and names ({error})"
        raise ValueError(f"{path} {what}") from error
    for name, drawings in zip(names, ink, strict=True):
        for drawing in drawings:
            yield name, images.Encoded(0, drawing, name)
