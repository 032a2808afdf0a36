"""Small archives of labelled images: what is in them is given, file by file."""

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import scipy.io
import tensorflow_datasets as tfds
from PIL import Image


def picture(number: int, width: int = 24, height: int = 16) -> Image.Image:
    """A smooth RGB image, another for each number, that JPEG hardly changes."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(40, 216, (2, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)


def encode(image: Image.Image, form: str = "jpeg", **options: object) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def matlab(**arrays: np.ndarray) -> bytes:
    """The bytes of a MATLAB file."""
    file = io.BytesIO()
    scipy.io.savemat(file, arrays)
    return file.getvalue()


def pack(path: Path, files: Mapping[str, bytes | tarfile.TarInfo]) -> Path:
    """Writes a tar of these files, compressed if its name says so.

    A header in place of bytes is an entry without content: a link, or a lie.
    """
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, file in files.items():
            if isinstance(file, bytes):
                header = tarfile.TarInfo(name)
                header.size = len(file)
                archive.addfile(header, io.BytesIO(file))
            else:
                file.name = name
                archive.addfile(file)
    squeezed = path.suffix in (".gz", ".tgz")
    whole = content.getvalue()
    path.write_bytes(gzip.compress(whole, 1) if squeezed else whole)
    return path


def unpack(folder: Path, files: Mapping[str, bytes]) -> None:
    """Writes these files below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def stored(folder: Path) -> dict[str, dict[str, tuple[str, bytes]]]:
    """What is prepared in a folder: split -> file name -> class and image bytes.

    Read as anybody would read it, without the builder's code.
    """
    builder = tfds.builder_from_directory(folder)
    label = builder.info.features["label"]
    raw = {"image": tfds.decode.SkipDecoding()}
    return {
        split: {
            row["file_name"].decode(): (label.int2str(int(row["label"])), row["image"])
            for row in builder.as_data_source(split, decoders=raw)
        }
        for split in builder.info.splits
    }


def pixels(content: bytes) -> np.ndarray:
    """uint8 [H, W, 3] of stored bytes; fails where they are not three channels."""
    with Image.open(io.BytesIO(content)) as image:
        assert image.mode == "RGB"
        assert image.getexif().get(0x0112, 1) == 1
        return np.asarray(image)


def far(content: bytes, image: Image.Image) -> float:
    """Mean distance of stored pixels from an image's, in levels; inf for its size.

    A JPEG of quality 95 is a few away; other pictures, or other orders of the colours,
    are 20 and more.
    """
    found, true = pixels(content), np.asarray(image.convert("RGB"))
    if found.shape != true.shape:
        return float("inf")
    return float(np.abs(found.astype(int) - true).mean())


def extract(path: Path, folder: Path) -> None:
    """Extracts a tar, as its user would."""
    with tarfile.open(path) as archive:
        archive.extractall(folder, filter="data")
