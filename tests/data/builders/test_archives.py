"""Downloads, and the official archives of Omniglot and CIFAR-100."""

import hashlib
import io
import tarfile
import zipfile

import archives
import numpy as np
import pytest

from metainit.data import cache, episodes, leakage, loading
from metainit.data.builders import cifar_fs, omniglot
from metainit.data.builders.fetch import FetchError, fetch
from metainit.experiments import configs

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


def settings(tmp_path, name, **changed):
    fields = {
        "name": name,
        "size": 28 if name == "omniglot" else 32,
        "channels": 1 if name == "omniglot" else 3,
        "data_dir": str(tmp_path / "data"),
    }
    data = configs.default().data
    data.update(fields | changed)
    return data


def left(folder):
    return sorted(path.name for path in folder.iterdir())


# Downloads


def test_a_file_is_fetched_once(tmp_path):
    with archives.serving(CONTENT) as server:
        for _ in range(2):
            path = fetch(f"{server.url}/x.zip", tmp_path / "a" / "b", SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]
    assert left(path.parent) == ["x.zip"]


def test_a_cut_download_goes_on_in_the_same_call(tmp_path):
    with archives.serving(CONTENT) as server:
        server.cuts = [1_000_000, 500_000]
        path = fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=1000000-", "bytes=1500000-"]


def test_a_download_that_was_left_goes_on_in_the_next_call(tmp_path):
    with archives.serving(CONTENT) as server:
        server.cuts = [1_000_000, 0]
        with pytest.raises(FetchError, match="cut after 1000000 of 3000000 bytes"):
            fetch(f"{server.url}/x.zip", tmp_path, SHA256)
        assert left(tmp_path) == ["x.zip.part"]
        path = fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=1000000-"
    assert left(tmp_path) == ["x.zip"]


def test_a_server_without_ranges_starts_over(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(b"something else that was here")
    with archives.serving(CONTENT) as server:
        server.ranges = False
        path = fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_taken(tmp_path):
    (tmp_path / "x.zip.part").write_bytes(CONTENT)
    with archives.serving(CONTENT) as server:
        path = fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("start", [b"", b"wrong"])
def test_a_wrong_checksum_is_refused_and_nothing_kept(tmp_path, start):
    if start:
        (tmp_path / "x.zip.part").write_bytes(start)
    expected = "md5:" + hashlib.md5(CONTENT + b"x").hexdigest()
    with (
        archives.serving(CONTENT) as server,
        pytest.raises(FetchError, match=r"its md5 is .* nothing was kept") as error,
    ):
        fetch(f"{server.url}/x.zip", tmp_path, expected)
    assert "--config.data.archive=PATH" in str(error.value)
    assert left(tmp_path) == []


def test_a_missing_file_and_a_silent_server_are_reported(tmp_path):
    with archives.serving(CONTENT) as server:
        with pytest.raises(FetchError, match=r"404.*data\.archive=PATH"):
            fetch(f"{server.url}/missing", tmp_path, SHA256)
        with pytest.raises(FetchError, match=r"timed out.*data\.archive=PATH"):
            fetch(f"{server.url}/silent", tmp_path, SHA256, timeout=0.2)
    with pytest.raises(FetchError, match=r"cannot download .*data\.archive=PATH"):
        fetch(f"{server.url}/x.zip", tmp_path, SHA256)
    assert left(tmp_path) == []


# Omniglot


def test_the_stored_split_is_the_seeded_one():
    split = omniglot.split()
    assert {role: len(names) for role, names in split.items()} == {
        "train": 1100,
        "validation": 100,
        "test": 423,
    }
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
    data = settings(tmp_path, "omniglot", size=105, archive=",".join(map(str, paths)))
    roles = loading.load(data)
    leakage.check(roles)
    split = omniglot.split()
    for role, (source,) in zip(cache.ROLES, roles[:3], strict=True):
        expected = tuple(name for name in split[role] if name in ink)
        assert source.class_names == expected
        for name, where in zip(expected, loading.class_index(source), strict=True):
            drawn = source.images[where][..., 0]
            np.testing.assert_array_equal(drawn, ink[name] * np.uint8(255))


@pytest.mark.parametrize("damage", ["content", "storage"])
def test_a_drawing_that_does_not_decode_is_named_or_skipped(tmp_path, damage):
    good, bad = tmp_path / "good.zip", tmp_path / "bad.zip"
    archives.omniglot_zip(good, "images_background", CHARACTERS["background"], 3)
    hurt = "images_background/Alphabet_of_the_Magi/character01/0001_02.png"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            garbage = name == hurt and damage == "content"
            new.writestr(name, b"no image" if garbage else old.read(name))
    if damage == "storage":  # a byte of the compressed picture, so that its sum differs
        with zipfile.ZipFile(good) as old:
            place = old.getinfo(hurt).header_offset + 150
        content = bytearray(good.read_bytes())
        content[place] ^= 255
        bad.write_bytes(content)
    with pytest.raises(ValueError, match=f"{hurt} does not decode.*skip_undecodable"):
        loading.load(settings(tmp_path, "omniglot", archive=str(bad)))
    kept = settings(tmp_path, "omniglot", archive=str(bad), skip_undecodable=True)
    assert sum(len(source.images) for (source,) in loading.load(kept)[:3]) == 41


@pytest.mark.parametrize("which", [0, 1])
def test_one_zip_alone_is_accepted_and_scaled(tmp_path, zips, which):
    paths, ink = zips
    roles = loading.load(settings(tmp_path, "omniglot", archive=str(paths[which])))
    assert sum(len(source.class_names) for (source,) in roles[:3]) == 14
    (source,) = roles.train
    assert source.images.shape[1:] == (28, 28, 1)
    mean = np.mean([ink[name].mean() for name in source.class_names])
    assert abs(source.images.mean() / 255 - mean) < 0.01


def test_the_official_zips_are_downloaded_and_checked(tmp_path, zips, monkeypatch):
    paths, _ = zips
    content = paths[0].read_bytes()
    right = "md5:" + hashlib.md5(content).hexdigest()
    monkeypatch.setattr(omniglot, "_CHECKSUMS", {"images_background.zip": right})
    with archives.serving(content) as server:
        monkeypatch.setattr(omniglot, "_URL", server.url + "/")
        for _ in range(2):
            roles = loading.load(settings(tmp_path, "omniglot"))
    assert len(server.asked) == 1
    assert sum(len(source.class_names) for (source,) in roles[:3]) == 14
    assert (tmp_path / "data" / "downloads" / "images_background.zip").exists()


def test_the_packed_form_is_accepted(tmp_path):
    names = [f"Angelic/character{n:02}" for n in range(1, 15)]
    ink = np.random.default_rng(0).random((14, 20, 28, 28)) < 0.1
    packed = np.packbits(ink.reshape(14, 20, 784), axis=-1)
    path = tmp_path / "omniglot.npz"
    np.savez(path, packed=packed, names=np.array(names))
    roles = loading.load(settings(tmp_path, "omniglot", archive=str(path)))
    for (source,) in roles[:3]:
        for name, where in zip(
            source.class_names, loading.class_index(source), strict=True
        ):
            true = ink[names.index(name)] * np.uint8(255)
            np.testing.assert_array_equal(source.images[where][..., 0], true)


def other_zip(path, member):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, b"x")


@pytest.mark.parametrize(
    "name, make, words",
    [
        ("no.zip", lambda path: None, "there is no file"),
        ("cut.zip", lambda path: path.write_bytes(b"PK\3\4"), "neither a whole zip"),
        ("a.zip", lambda path: other_zip(path, "x/y.png"), "is not laid out as"),
        (
            "b.zip",
            lambda path: archives.omniglot_zip(path, "r", ["Klingon/character01"], 1),
            "'Klingon/character01' is no character of Omniglot",
        ),
        ("a.npz", lambda path: np.savez(path, x=1), "does not hold Omniglot"),
        ("b.npz", lambda path: path.write_bytes(b"x"), "does not hold Omniglot"),
    ],
)
def test_another_file_is_refused_as_omniglot(tmp_path, name, make, words):
    make(tmp_path / name)
    with pytest.raises(ValueError, match=r"data\.archive") as error:
        loading.load(settings(tmp_path, "omniglot", archive=str(tmp_path / name)))
    assert words in str(error.value) and name in str(error.value)


def test_real_omniglot(real_data, tmp_path):
    path = real_data / "omniglot28.npz"
    data = settings(tmp_path, "omniglot", archive=str(path), rotations=True)
    roles = loading.load(data)
    shapes = [source.images.shape for (source,) in roles[:3]]
    assert shapes == [
        (4 * 22000, 28, 28, 1),
        (2000, 28, 28, 1),
        (8460, 28, 28, 1),
    ]
    split = omniglot.split()
    assert roles.test[0].class_names == split["test"]
    with np.load(path) as arrays:
        assert sorted(arrays["names"].tolist()) == sorted(sum(split.values(), ()))
    for role, each in zip(cache.ROLES, roles[:3], strict=True):
        assert set(np.unique(each[0].images)) == {0, 255}
        episodes.check(each, episodes.EpisodeSpec(20, 5, 15), role)
    leakage.check(roles)


# CIFAR-FS


def test_cifar_is_pooled_by_class_and_split_as_published(tmp_path):
    path = tmp_path / "cifar-100-binary.tar.gz"
    fine, pixels = archives.cifar_tar(path)
    roles = loading.load(settings(tmp_path, "cifar_fs", archive=str(path)))
    leakage.check(roles)
    names = archives.cifar_names()
    assert [len(source.class_names) for (source,) in roles[:3]] == [64, 16, 20]
    assert {"otter", "sea"} <= set(roles.validation[0].class_names)
    assert {"baby", "worm"} <= set(roles.test[0].class_names)
    for (source,) in roles[:3]:
        for name, where in zip(
            source.class_names, loading.class_index(source), strict=True
        ):
            true = pixels[fine == names.index(name)]
            np.testing.assert_array_equal(source.images[where], true)


def test_cifar_is_downloaded_and_checked(tmp_path, monkeypatch):
    path = tmp_path / "cifar.tar.gz"
    archives.cifar_tar(path)
    content = path.read_bytes()
    right = "sha256:" + hashlib.sha256(content).hexdigest()
    with archives.serving(content) as server:
        monkeypatch.setattr(cifar_fs, "_URL", server.url + "/cifar-100-binary.tar.gz")
        with pytest.raises(FetchError, match="nothing was kept"):
            loading.load(settings(tmp_path, "cifar_fs"))
        monkeypatch.setattr(cifar_fs, "_CHECKSUM", right)
        roles = loading.load(settings(tmp_path, "cifar_fs", size=8, channels=1))
    assert roles.train[0].images.shape == (192, 8, 8, 1)


def other_tar(path, **members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"x/{name.replace('_bin', '.bin')}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def cut_tar(path):
    archives.cifar_tar(path)
    path.write_bytes(path.read_bytes()[:100_000])


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda path: None, "there is no file"),
        (lambda path: path.write_bytes(b"x" * 1000), "cannot be read as a tar.gz"),
        (cut_tar, "may be cut short"),
        (lambda path: other_tar(path, train_bin=b"x"), "is not laid out as"),
    ],
)
def test_another_file_is_refused_as_cifar(tmp_path, make, words):
    make(tmp_path / "x.tar.gz")
    data = settings(tmp_path, "cifar_fs", archive=str(tmp_path / "x.tar.gz"))
    with pytest.raises(ValueError, match=r"data\.archive") as error:
        loading.load(data)
    assert words in str(error.value)


def test_real_cifar(real_data, tmp_path):
    path = real_data / "cifar-100-binary-subset.tar.gz"
    roles = loading.load(settings(tmp_path, "cifar_fs", archive=str(path)))
    classes = [len(source.class_names) for (source,) in roles[:3]]
    assert classes == [64, 16, 20]
    for role, each in zip(cache.ROLES, roles[:3], strict=True):
        (source,) = each
        assert (np.bincount(source.labels) == 250).all()
        assert 100 < source.images.mean() < 150
        episodes.check(each, episodes.EpisodeSpec(5, 5, 15), role)

    # Sea and plain are bluer and greener than they are red; apples are red.
    def colour(source, name):
        where = loading.class_index(source)[source.class_names.index(name)]
        return source.images[where].mean(axis=(0, 1, 2))

    assert np.argmax(colour(roles.validation[0], "sea")) == 2
    assert np.argmax(colour(roles.train[0], "apple")) == 0
