"""Omniglot from its official archives, and from its packed form."""

import hashlib
import zipfile

import archives
import numpy as np
import pytest
import seven

from metainit.config.fields import Data, Task
from metainit.data import cache, episodes, leakage, loading
from metainit.data.builders import omniglot


def settings(tmp_path, **changed):
    return Data(name="omniglot", data_dir=str(tmp_path / "data"), **changed)


def test_the_stored_split_is_the_seeded_one():
    split = omniglot.split()
    counts = {role: len(names) for role, names in split.items()}
    assert counts == {"train": 1100, "validation": 100, "test": 423}
    every = sorted(name for names in split.values() for name in names)
    assert len(set(every)) == 1623
    assert len({name.split("/")[0] for name in every}) == 50
    order = np.random.default_rng(0).permutation(1623)
    assert split["train"] == tuple(every[n] for n in sorted(order[:1100]))
    assert split["validation"] == tuple(every[n] for n in sorted(order[1100:1200]))


CHARACTERS = {
    # Of every role in each archive; see the stored split.
    "background": [f"Alphabet_of_the_Magi/character{n:02}" for n in range(1, 15)],
    "evaluation": [f"Angelic/character{n:02}" for n in range(1, 15)],
}
INK = archives.encode(archives.picture(0).convert("1"), "png")


@pytest.fixture
def zips(tmp_path):
    ink, paths = {}, []
    for number, (part, characters) in enumerate(CHARACTERS.items()):
        path = tmp_path / f"images_{part}.zip"
        ink |= archives.omniglot_zip(path, f"images_{part}", characters, 3 + number)
        paths.append(path)
    return paths, ink


def test_the_official_zips_are_pooled_by_character(tmp_path, zips):
    paths, ink = zips
    data = settings(tmp_path, size=105, archive=",".join(map(str, paths)))
    roles = loading.load(data)
    leakage.check(roles)
    split = omniglot.split()
    for role, (source,) in zip(cache.ROLES, roles[:3], strict=True):
        expected = tuple(name for name in split[role] if name in ink)
        assert source.class_names == expected
        for name, where in zip(expected, loading.class_index(source), strict=True):
            drawn = source.images[where][..., 0]
            np.testing.assert_array_equal(drawn, ink[name] * np.uint8(255))
    for path in paths:  # one alone is accepted, and scaled
        roles = loading.load(settings(tmp_path, archive=str(path)))
        assert sum(len(source.class_names) for (source,) in roles[:3]) == 14
        (source,) = roles.train
        assert source.images.shape[1:] == (28, 28, 1)
        mean = np.mean([ink[name].mean() for name in source.class_names])
        assert abs(source.images.mean() / 255 - mean) < 0.01


@pytest.mark.parametrize("damage", ["content", "storage"])
def test_a_drawing_that_does_not_decode_is_named_or_skipped(tmp_path, damage):
    path = tmp_path / "x.zip"
    archives.omniglot_zip(path, "images_background", CHARACTERS["background"], 3)
    hurt = "images_background/Alphabet_of_the_Magi/character01/0001_02.png"
    with zipfile.ZipFile(path) as opened:
        files = {name: opened.read(name) for name in opened.namelist()}
        place = opened.getinfo(hurt).header_offset + 150
    if damage == "content":
        archives.pack(path, files | {hurt: b"no image"})
    else:  # a byte of the compressed picture, so that its sum differs
        content = bytearray(path.read_bytes())
        content[place] ^= 255
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{hurt} does not decode.*skip_undecodable"):
        loading.load(settings(tmp_path, archive=str(path)))
    kept = settings(tmp_path, archive=str(path), skip_undecodable=True)
    assert sum(len(source.images) for (source,) in loading.load(kept)[:3]) == 41


def test_the_official_zips_are_downloaded_and_checked(tmp_path, zips, monkeypatch):
    paths, _ = zips
    content = paths[0].read_bytes()
    right = "md5:" + hashlib.md5(content).hexdigest()
    with archives.serving(content) as server:
        seven.serve(monkeypatch, "omniglot", server.url, right)
        for _ in range(2):
            roles = loading.load(settings(tmp_path))
    assert len(server.asked) == 1
    assert sum(len(source.class_names) for (source,) in roles[:3]) == 14
    assert (tmp_path / "data" / "downloads" / "images_background.zip").exists()


def test_the_packed_form_is_accepted(tmp_path):
    names = [f"Angelic/character{n:02}" for n in range(1, 15)]
    ink = np.random.default_rng(0).random((14, 20, 28, 28)) < 0.1
    packed = np.packbits(ink.reshape(14, 20, 784), axis=-1)
    path = tmp_path / "omniglot.npz"
    np.savez(path, packed=packed, names=np.array(names))
    roles = loading.load(settings(tmp_path, archive=str(path)))
    for (source,) in roles[:3]:
        index = loading.class_index(source)
        for name, where in zip(source.class_names, index, strict=True):
            true = ink[names.index(name)] * np.uint8(255)
            np.testing.assert_array_equal(source.images[where][..., 0], true)


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("no.zip", None, "there is no file"),
        ("cut.zip", b"PK\3\4", "neither a whole zip"),
        ("a.zip", {"x/y.png": b"x"}, "is not laid out as"),
        ("b.zip", {"r/Klingon/character01/1.png": INK}, "'Klingon/character01' is no"),
        ("a.npz", {"x.npy": b"x"}, "does not hold Omniglot"),
        ("b.npz", b"x", "does not hold Omniglot"),
    ],
)
def test_another_file_is_refused_as_omniglot(tmp_path, name, content, words):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content:
        archives.pack(tmp_path / "x.zip", content).rename(tmp_path / name)
    with pytest.raises(ValueError, match=r"data\.archive") as error:
        loading.load(settings(tmp_path, archive=str(tmp_path / name)))
    assert words in str(error.value) and name in str(error.value)


def test_real_omniglot(real_data, tmp_path):
    path = real_data / "omniglot28.npz"
    data = settings(tmp_path, archive=str(path), rotations=True)
    roles = loading.load(data)
    shapes = [source.images.shape for (source,) in roles[:3]]
    assert shapes == [(count, 28, 28, 1) for count in (4 * 22000, 2000, 8460)]
    split = omniglot.split()
    assert roles.test[0].class_names == split["test"]
    with np.load(path) as arrays:
        assert sorted(arrays["names"].tolist()) == sorted(sum(split.values(), ()))
    for role, each in zip(cache.ROLES, roles[:3], strict=True):
        assert set(np.unique(each[0].images)) == {0, 255}
        episodes.check(each, Task(20, 5, 15), role)
    leakage.check(roles)
