"""How images are stored in prepared data sets: always three channels, never turned."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from metainit.data import images

_QUALITY = 95
_ORIENTATION = 0x0112  # EXIF


class Unreadable(ValueError):
    """Bytes that no image can be had from."""


class Rule(NamedTuple):
    """What becomes of an image on its way into a prepared data set.

    Attributes:
      max_pixels: larger images are reduced to so many; 0 for any number.
      max_side: images with a longer side are reduced to it; 0 for any.
      crop_bottom: rows cut off at the bottom first.
    """

    max_pixels: int = 0
    max_side: int = 0
    crop_bottom: int = 0


def to_stored(image: bytes | np.ndarray, rule: Rule) -> bytes:
    """The bytes to store for an image.

    A JPEG of three channels that needs no turning, cropping or reduction stays as it
    is, to the byte. An array, which is an image without loss, becomes a PNG. The rest
    becomes upright RGB (`images.upright`), stored as JPEG of quality 95. What has to be
    reduced is reduced with antialiasing.

    Args:
      image: a file's content, of any format that PIL reads; or uint8 [H, W, 3].
      rule: what to do with it.

    Raises:
      Unreadable: it does not decode.
    """
    if isinstance(image, np.ndarray):
        png = io.BytesIO()
        lossless = _cropped_and_reduced(Image.fromarray(image), rule)
        lossless.save(png, "png", compress_level=1)
        return png.getvalue()
    try:
        with Image.open(io.BytesIO(image)) as opened:
            turned = opened.getexif().get(_ORIENTATION, 1) != 1
            fine = opened.format == "JPEG" and opened.mode == "RGB" and not turned
            small = _reduced(opened.size, rule) == opened.size and not rule.crop_bottom
            if fine and small:
                opened.load()  # so that a file that is cut short is found now
                return image
            if not rule.crop_bottom:
                # A JPEG decodes to a half, a quarter or an eighth of its sides for a
                # fraction of the time and memory; twice what is needed is left, so
                # that the rest of the reduction still smooths.
                width, height = _reduced(opened.size, rule)
                opened.draft(None, (2 * width, 2 * height))
            decoded = images.upright(opened).convert("RGB")
    # PIL's plugins report broken files with whatever their parsers stumbled on.
    except Exception as error:
        raise Unreadable(str(error) or type(error).__name__) from error
    jpeg = io.BytesIO()
    _cropped_and_reduced(decoded, rule).save(jpeg, "jpeg", quality=_QUALITY)
    return jpeg.getvalue()


def _cropped_and_reduced(image: Image.Image, rule: Rule) -> Image.Image:
    if rule.crop_bottom:
        width, height = image.size
        image = image.crop((0, 0, width, max(1, height - rule.crop_bottom)))
    size = _reduced(image.size, rule)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    return image


def _reduced(size: tuple[int, int], rule: Rule) -> tuple[int, int]:
    width, height = size
    scale = 1.0
    if rule.max_pixels:
        scale = min(scale, (rule.max_pixels / (width * height)) ** 0.5)
    if rule.max_side:
        scale = min(scale, rule.max_side / max(size))
    # Rounded down, but not because of the last bit of a float.
    return max(1, int(width * scale + 1e-6)), max(1, int(height * scale + 1e-6))
