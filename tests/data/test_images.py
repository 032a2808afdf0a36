"""Images as they are decoded, and on their way into a prepared data set."""

import io
import itertools
import os
import struct
import tracemalloc
import warnings
import zlib
from unittest import mock

import numpy as np
import pytest
from archives import encode, far, picture, pixels
from PIL import Image

from metainit.data import images
from metainit.data.images import Rule, to_stored


def decode(content, size=8, channels=3):
    image = images.decode(images.Encoded(0, content, "x"), size, channels)
    assert image.dtype == np.uint8 and image.shape == (size, size, channels)
    return image.astype(int)


COLOURS = np.uint8([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]])


def quadrants(mode="RGB"):
    """Red, green / blue, white, 16 x 16."""
    return Image.fromarray(np.kron(COLOURS, np.ones((8, 8, 1), np.uint8))).convert(mode)


@pytest.mark.parametrize(
    "form, mode",
    [(form, "RGB") for form in ("PNG", "BMP", "GIF", "WEBP", "JPEG")]
    + [("PNG", "P"), ("JPEG", "CMYK")],
)
def test_every_format_gives_the_same_picture(form, mode):
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}
    content = encode(quadrants(mode), form, **options.get(form, {}))
    image = decode(content)
    tolerance = 6 if form == "JPEG" else 0
    assert np.abs(image[1:7:5, 1:7:5] - COLOURS).max() <= tolerance
    stored = pixels(to_stored(content, Rule())).astype(int)
    assert np.abs(stored[3:14:10, 3:14:10] - COLOURS).max() <= 6  # a JPEG


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [40, 16])
def test_a_jpeg_is_decoded_as_pil_does(mode, channels, size):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    content = encode(Image.fromarray(noise).convert(mode), "JPEG", quality=80)
    expected = images.fit(Image.open(io.BytesIO(content)), size, channels)
    np.testing.assert_array_equal(decode(content, size, channels), expected)
    with pytest.raises(images.Unreadable):
        decode(content[: len(content) // 2], size, channels)


READERS = decode, lambda content: to_stored(content, Rule())


def unknown(content):
    for read in READERS:
        with pytest.raises(images.Unreadable, match=r"^of no format that is known$"):
            read(content)


def test_why_bytes_are_no_image_is_said_without_an_address():
    unknown(b"no image")


def test_transparency_is_composited_on_white():
    array = np.zeros((8, 8, 4), np.uint8)
    array[..., 0] = 200
    array[:, 4:, 3] = 255
    image = decode(encode(Image.fromarray(array), "PNG"))
    assert image[4, [1, 6]].tolist() == [[255, 255, 255], [200, 0, 0]]
    half = Image.fromarray(np.full((8, 8, 2), (0, 128), np.uint8), "LA")
    assert abs(decode(encode(half, "PNG"), channels=1)[0, 0, 0] - 127) <= 1
    palette = Image.new("P", (8, 8))
    palette.putpalette([9, 9, 9])
    assert decode(encode(palette, "PNG", transparency=0)).min() == 255
    glass = encode(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "png")
    assert (pixels(to_stored(glass, Rule())) == 255).all()


def test_grey_keeps_its_high_bits_and_colour_turns_into_it():
    array = np.arange(64, dtype=np.uint16).reshape(8, 8) << 10
    image = decode(encode(Image.fromarray(array), "PNG"), channels=1)
    np.testing.assert_array_equal(image[..., 0], array >> 8)
    stored = pixels(to_stored(encode(Image.fromarray(array), "PNG"), Rule()))
    assert np.abs(stored - (array >> 8)[..., None].astype(int)).max() < 9
    assert (decode(encode(Image.new("L", (8, 8), 77), "PNG")) == 77).all()
    green = decode(encode(Image.new("RGB", (8, 8), (0, 255, 0)), "PNG"), channels=1)
    assert (green == 150).all()


@pytest.mark.parametrize("turned, red", [(1, (1, 1)), (3, (6, 6)), (6, (1, 6))])
def test_the_exif_orientation_is_applied(turned, red):
    exif = Image.Exif()
    exif[0x0112] = turned
    content = encode(quadrants(), "JPEG", quality=98, subsampling=0, exif=exif)
    stored = encode(Image.fromarray(pixels(to_stored(content, Rule()))), "PNG")
    for image in (decode(content), decode(stored)):
        assert np.abs(image[red] - (255, 0, 0)).max() <= 6


def test_the_short_side_is_fitted_and_the_centre_kept():
    array = np.zeros((16, 64, 3), np.uint8)
    array[:, 24:40] = 255
    assert decode(encode(Image.fromarray(array), "PNG")).mean() > 225
    # Antialiased: one pixel in two, halved, is grey and not black or white.
    stripes = np.zeros((16, 16), np.uint8)
    stripes[:, ::2] = 255
    image = decode(encode(Image.fromarray(stripes), "PNG"), channels=1)
    assert np.abs(image[:, 1:-1] - 127).max() < 16


def test_images_are_cropped_and_then_reduced():
    rule = Rule(max_pixels=1200, crop_bottom=20)
    true = np.zeros((120, 80, 3), np.uint8)
    true[:100] = 200
    for image in (true, encode(Image.fromarray(true))):
        kept = pixels(to_stored(image, rule))
        assert kept.shape == (38, 30, 3)  # 100 x 80, at most 1200 pixels
        assert np.abs(kept[:36].astype(int) - 200).max() < 3
    side = to_stored(encode(Image.new("RGB", (500, 375))), rule)
    assert pixels(side).shape == (int(355 * (1200 / 500 / 355) ** 0.5), 41, 3)
    for side in range(257, 600):
        assert Rule(max_pixels=256**2).reduced((side, side)) == (256, 256)
    # What is already small stays as it is.
    jpeg = encode(picture(0, 30, 20), quality=40)
    assert to_stored(jpeg, Rule(max_pixels=600)) == jpeg
    assert to_stored(jpeg, Rule(max_pixels=599)) != jpeg


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_huge_jpeg_is_never_decoded_whole(monkeypatch, mode):
    huge = picture(8, 3000, 2000).convert(mode)
    upright = mock.Mock(wraps=images.upright)
    monkeypatch.setattr(images, "upright", upright)
    kept = to_stored(encode(huge, quality=95), Rule(max_pixels=120_000))
    [((given,), _)] = upright.call_args_list
    assert given.size == (1500, 1000)  # a quarter would not be twice 424 x 282
    assert far(kept, huge.resize((424, 282), Image.Resampling.BOX)) < 3


def test_work_ahead_keeps_its_order_and_passes_errors_on():
    pieces = list(images.together(range(100), lambda item: item % 3, 7))
    assert [*itertools.chain(*pieces)] == [*range(100)] and len(pieces) > 10
    assert list(images.ahead(str, pieces)) == [str(item) for item in range(100)]
    with pytest.raises(ZeroDivisionError):
        list(images.ahead(lambda item: 1 / (item - 50), pieces))


def claiming(form, side):
    """An image of 16 x 16 whose header claims another side."""
    content = bytearray(encode(quadrants(), form))
    if form == "PNG":
        content[16:24] = struct.pack(">II", side, side)
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4)
    else:
        start = content.index(b"\xff\xc0") + 5
        content[start : start + 4] = struct.pack(">HH", side, side)
    return bytes(content)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
@pytest.mark.parametrize("side", [10_000, 65_500])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(form, side):
    content = claiming(form, side)
    for whatever_is_filtered in ("error", "ignore"):
        with warnings.catch_warnings():
            warnings.simplefilter(whatever_is_filtered, Image.DecompressionBombWarning)
            tracemalloc.start()
            try:
                for read in READERS:
                    with pytest.raises(images.Unreadable, match="pixels"):
                        read(content)
                assert tracemalloc.get_traced_memory()[1] < 1_000_000
            finally:
                tracemalloc.stop()


@pytest.mark.parametrize("form", ["EPS", "TIFF", "PPM", "ICNS"])
def test_formats_that_need_programs_or_are_rare_are_no_images(form):
    unknown(encode(quadrants(), form))


def test_what_is_no_file_of_a_sensible_size_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="no regular file"):
        decode(tmp_path / "pipe.png")
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="more than 268,435,456"):
        decode(tmp_path / "sparse.png")
