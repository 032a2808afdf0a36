"""CIFAR-FS and Omniglot, whose classes come split, from their archives."""

import hashlib

import archives
import numpy as np
import pytest
import seven
from PIL import Image

from metainit.config.fields import Data, Task
from metainit.data import cache, episodes, leakage, loading
from metainit.data.builders import catalog, omniglot


def load(folder, name, archive="", **options):
    options |= {"size": 32, "channels": 3} if name == "cifar_fs" else {}
    given = {"name": name, "archive": str(archive), "data_dir": str(folder / "data")}
    return loading.load(Data(**given | options))


def by_class(roles):
    """The images of every class of every role."""
    return {
        name: source.images[where]
        for (source,) in roles[:3]
        for name, where in zip(
            source.class_names, loading.class_index(source), strict=True
        )
    }


CIFAR = seven.layout("cifar100")
(CIFAR_FILES,) = CIFAR.files.values()


def test_cifar_is_pooled_by_class_and_split_as_published(tmp_path):
    path = archives.pack(tmp_path / "cifar-100-binary.tar.gz", CIFAR_FILES)
    roles = load(tmp_path, "cifar_fs", path)
    leakage.check(roles)
    assert [len(source.class_names) for (source,) in roles[:3]] == [64, 16, 20]
    assert {"otter", "sea"} <= set(roles.validation[0].class_names)
    assert {"baby", "worm"} <= set(roles.test[0].class_names)
    true = {name: [] for name in CIFAR.classes}
    for split in ("train", "test"):
        for name, image in CIFAR.rows[split].values():
            true[name].append(np.asarray(image))
    np.testing.assert_equal(by_class(roles), true)


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


# Of every role in each archive; see the stored split.
ALPHABETS = {"background": "Alphabet_of_the_Magi", "evaluation": "Angelic"}
INK = archives.encode(archives.picture(0).convert("1"), "png")


@pytest.fixture
def zips(tmp_path):
    """The official zips, one bit an image and ink black, and the ink of characters."""
    ink, paths = {}, []
    for number, (part, alphabet) in enumerate(ALPHABETS.items()):
        rng, files = np.random.default_rng(number), {}
        for letter in range(1, 15):
            name = f"{alphabet}/character{letter:02}"
            ink[name] = rng.random((3 + number, 105, 105, 1)) < 0.2
            for drawing, strokes in enumerate(ink[name], start=1):
                png = archives.encode(Image.fromarray(~strokes[..., 0]), "png")
                files[f"images_{part}/{name}/{letter:04}_{drawing:02}.png"] = png
        paths.append(archives.pack(tmp_path / f"images_{part}.zip", files))
    return paths, ink


def test_the_official_zips_are_pooled_by_character(tmp_path, zips):
    paths, ink = zips
    roles = load(tmp_path, "omniglot", ",".join(map(str, paths)), size=105)
    leakage.check(roles)
    white = {name: drawn * np.uint8(255) for name, drawn in ink.items()}
    np.testing.assert_equal(by_class(roles), white)
    split = omniglot.split()
    for role, (source,) in zip(cache.ROLES, roles[:3], strict=True):
        assert source.class_names == tuple(name for name in split[role] if name in ink)
    for path in paths:  # one alone is accepted, and scaled
        scaled = by_class(load(tmp_path, "omniglot", path))
        assert len(scaled) == 14
        for name, drawn in scaled.items():
            assert drawn.shape[1:] == (28, 28, 1)
            assert abs(drawn.mean() / 255 - ink[name].mean()) < 0.01


def test_a_drawing_that_does_not_decode_is_named_or_skipped(tmp_path):
    hurt = "r/Angelic/character01/2.png"
    files = {f"r/Angelic/character{n:02}/1.png": INK for n in range(1, 15)}
    path = archives.pack(tmp_path / "x.zip", files | {hurt: b"no image"})
    with pytest.raises(ValueError, match=f"{hurt} does not decode.*skip_undecodable"):
        load(tmp_path, "omniglot", path)
    kept = by_class(load(tmp_path, "omniglot", path, skip_undecodable=True))
    assert sum(map(len, kept.values())) == 14


def test_the_official_zips_are_downloaded_and_checked(tmp_path, zips, monkeypatch):
    content = zips[0][0].read_bytes()
    entry, right = catalog.CATALOG["omniglot"], hashlib.md5(content).hexdigest()
    with archives.serving(content) as server:
        where = {"folders": (f"{server.url}/",), "checksum": f"md5:{right}"}
        served = entry._replace(files=(entry.files[0]._replace(**where),))
        monkeypatch.setitem(catalog.CATALOG, "omniglot", served)
        for _ in range(2):
            assert len(by_class(load(tmp_path, "omniglot"))) == 14
    assert len(server.asked) == 1
    assert (tmp_path / "data" / "downloads" / "images_background.zip").exists()


def test_the_packed_form_is_accepted(tmp_path):
    names = [f"Angelic/character{n:02}" for n in range(1, 15)]
    ink = np.random.default_rng(0).random((14, 20, 28, 28, 1)) < 0.1
    packed = np.packbits(ink.reshape(14, 20, 784), axis=-1)
    np.savez(tmp_path / "omniglot.npz", packed=packed, names=np.array(names))
    roles = load(tmp_path, "omniglot", tmp_path / "omniglot.npz")
    white = dict(zip(names, ink * np.uint8(255), strict=True))
    np.testing.assert_equal(by_class(roles), white)


@pytest.mark.parametrize(
    "file, content, words",
    [
        ("no.zip", None, "there is no file"),
        ("cut.zip", b"PK\3\4", "cut short or damaged"),
        ("a.zip", {"x/y.png": b"x"}, "is not laid out as"),
        ("b.zip", {"r/Klingon/character01/1.png": INK}, "'Klingon/character01' is no"),
        ("a.npz", {"x.npy": b"x"}, "does not hold Omniglot"),
        ("b.npz", b"x", "does not hold Omniglot"),
        ("cifar.tgz", b"x" * 1000, "cut short or damaged"),
        ("cifar.tgz", {"train.bin": b"x"}, "train.bin has 1 bytes"),
        ("cifar.tgz", {"fine_label_names.txt": b"apple"}, "does not name the 100"),
    ],
)
def test_another_file_is_refused(tmp_path, file, content, words):
    path = tmp_path / file
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif file == "cifar.tgz":
        changed = {f"cifar-100-binary/{name}": part for name, part in content.items()}
        archives.pack(path, CIFAR_FILES | changed)
    elif content:
        archives.pack(path, content)
    with pytest.raises(ValueError, match=rf"data\.archive.*{file}") as error:
        load(tmp_path, "cifar_fs" if file == "cifar.tgz" else "omniglot", path)
    assert words in str(error.value)


def test_real_cifar(real_data, tmp_path):
    roles = load(tmp_path, "cifar_fs", real_data / "cifar-100-binary-subset.tar.gz")
    assert [len(source.class_names) for (source,) in roles[:3]] == [64, 16, 20]
    for role, each in zip(cache.ROLES, roles[:3], strict=True):
        assert (np.bincount(each[0].labels) == 250).all()
        assert 100 < each[0].images.mean() < 150
        episodes.check(each, Task(5, 5, 15), role)
    # Sea is bluer than it is red, apples are red.
    images = by_class(roles)
    assert np.argmax(images["sea"].mean(axis=(0, 1, 2))) == 2
    assert np.argmax(images["apple"].mean(axis=(0, 1, 2))) == 0


def test_real_omniglot(real_data, tmp_path):
    path = real_data / "omniglot28.npz"
    roles = load(tmp_path, "omniglot", path, rotations=True)
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
