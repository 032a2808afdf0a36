"""Caltech-256 with three classes, and a catalog that knows it."""

import hashlib
from pathlib import Path

import small_archives

from metainit.data.builders import catalog

CLASSES = ("001.ak47", "056.dog", "198.spider")
IMAGES = 12
FILE = "256_ObjectCategories.tar"


def files() -> dict[str, bytes]:
    """The files of the archive: four images a class, and what is to be left out."""
    found = {}
    for number, name in enumerate((*CLASSES, "257.clutter")):
        for image in range(1, 5):
            content = small_archives.encode(small_archives.picture(10 * number + image))
            path = f"256_ObjectCategories/{name}/{name[:3]}_{image:04}.jpg"
            found[path] = content
    found["256_ObjectCategories/056.dog/greg/vision309"] = b"x"
    return found


def archive(path: Path) -> bytes:
    """Writes the official tar; returns its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    small_archives.pack(path, files())
    return path.read_bytes()


def entry(content: bytes, *urls: str) -> catalog.Entry:
    """What the catalog would say if `content` were the whole data set."""
    file = catalog.File(
        FILE, urls, len(content), f"sha256:{hashlib.sha256(content).hexdigest()}", "us"
    )
    return catalog.CATALOG["caltech256"]._replace(
        classes=len(CLASSES),
        total=IMAGES,
        per_class=(4, 4),
        files=(file,),
        prepared_bytes=len(content),
    )
