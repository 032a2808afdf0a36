"""Omniglot: 1,623 handwritten characters of 50 alphabets, 20 drawings each.

Lake, Salakhutdinov and Tenenbaum, Science 350 (2015), MIT licence. The two official
archives are pooled and split by character, 1,100 / 100 / 423, as few-shot papers do;
`omniglot_split.txt` stores which. Ink is bright (255), as in `glyphs`.
"""

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from metainit.data import cache, class_splits, images
from metainit.data.builders.fetch import fetch

_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_CHECKSUMS = {
    "images_background.zip": "md5:68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation.zip": "md5:6b91aef0f799c5bb55b94e3f2daec811",
}
DOWNLOADS = {  # url: megabytes, rounded
    _URL + "images_background.zip": 9,
    _URL + "images_evaluation.zip": 6,
}
_ROLE_OF = {"t": "train", "v": "validation", "e": "test"}


def split() -> dict[str, tuple[str, ...]]:
    """The stored split: for each role its "Alphabet/characterNN", sorted."""
    found: dict[str, list[str]] = {role: [] for role in cache.ROLES}
    listing = Path(__file__).with_name("omniglot_split.txt")
    for line in listing.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            alphabet, letters = line.split()
            for number, letter in enumerate(letters, start=1):
                name = f"{alphabet}/character{number:02}"
                found[_ROLE_OF[letter]].append(name)
    return {role: tuple(sorted(names)) for role, names in found.items()}


def read(data: Any) -> dict[str, cache.Part]:
    """The three roles, from the archives, downloaded on first use.

    Args:
      data: see `metainit.data.loading.load`. `archive` may name one or both official
        zips (comma-separated), or an npz with "packed", uint8 [n, 20, 98], of
        `numpy.packbits` of 28x28 booleans, and "names", str [n].

    Raises:
      ValueError: a missing file, one of another layout, or a drawing that does not
        decode.
    """
    root = cache.root(data.data_dir)
    if data.archive:
        paths = [Path(path).expanduser() for path in data.archive.split(",")]
    else:
        downloads = root / "downloads"
        paths = [fetch(_URL + name, downloads, _CHECKSUMS[name]) for name in _CHECKSUMS]
    for path in paths:
        if not path.is_file():
            raise ValueError(f"data.archive: there is no file {path}")
    shape = (data.size, data.size, data.channels)
    return cache.cached(
        root / "cache",
        "omniglot",
        (cache.file_key(*paths), split(), bool(data.skip_undecodable)),
        shape,
        lambda: _pending(paths, data.size, data.channels, data.skip_undecodable),
    )


def _pending(
    paths: Sequence[Path], size: int, channels: int, skip: bool
) -> dict[str, cache.Pending]:
    """Drawings by role, each class's one after the other."""
    drawings: dict[str, list[Image.Image | None]] = {}
    for path in paths:
        for name, drawing in _npz(path) if path.suffix == ".npz" else _zip(path, skip):
            drawings.setdefault(name, []).append(drawing)
    wanted = split()
    where = class_splits.by_role(wanted)
    if strange := sorted(set(drawings) - set(where)):
        raise ValueError(
            f"data.archive={paths[0]}: {strange[0]!r} is no character of Omniglot; "
            "give images_background.zip, images_evaluation.zip, or both with a comma"
        )

    def rows(names: Sequence[str]) -> Iterator[tuple[int, np.ndarray | None]]:
        for label, name in enumerate(names):
            for drawing in drawings.get(name, ()):
                image = None if drawing is None else images.fit(drawing, size, channels)
                yield label, image

    return {
        role: cache.Pending(
            sum(len(drawings.get(name, ())) for name in names), rows(names), names
        )
        for role, names in wanted.items()
    }


def _zip(path: Path, skip: bool) -> Iterator[tuple[str, Image.Image | None]]:
    """(class, drawing) of root/Alphabet/characterNN/NNNN_NN.png, in order of names.

    With `skip`, None for a drawing that does not decode.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"data.archive={path} is neither a whole zip nor an npz ({error}); give "
            "images_background.zip and images_evaluation.zip"
        ) from error
    with archive:
        members = sorted(name for name in archive.namelist() if name.endswith(".png"))
        if not members or any(name.count("/") != 3 for name in members):
            raise ValueError(
                f"data.archive={path} is not laid out as images_background.zip of "
                "Omniglot: images_background/Alphabet/characterNN/NNNN_NN.png"
            )
        for member in members:
            _, alphabet, character, _ = member.split("/")
            drawing = None
            try:
                with archive.open(member) as file, Image.open(file) as image:
                    # Black ink on white, one bit.
                    drawing = ImageOps.invert(image.convert("L"))
            except Exception as error:  # of zipfile, or any of PIL's plugins
                if not skip:
                    raise images.undecodable(f"{path}: {member}", error) from error
            yield f"{alphabet}/{character}", drawing


def _npz(path: Path) -> Iterator[tuple[str, Image.Image]]:
    try:
        with np.load(path) as arrays:
            names, packed = arrays["names"].tolist(), arrays["packed"]
        ink = np.unpackbits(packed, axis=-1).reshape(len(names), -1, 28, 28) * 255
    except (KeyError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"data.archive={path} does not hold Omniglot as packed [n, 20, 98] and "
            f"names [n] ({error}); give the two official zips"
        ) from error
    for name, drawings in zip(names, ink, strict=True):
        for drawing in drawings:
            yield name, Image.fromarray(drawing)
