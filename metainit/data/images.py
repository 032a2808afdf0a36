"""One image, whatever its file format: decoded to a fixed size, or kept for later."""

import collections
import contextlib
import io
import os
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import simplejpeg
from PIL import Image, ImageOps, UnidentifiedImageError

from metainit.runtime import untrusted

MAX_PIXELS = 89_478_485  # Pillow's limit
# Up to twice as many it only warns; here that is no image.
warnings.simplefilter("error", Image.DecompressionBombWarning)
MAX_BYTES = 1 << 28  # of a file
# Images of more pixels are decoded one by one: they take up to 27 bytes for each.
_LARGE, _ONE_AT_A_TIME = 1 << 24, threading.Lock()
# No more: for other formats Pillow runs programs, Ghostscript on EPS.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_NAMED = 10  # images that do not decode, of those that are many
_THREADS = 16  # more wait for the one that reads or decompresses
_QUALITY = 95
_ORIENTATION = 0x0112  # EXIF

T = TypeVar("T")
R = TypeVar("R")


def upright(image: Image.Image) -> Image.Image:
    """Turns an image as a browser shows it, into 8 bits without transparency.

    The EXIF orientation is applied, in place, transparency is composited on white, and
    16-bit grey keeps its 8 high bits.
    """
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I;16") or image.mode == "I":
        high = np.clip(np.asarray(image) >> 8, 0, 255)
        image = Image.fromarray(high.astype(np.uint8))
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA"))
    return image


def fit(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Makes an image an `upright`, square uint8 array [size, size, channels].

    CMYK and palettes become RGB. The short side is scaled to `size` with antialiasing
    and the centre is cropped; one channel is grey by ITU-R 601 luma.
    """
    image = _in_mode(upright(image), "L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(size, size, channels)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Converts an image, which Pillow copies where there is nothing to convert."""
    return image if image.mode == mode else image.convert(mode)


class Encoded(NamedTuple):
    """An image still to be decoded."""

    label: int  # of its class
    content: bytes | Path | np.ndarray  # of a file, or its path; or uint8 pixels
    name: str  # what to call it in an error
    ink: bool = False  # whether it is a drawing in black, to become one in white


class Unreadable(ValueError):
    """Bytes that no image can be had from; says why."""


def decode(encoded: Encoded, size: int, channels: int) -> np.ndarray:
    """Returns `fit` of an image, or raises `Unreadable`."""
    with _reading(), _opened(encoded.content) as image, _turn(image):
        if encoded.ink:
            image = ImageOps.invert(image.convert("L"))
        return fit(image, size, channels)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Makes an `Unreadable` of what goes wrong, without the address of an object."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise Unreadable("of no format that is known") from error
    # PIL's plugins report broken files with whatever their parsers stumbled on.
    except Exception as error:
        raise Unreadable(str(error) or type(error).__name__) from error


def opened(content: bytes | Path) -> Image.Image:
    """Opens an image of a known format and at most `MAX_PIXELS`, not yet decoded."""
    if isinstance(content, Path):
        content = untrusted.read_bytes(content, MAX_BYTES)
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        many = f"{image.width:,} x {image.height:,} pixels, more than {MAX_PIXELS:,}"
        raise Unreadable(f"{many}; make it smaller")
    return image


def _turn(image: Image.Image) -> contextlib.AbstractContextManager[Any]:
    """Lets one thread at a time decode a large image."""
    large = image.width * image.height > _LARGE
    return _ONE_AT_A_TIME if large else contextlib.nullcontext()


def _opened(content: bytes | Path | np.ndarray) -> Image.Image:
    """Opens an image, a JPEG in colour without EXIF data sooner than PIL does."""
    if isinstance(content, np.ndarray):
        return Image.fromarray(content)
    if isinstance(content, Path):
        content = untrusted.read_bytes(content, MAX_BYTES)
    if content.startswith(b"\xff\xd8") and b"Exif\0\0" not in content:
        with contextlib.suppress(ValueError):
            height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
            if colours == "YCbCr" and width * height <= _LARGE:
                return Image.fromarray(simplejpeg.decode_jpeg(content))
    return opened(content)


def decode_all(
    items: Iterable[Encoded], size: int, channels: int, skip: bool | None
) -> Iterator[tuple[int, np.ndarray | None]]:
    """Yields (label, `decode`d item) in order, from a few threads; None if skipped.

    Where one does not decode, the others are tried still, so that one error names the
    first ten of all.

    Raises:
      ValueError: some do not decode and `skip` is false, or None where there is no such
        choice.
    """
    faults: list[tuple[str, Unreadable]] = []

    def attempt(item: Encoded) -> tuple[Encoded, np.ndarray | Unreadable]:
        try:
            return item, decode(item, size, channels)
        except Unreadable as error:
            return item, error

    for item, image in ahead(attempt, together(items, lambda item: 1, 32)):
        if isinstance(image, Unreadable) and not skip:
            faults.append((item.name, image))
        elif not faults:
            yield item.label, None if isinstance(image, Unreadable) else image
    if not faults:
        return
    choice = ", or set data.skip_undecodable=True to leave out and count such images"
    (name, error), *others = faults
    told = f"{name} does not decode as an image ({error}); mend or remove it"
    if others:
        named = ", ".join(f"{name} ({error})" for name, error in faults[:_NAMED])
        more = f", and {len(faults) - _NAMED} more" * (len(faults) > _NAMED)
        told = f"{len(faults)} images do not decode: {named}{more}; mend or remove them"
    raise ValueError(f"{told}{'' if skip is None else choice}") from error


def together(
    items: Iterable[T], weigh: Callable[[T], int], enough: int
) -> Iterator[list[T]]:
    """Gathers neighbours in lists that weigh `enough` or more, but for the last."""
    piece, weight = list[T](), 0
    for item in items:
        piece.append(item)
        weight += weigh(item)
        if weight >= enough:
            yield piece
            piece, weight = [], 0
    if piece:
        yield piece


def ahead(work: Callable[[T], R], pieces: Iterable[list[T]]) -> Iterator[R]:
    """Does `work` on every item in order, in threads that take a piece at a time.

    A bounded number of pieces waits in memory.
    """
    threads = min(os.cpu_count() or 1, _THREADS)
    with ThreadPoolExecutor(threads) as pool:
        waiting: collections.deque[Future[list[R]]] = collections.deque()
        for piece in pieces:
            waiting.append(pool.submit(lambda items: [*map(work, items)], piece))
            if len(waiting) > 2 * threads:
                yield from waiting.popleft().result()
        for future in waiting:
            yield from future.result()


class Rule(NamedTuple):
    """What becomes of an image on its way into a prepared data set."""

    max_pixels: int = 0  # larger images are reduced to so many; 0 for any number
    crop_bottom: int = 0  # rows cut off at the bottom first

    def reduced(self, size: tuple[int, int]) -> tuple[int, int]:
        """Computes width and height of an image after its reduction."""
        width, height = size
        scale = min(1.0, ((self.max_pixels or np.inf) / (width * height)) ** 0.5)
        # Rounded down, but not because of the last bit of a float.
        return max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6))

    def apply(self, image: Image.Image) -> Image.Image:
        """Crops the image, then reduces it with antialiasing."""
        if self.crop_bottom:
            width, height = image.size
            image = image.crop((0, 0, width, max(1, height - self.crop_bottom)))
        # Of the same size it is a copy.
        return image.resize(self.reduced(image.size), Image.Resampling.BILINEAR)


def to_stored(image: bytes | np.ndarray, rule: Rule) -> bytes:
    """Makes the bytes to store for an image: three channels, never turned.

    A JPEG of three channels that needs no turning, cropping or reduction stays as it
    is, to the byte. An array, uint8 [H, W, 3], becomes a PNG. The rest becomes
    `upright` RGB, as JPEG of quality 95; what does not decode is `Unreadable`.
    """
    file = io.BytesIO()
    if isinstance(image, np.ndarray):
        rule.apply(Image.fromarray(image)).save(file, "png", compress_level=1)
        return file.getvalue()
    with _reading(), opened(image) as whole, _turn(whole):
        turned = whole.getexif().get(_ORIENTATION, 1) != 1
        fine = whole.format == "JPEG" and whole.mode == "RGB" and not turned
        reduced = rule.reduced(whole.size)
        if fine and reduced == whole.size and not rule.crop_bottom:
            whole.load()  # so that a file that is cut short is found now
            return image
        if not rule.crop_bottom:
            # A JPEG decodes to a fraction of its sides in less time and memory; to
            # twice what is needed, so that the rest of the reduction smooths.
            whole.draft(None, (2 * reduced[0], 2 * reduced[1]))
        decoded = _in_mode(upright(whole), "RGB")
    rule.apply(decoded).save(file, "jpeg", quality=_QUALITY)
    return file.getvalue()
