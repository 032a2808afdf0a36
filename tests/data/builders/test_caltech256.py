"""Caltech-256 from its official layout; test_prepare.py has the rest."""

import zlib

import numpy as np
import pytest
import small_archives as small
import tensorflow_datasets as tfds

from metainit.data.builders import prepared
from metainit.data.builders.caltech256 import Caltech256

ROOT = "256_ObjectCategories"
KEPT = {
    f"{ROOT}/{folder}/{folder[:3]}_{image:04}.jpg": small.encode(
        small.picture(image).convert("L" if image == 3 else "RGB"), quality=95
    )
    for folder in ("002.american-flag", "056.dog", "198.spider", "256.toad")
    for image in range(1, 16)
}
# The clutter class, the two stray entries, and what tools add to trees.
LEFT_OUT = {
    f"{ROOT}/257.clutter/257_0001.jpg": small.encode(small.picture(100)),
    f"{ROOT}/056.dog/greg/vision309/056_0001.jpg": small.encode(small.picture(101)),
    f"{ROOT}/198.spider/RENAME2": b"#!/bin/sh\nmv *.jpg ..\n",
    f"{ROOT}/056.dog/198_0001.jpg": small.encode(small.picture(102)),
    f"{ROOT}/056.dog/._056_0001.jpg": b"x",
    f"{ROOT}/.DS_Store": b"x",
}


@pytest.mark.parametrize("form", ["archive", "tree"])
def test_clutter_and_stray_entries_are_left_out(tmp_path, form):
    # Out of order, as in no archive: labels follow the numbers all the same.
    files = dict(sorted((LEFT_OUT | KEPT).items(), reverse=True))
    if form == "archive":
        small.pack(tmp_path / f"{ROOT}.tar", files)
    else:
        small.unpack(tmp_path / "caltech256", files)
    made = Caltech256(data_dir=tmp_path / "data", manual_dir=tmp_path)
    prepared.prepare(made)
    assert tfds.builder_from_directory(made.data_dir).info.features["label"].names == [
        "002.american-flag",
        "056.dog",
        "198.spider",
        "256.toad",
    ]
    found = small.stored(made.data_dir)
    assert found.keys() == {"train", "test"}
    for path, content in KEPT.items():
        _, name, file = path.split("/")
        split = "test" if zlib.crc32(file.encode()) % 5 == 0 else "train"
        label, image = found[split].pop(file)
        assert label == name
        if file.endswith("_0003.jpg"):  # was grey
            assert np.ptp(small.pixels(image), axis=2).max() == 0
        else:
            assert image == content
    assert found == {"train": {}, "test": {}}


def test_about_a_fifth_of_the_images_is_for_test():
    names = [
        f"{ROOT}/{label:03}.class/{label:03}_{image:04}.jpg"
        for label in range(1, 257)
        for image in range(1, 81)
    ]
    builder = Caltech256(data_dir="nowhere")
    rows = builder.table({}, names).rows
    held_out = np.array([row.split == "test" for row in rows]).reshape(256, 80)
    assert abs(held_out.mean() - 0.2) < 0.005
    assert held_out.sum(axis=1).min() > 0
