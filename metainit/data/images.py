"""Decodes images of any format to one size, or makes the bytes to store for them."""

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
# Pillow only warns up to twice that number. Here such an image is refused.
warnings.simplefilter("error", Image.DecompressionBombWarning)
MAX_BYTES = 1 << 28  # of a file
# Images of more pixels are decoded one by one: a pixel takes up to 27 bytes.
_LARGE, _ONE_AT_A_TIME = 1 << 24, threading.Lock()
# No others: for some formats Pillow runs programs, such as Ghostscript for EPS.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
_NAMED = 10  # images that an error names at most
_THREADS = 16  # more would wait for the thread that reads or decompresses
_QUALITY = 95
_ORIENTATION = 0x0112  # EXIF

T = TypeVar("T")
R = TypeVar("R")


def upright(image: Image.Image) -> Image.Image:
    """Makes an image look as in a browser, with 8 bits and without transparency.

    It is turned in place by its EXIF orientation. Transparency becomes white, and
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
    """Makes an `upright` square of an image, uint8 [size, size, channels].

    CMYK and palettes become RGB, or grey by ITU-R 601 luma for one channel. The short
    side is scaled to `size` with antialiasing, and the centre is cropped.
    """
    image = _in_mode(upright(image), "L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(size, size, channels)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    """Converts an image, without the copy that Pillow makes of one in that mode."""
    return image if image.mode == mode else image.convert(mode)


class Encoded(NamedTuple):
    """An image that is not decoded yet."""

    label: int  # of its class
    content: bytes | Path | np.ndarray  # a file's content or its path, or uint8 pixels
    name: str  # names it in an error
    ink: bool = False  # whether it is a black drawing that is to become white


class Unreadable(ValueError):
    """Bytes that cannot be decoded as an image; the message says why."""


def decode(encoded: Encoded, size: int, channels: int) -> np.ndarray:
    """Returns `fit` of an image, or raises `Unreadable`."""
    with _reading(), _opened(encoded.content) as image, _turn(image):
        if encoded.ink:
            image = ImageOps.invert(image.convert("L"))
        return fit(image, size, channels)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Turns any error of a decoder into an `Unreadable`."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise Unreadable("of no format that is known") from error
    # PIL's plugins raise many kinds of errors for broken files.
    except Exception as error:
        raise Unreadable(str(error) or type(error).__name__) from error


def opened(content: bytes | Path) -> Image.Image:
    """Opens an image of a known format and at most `MAX_PIXELS`; decodes nothing."""
    if isinstance(content, Path):
        content = untrusted.read_bytes(content, MAX_BYTES)
    image = Image.open(io.BytesIO(content), formats=_FORMATS)
    if image.width * image.height > MAX_PIXELS:
        many = f"{image.width:,} x {image.height:,} pixels, more than {MAX_PIXELS:,}"
        raise Unreadable(f"{many}; make it smaller")
    return image


def _turn(image: Image.Image) -> contextlib.AbstractContextManager[Any]:
    """Makes a lock that lets one thread at a time decode a large image."""
    large = image.width * image.height > _LARGE
    return _ONE_AT_A_TIME if large else contextlib.nullcontext()


def _opened(content: bytes | Path | np.ndarray) -> Image.Image:
    """Opens an image; a colour JPEG without EXIF data in less time than PIL takes."""
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
    """Decodes images in a few threads, in order, and yields them with their labels.

    Args:
      items: the images.
      size: of a side, in pixels.
      channels: 1 for grey, 3 for colour.
      skip: whether to yield None for an image that does not decode, in place of an
        error. None is False where the user has no such choice.

    Raises:
      ValueError: some images do not decode. All are tried first, and ten are named.
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
    message = f"{name} does not decode as an image ({error}); mend or remove it"
    if others:
        named = ", ".join(f"{name} ({error})" for name, error in faults[:_NAMED])
        more = f", and {len(faults) - _NAMED} more" * (len(faults) > _NAMED)
        message = (
            f"{len(faults)} images do not decode: {named}{more}; mend or remove them"
        )
    raise ValueError(f"{message}{'' if skip is None else choice}") from error


def together(
    items: Iterable[T], weigh: Callable[[T], int], enough: int
) -> Iterator[list[T]]:
    """Gathers neighbours in lists that weigh `enough` or more, except the last."""
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
    """Yields `work(item)` of every item in order, from threads that take pieces.

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
    """How an image is changed before it is stored in a prepared data set."""

    max_pixels: int = (
        0  # larger images are reduced to so many; 0 leaves all as they are
    )
    crop_bottom: int = 0  # rows that are cut off at the bottom first

    def reduced(self, size: tuple[int, int]) -> tuple[int, int]:
        """Computes width and height of an image after its reduction."""
        width, height = size
        scale = min(1.0, ((self.max_pixels or np.inf) / (width * height)) ** 0.5)
        # Rounded down, except where only the last bit of a float is missing.
        return max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6))

    def apply(self, image: Image.Image) -> Image.Image:
        """Crops the image, then reduces it with antialiasing."""
        if self.crop_bottom:
            width, height = image.size
            image = image.crop((0, 0, width, max(1, height - self.crop_bottom)))
        # If the size stays, this is a copy.
        return image.resize(self.reduced(image.size), Image.Resampling.BILINEAR)


def to_stored(image: bytes | np.ndarray, rule: Rule) -> bytes:
    """Makes the bytes to store for an image, upright and with three channels.

    A JPEG of three channels that needs no turn, crop or reduction keeps its bytes. An
    array, uint8 [H, W, 3], becomes a PNG. Everything else becomes `upright` RGB as a
    JPEG of quality 95. It raises `Unreadable` for what does not decode.
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
            whole.load()  # finds a file that is cut short
            return image
        if not rule.crop_bottom:
            # A JPEG can decode to a fraction of its size in less time and memory. It
            # is twice what is needed, so that the rest of the reduction smooths.
            whole.draft(None, (2 * reduced[0], 2 * reduced[1]))
        decoded = _in_mode(upright(whole), "RGB")
    rule.apply(decoded).save(file, "jpeg", quality=_QUALITY)
    return file.getvalue()
