"""Images on their way into a prepared data set; decoding is in test_loading.py."""

import itertools

import archives
import numpy as np
import pytest
from PIL import Image

from metainit.data import images
from metainit.data.images import Rule, to_stored


def test_transparency_is_put_on_white():
    glass = archives.encode(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "png")
    assert (archives.pixels(to_stored(glass, Rule())) == 255).all()


def test_images_are_cropped_and_then_reduced():
    rule = Rule(max_pixels=1200, max_side=60, crop_bottom=20)
    true = np.zeros((120, 80, 3), np.uint8)
    true[:100] = 200
    for image in (true, archives.encode(Image.fromarray(true))):
        kept = archives.pixels(to_stored(image, rule))
        assert kept.shape == (38, 30, 3)  # 100 x 80, at most 1200 pixels
        assert np.abs(kept[:36].astype(int) - 200).max() < 3
    side = to_stored(archives.encode(Image.new("RGB", (500, 375))), rule)
    assert archives.pixels(side).shape == (int(355 * (1200 / 500 / 355) ** 0.5), 41, 3)
    for width in range(257, 600):
        assert Rule(max_side=256).reduced((width, 100))[0] == 256


def test_what_is_already_small_stays_as_it_is():
    jpeg = archives.encode(archives.picture(0, 30, 20), quality=40)
    assert to_stored(jpeg, Rule(max_pixels=600, max_side=30)) == jpeg
    assert to_stored(jpeg, Rule(max_side=29)) != jpeg


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_huge_jpeg_is_never_decoded_whole(monkeypatch, mode):
    huge = archives.picture(8, 3000, 2000).convert(mode)
    sizes, really = [], images.upright

    def spy(image):
        upright = really(image)
        sizes.append(upright.size)
        return upright

    monkeypatch.setattr(images, "upright", spy)
    kept = to_stored(archives.encode(huge, quality=95), Rule(max_pixels=120_000))
    assert sizes == [(1500, 1000)]  # a quarter would not be twice 424 x 282
    assert archives.far(kept, huge.resize((424, 282), Image.Resampling.BOX)) < 3


def test_work_ahead_keeps_its_order_and_passes_errors_on():
    pieces = list(images.together(range(100), lambda item: item % 3, 7))
    assert [*itertools.chain(*pieces)] == [*range(100)] and len(pieces) > 10
    assert list(images.ahead(str, pieces)) == [str(item) for item in range(100)]
    with pytest.raises(ZeroDivisionError):
        list(images.ahead(lambda item: 1 / (item - 50), pieces))
