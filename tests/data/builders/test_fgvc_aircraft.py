"""FGVC-Aircraft from its official archive, where lists may follow the images."""

import io

import numpy as np
import pytest
import small_archives as small
import tensorflow_datasets as tfds
from PIL import Image

from metainit.data.builders import archive, base, prepared
from metainit.data.builders.base import Options
from metainit.data.builders.fgvc_aircraft import FgvcAircraft
from metainit.data.builders.inputs import PrepareError

ARCHIVE = "fgvc-aircraft-2013b.tar.gz"
DATA = "fgvc-aircraft-2013b/data"
# As in variants.txt: neither sorted by us nor free of spaces and slashes.
VARIANTS = ["707-320", "F-16A/B", "Hawk T1", "An-12"]
SPLITS = {"train": "train", "val": "validation", "test": "test"}
SHOWN = {
    f"{1000000 + 7 * number:07}": (
        list(SPLITS)[number % 3],
        VARIANTS[number % 4],
        small.picture(number, 40, 30),
    )
    for number in range(24)
}


def with_banner(image):
    """The image above 20 rows of text."""
    whole = Image.new("RGB", (image.width, image.height + 20), "black")
    whole.paste(image, (0, 0))
    return whole


IMAGES = {
    f"{DATA}/images/{name}.jpg": small.encode(with_banner(image), quality=95)
    for name, (_, _, image) in SHOWN.items()
}
LISTS = {f"{DATA}/variants.txt": "\n".join(VARIANTS).encode() + b"\n"} | {
    f"{DATA}/images_variant_{split}.txt": "".join(
        f"{name} {variant}\n"
        for name, (its, variant, _) in SHOWN.items()
        if its == split
    ).encode()
    for split in SPLITS
}
OTHERS = {
    f"{DATA}/families.txt": b"Boeing 707\n",
    f"{DATA}/images_variant_trainval.txt": b"nonsense\n",
    f"{DATA}/images_box.txt": b"1000000 1 1 40 30\n",
    "fgvc-aircraft-2013b/README.html": b"<html>",
}


def prepare(tmp_path, **options):
    made = FgvcAircraft(
        data_dir=tmp_path / "data", manual_dir=tmp_path, options=Options(**options)
    )
    prepared.prepare(made)
    return made.data_dir


@pytest.mark.parametrize("form", ["lists first", "lists last", "tree"])
def test_variants_splits_and_the_banner(tmp_path, form):
    lists = LISTS | OTHERS
    files = IMAGES | lists if form == "lists last" else lists | IMAGES
    if form == "tree":
        small.unpack(tmp_path / "fgvc_aircraft", files)
    else:
        small.pack(tmp_path / ARCHIVE, files)
    folder = prepare(tmp_path)
    reader = tfds.builder_from_directory(folder)
    assert reader.info.features["label"].names == VARIANTS
    found = small.stored(folder)
    assert found.keys() == {"train", "validation", "test"}
    for name, (split, variant, image) in SHOWN.items():
        label, content = found[SPLITS[split]].pop(f"{name}.jpg")
        assert label == variant
        kept = small.pixels(content)
        assert kept.shape == (30, 40, 3)
        # No black row is left, apart from what JPEG smears over the edge.
        assert np.abs(kept[:24].astype(int) - np.asarray(image)[:24]).mean() < 3
    assert not any(found.values())


def test_one_pass_over_the_archive(tmp_path, monkeypatch):
    path = small.pack(tmp_path / ARCHIVE, IMAGES | LISTS)
    opened, read = [], []
    true_open, true_read = io.open, archive._Counted.readinto

    def counted_open(file, *args, **kwargs):
        opened.append(str(file))
        return true_open(file, *args, **kwargs)

    def counted_read(self, buffer):
        read.append(true_read(self, buffer))
        return read[-1]

    monkeypatch.setattr(io, "open", counted_open)
    monkeypatch.setattr(archive._Counted, "readinto", counted_read)
    found = small.stored(prepare(tmp_path))
    assert opened.count(str(path)) == 1
    assert sum(read) == path.stat().st_size
    assert sum(map(len, found.values())) == len(SHOWN)


def test_a_split_that_a_fraction_empties_is_refused(tmp_path):
    small.pack(tmp_path / ARCHIVE, IMAGES | LISTS)
    fraction = sorted(map(base._share, IMAGES))[1]  # one image is left
    with pytest.raises(PrepareError, match="no image is left for the split '"):
        prepare(tmp_path, fraction=fraction)


def test_what_a_fraction_leaves_out_is_not_missing(tmp_path):
    small.pack(tmp_path / ARCHIVE, IMAGES | LISTS)
    folder = prepare(tmp_path, fraction=0.6)
    assert tfds.builder_from_directory(folder).info.metadata["missing"] == 0
    assert 6 < sum(map(len, small.stored(folder).values())) < 24


VAL = f"{DATA}/images_variant_val.txt"
WRONG = {
    r"images_variant_val\.txt is missing or empty": {VAL: b""},
    r"images_variant_val\.txt has the line '1000000 F-16', and no such variant": {
        VAL: b"1000000 F-16\n"
    },
    r"data/variants\.txt is missing or empty": {f"{DATA}/variants.txt": b"\n"},
    r"1 images that the lists name but that are missing: .*/7777777\.jpg": {
        VAL: LISTS[VAL] + b"7777777 Hawk T1\n"
    },
}


@pytest.mark.parametrize("words", WRONG)
def test_other_lists_are_refused(tmp_path, words):
    small.pack(tmp_path / ARCHIVE, IMAGES | LISTS | WRONG[words])
    with pytest.raises(PrepareError, match=words) as error:
        prepare(tmp_path)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "data" / "fgvc_aircraft").iterdir()) == []


def test_the_archive_without_its_lists_is_refused(tmp_path):
    small.pack(tmp_path / ARCHIVE, IMAGES)
    with pytest.raises(PrepareError, match=r"variants\.txt is missing or empty"):
        prepare(tmp_path)
