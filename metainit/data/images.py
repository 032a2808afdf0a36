"""One image, whatever its file format, as a fixed-size uint8 array."""

import io
import itertools
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageOps


def upright(image: Image.Image) -> Image.Image:
    """The image as a browser shows it, in a mode of 8 bits without transparency.

    The EXIF orientation is applied, transparency is composited on white, and 16-bit
    grey keeps its 8 high bits.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode == "I":
        wide = np.asarray(image)
        image = Image.fromarray(np.clip(wide >> 8, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image)
    return image


def fit(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Square uint8 array of `image`: [size, size, channels].

    The image is taken `upright`; CMYK and palettes become RGB. The short side is
    scaled to `size` with antialiasing and the centre is cropped.

    Args:
      image: any PIL image; decoded here if it was not yet.
      size: side of the result in pixels.
      channels: 1 for grey (ITU-R 601 luma), 3 for RGB.
    """
    image = upright(image).convert("L" if channels == 1 else "RGB")
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(size, size, channels)


class Encoded(NamedTuple):
    """An image still to be decoded.

    Attributes:
      label: of its class.
      content: the bytes of a file, or its path.
      name: what to call it in an error.
    """

    label: int
    content: bytes | Path
    name: str


def decode(
    encoded: Encoded, size: int, channels: int, skip: bool
) -> tuple[int, np.ndarray | None]:
    """(label, `fit` of the image); None for it if it does not decode and `skip` is set.

    Raises:
      ValueError: the image does not decode and `skip` is false.
    """
    content = encoded.content
    try:
        if isinstance(content, Path):
            content = content.read_bytes()
        if (pixels := _plain_jpeg(content)) is not None:
            if pixels.shape != (size, size, channels):
                pixels = fit(Image.fromarray(pixels), size, channels)
            return encoded.label, pixels
        with Image.open(io.BytesIO(content)) as image:
            return encoded.label, fit(image, size, channels)
    # PIL's plugins report broken files with whatever their parsers stumbled on.
    except Exception as error:
        if skip:
            return encoded.label, None
        raise undecodable(encoded.name, error) from error


def undecodable(name: str, error: Exception) -> ValueError:
    """What to raise for an image that is not to be skipped."""
    return ValueError(
        f"{name} does not decode as an image ({error}); mend or remove it, or set "
        "data.skip_undecodable=True to leave out and count such images"
    )


def _plain_jpeg(content: bytes) -> np.ndarray | None:
    """A JPEG in colour without EXIF data: uint8 [h, w, 3], as PIL has it but sooner.

    None for anything else, and for what does not decode: PIL says what is wrong.
    """
    if not content.startswith(b"\xff\xd8") or b"Exif\0\0" in content:
        return None
    try:
        if simplejpeg.decode_jpeg_header(content)[2] != "YCbCr":
            return None
        return simplejpeg.decode_jpeg(content)
    except ValueError:
        return None


def decode_all(
    items: Iterable[Encoded], size: int, channels: int, skip: bool
) -> Iterator[tuple[int, np.ndarray | None]]:
    """`decode` of each item, in order, in a few threads.

    Items are taken in pieces, so that no more than some pieces wait in memory; a piece
    has several images, since a small one decodes faster than a thread is woken.
    """

    def decode_piece(piece: list[Encoded]) -> list[tuple[int, np.ndarray | None]]:
        return [decode(item, size, channels, skip) for item in piece]

    rest = iter(items)
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        while pieces := [
            piece
            for _ in range(4 * threads)
            if (piece := list(itertools.islice(rest, 32)))
        ]:
            for done in pool.map(decode_piece, pieces):
                yield from done
