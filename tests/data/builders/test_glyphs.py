"""The data set of characters: what is in it, and that it is the same every time."""

import sys

import numpy as np
import processes
import pytest
import tensorflow_datasets as tfds

from metainit.config.fields import Data
from metainit.data import cache, images, loading
from metainit.data.builders import glyphs

# Prepares in a process of its own, and tells whether TensorFlow was loaded.
_PREPARE = """
import sys
from metainit.config.fields import Data
from metainit.data import loading
loading.load(Data(data_dir={folder!r}))
print("tensorflow" in sys.modules)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with an eighth of the classes, and their roles."""
    folder, some = tmp_path_factory.mktemp("glyphs"), glyphs.catalogue()[::8]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(glyphs, "catalogue", lambda: some)
        roles = loading.load(Data(data_dir=str(folder)))
    assert "tensorflow" not in sys.modules
    for role, (source,) in zip(cache.ROLES, roles[:3], strict=True):
        assert [*source.class_names] == [x.name for x in some if x.role == role]
    return folder, roles


def examples(folder, split):
    """Every example of a split as (png, label), read without our code."""
    (path,) = (folder / "tfds").glob("glyphs/*")
    raw = {"image": tfds.decode.SkipDecoding()}
    rows = tfds.builder_from_directory(path).as_data_source(split, decoders=raw)
    return [(row["image"], int(row["label"])) for row in rows]


@pytest.mark.slow
def test_two_preparations_are_whole_and_bit_identical(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    assert_twenty_square_images(loading.load(Data(data_dir=str(one))))
    said = processes.python(_PREPARE.format(folder=str(other)))
    assert said == "False\n", "TensorFlow was imported, or preparing printed something"
    for split in cache.ROLES:
        first = examples(one, split)
        assert len(first) > 4000 and first == examples(other, split)


def assert_twenty_square_images(roles):
    """Of every class."""
    for (source,) in roles[:3]:
        assert source.images.shape[1:] == (28, 28, 1)
        assert source.images.dtype == np.uint8 and source.labels.dtype == np.int32
        counts = np.bincount(source.labels)
        assert len(counts) == len(source.class_names)
        assert set(counts) == {20}
        # Bright ink in the middle, dark paper in the corners, no image empty or alike.
        assert (source.images.reshape(len(source.images), -1).max(axis=1) > 60).all()
        assert np.median(source.images[:, [0, -1]][:, :, [0, -1]]) < 10
        assert len({image.tobytes() for image in source.images}) == len(source.images)


def test_every_class_has_twenty_square_images(made):
    assert_twenty_square_images(made[1])


def test_roles_are_split_by_script():
    every = glyphs.catalogue()
    names = [[x.name for x in every if x.role == role] for role in cache.ROLES]
    assert [{name.split()[0] for name in of_role} for of_role in names] == [
        {"LATIN", "GREEK", "COPTIC", "CYRILLIC", "LISU", "OLD"},
        {"ARMENIAN", "GEORGIAN", "LAO"},
        {"CANADIAN", "ARABIC", "HEBREW"},
    ]
    assert all(np.array([*map(len, names)]) > [1200, 200, 600])


def test_letters_drawn_alike_are_one_class():
    names = {glyph.name for glyph in glyphs.catalogue()}
    for first, *others in (
        ("LATIN CAPITAL LETTER M", "GREEK CAPITAL LETTER MU"),
        ("LATIN CAPITAL LETTER M", "CYRILLIC CAPITAL LETTER EM"),
        ("ARABIC LETTER BEH", "ARABIC LETTER BEH ISOLATED FORM"),
        # The later role keeps it.
        ("ARMENIAN SMALL LETTER OH", "LATIN SMALL LETTER O"),
        ("CANADIAN SYLLABICS TE", "LATIN CAPITAL LETTER U"),
    ):
        assert first in names and names.isdisjoint(others)
    apart = "LATIN SMALL LETTER B", "LATIN SMALL LETTER D", "HEBREW LETTER BET"
    assert names.issuperset(apart)


def test_no_drawing_of_a_later_role_is_met_in_an_earlier_one():
    """Compares equally scaled bitmaps of the regular face."""
    seen: dict[bytes, dict[str, str]] = {}
    for glyph in glyphs.catalogue():
        drawing = glyph.drawings["DejaVuSans"]
        width, height, side = *drawing.size, max(drawing.size)
        left, top = (width - side) // 2, (height - side) // 2
        box = left, top, (width + side) // 2, (height + side) // 2
        bitmap = np.asarray(drawing.crop(box).resize((16, 16))) > 127
        seen.setdefault(bitmap.tobytes(), {})[glyph.role] = glyph.name
    assert len(seen) > 1500
    assert [shared for shared in seen.values() if len(shared) > 1] == []


def test_the_second_opening_neither_draws_nor_decodes(made, monkeypatch):
    folder, roles = made
    monkeypatch.setattr(glyphs.prepare, "build", None)
    monkeypatch.setattr(images, "decode_all", None)
    second = loading.load(Data(data_dir=str(folder)))
    for (again,), (source,) in zip(second[:3], roles[:3], strict=True):
        assert isinstance(again.images, np.memmap)
        np.testing.assert_array_equal(again.images, source.images)
        assert again.class_names == source.class_names
