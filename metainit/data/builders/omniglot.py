"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings each.

Lake, Salakhutdinov and Tenenbaum, Science 350 (2015), pooled and split by character
as in `omniglot_split.txt`, 1,100 / 100 / 423. Ink is bright (255), as in `glyphs`.
"""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from metainit.data import cache, images
from metainit.data.builders import catalog, fetch
from metainit.runtime import untrusted

_ROLE_OF = {"t": "train", "v": "validation", "e": "test"}
_MOST = 1 << 26  # bytes of all drawings; those of the official zips are 15 MB
_SIDE = 256  # of a drawing at most; official ones have 105 pixels
_ADVICE = "give images_background.zip, images_evaluation.zip, or both with a comma"

# A class, and one of its drawings; None where it does not decode and is left out.
Drawing = tuple[str, Image.Image | None]


def split() -> dict[str, tuple[str, ...]]:
    """Reads the stored split: for each role its "Alphabet/characterNN", sorted."""
    classes: dict[str, list[str]] = {role: [] for role in cache.ROLES}
    listing = Path(__file__).with_name("omniglot_split.txt")
    for line in listing.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            alphabet, letters = line.split()
            for number, letter in enumerate(letters, start=1):
                name = f"{alphabet}/character{number:02}"
                classes[_ROLE_OF[letter]].append(name)
    return {role: tuple(sorted(names)) for role, names in classes.items()}


def read(data: Any) -> dict[str, cache.Part]:
    """Reads the three roles from the archives, downloaded on first use.

    `data.archive` may name one or both official zips (comma-separated), or an npz with
    "packed", uint8 [n, 20, 98], of `numpy.packbits` of 28x28 booleans, and "names",
    str [n]; other files, and drawings that do not decode, are a ValueError.
    """
    return fetch.read(data, catalog.CATALOG["omniglot"], _load)


def _load(paths: Sequence[Path], skip: bool) -> tuple[fetch.Split, fetch.Images]:
    drawings: dict[str, list[Image.Image | None]] = {}
    for path in paths:
        for name, drawing in _npz(path) if path.suffix == ".npz" else _zip(path, skip):
            drawings.setdefault(name, []).append(drawing)
    classes = split()
    if strange := sorted(set(drawings).difference(*classes.values())):
        what = f"{strange[0]!r} is no character of Omniglot"
        raise ValueError(f"data.archive={paths[0]}: {what}; {_ADVICE}")
    return classes, drawings


def _zip(path: Path, skip: bool) -> Iterator[Drawing]:
    """Yields the drawings root/Alphabet/characterNN/NNNN_NN.png, in order of names."""
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        what = f"is neither a whole zip nor an npz ({error})"
        raise ValueError(f"data.archive={path} {what}; {_ADVICE}") from error
    with archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".png"))
        if not members or any(name.count("/") != 3 for name in members):
            layout = "images_background/Alphabet/characterNN/NNNN_NN.png"
            raise ValueError(f"data.archive={path} is not laid out as {layout}")
        if (size := sum(x.file_size for x in archive.infolist())) > _MOST:
            what = f"declares {size:,} bytes of files, more than {_MOST:,}"
            raise ValueError(f"data.archive={path} {what}; {_ADVICE}")
        for member in members:
            drawing = None
            try:
                with images.opened(archive.read(member)) as image:
                    if max(image.size) > _SIDE:
                        raise ValueError(f"a drawing of {image.size} pixels")
                    # Black ink on white, one bit.
                    drawing = ImageOps.invert(image.convert("L"))
            except Exception as error:  # of zipfile, or any of PIL's plugins
                if not skip:
                    fault = images.Fault(f"{path}: {member}", error)
                    raise images.undecodable([fault]) from error
            yield "/".join(member.split("/")[1:3]), drawing


def _npz(path: Path) -> Iterator[Drawing]:
    try:
        arrays = untrusted.read_npz(path)
        names, packed = arrays["names"].tolist(), arrays["packed"]
        ink = np.unpackbits(packed, axis=-1).reshape(len(names), -1, 28, 28) * 255
    except (KeyError, ValueError, OSError) as error:
        what = f"does not hold Omniglot as packed and names ({error})"
        raise ValueError(f"data.archive={path} {what}; {_ADVICE}") from error
    for name, drawings in zip(names, ink, strict=True):
        for drawing in drawings:
            yield name, Image.fromarray(drawing)
