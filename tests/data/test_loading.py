"""Class-folder trees, rotations, and what is refused."""

import dataclasses
import logging
import os
from unittest import mock

import numpy as np
import pytest
import tiny
from PIL import Image

from metainit.config.fields import Data
from metainit.data import cache, class_splits, folders, images, leakage, loading
from metainit.data.builders import omniglot


def settings(tmp_path, name, **changed):
    fields = {"name": name, "size": 16, "channels": 3, "split": (0.5, 0.25, 0.25)}
    return Data(**fields | {"data_dir": str(tmp_path / "data")} | changed)


def plain(value, blue=0):
    return Image.new("RGB", (16, 16), (value, value, value + blue))


def tree(root, classes=8, blue=0):
    """Class folders of which class k has three images, of grey 20 k + number."""
    for label in range(classes):
        folder = root / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(3):
            plain(20 * label + number, blue).save(folder / f"{number}.png")
    return root


def names(roles):
    return {
        role: set(source.class_names)
        for role, of_role in roles._asdict().items()
        for source in of_role
    }


def test_classes_of_a_tree_are_split_and_keep_their_images(tmp_path):
    data = settings(tmp_path, f"folder:{tree(tmp_path / 'tree')}")
    roles = loading.load(data)
    assert list(map(len, names(roles).values())) == [4, 2, 2]
    leakage.check(roles)
    for (source,) in roles[:3]:
        assert source.name == data.name
        for label, where in enumerate(loading.class_index(source)):
            true = int(source.class_names[label].removeprefix("class"))
            found = source.images[where][:, 0, 0, 0].tolist()
            assert found == [20 * true, 20 * true + 1, 20 * true + 2]
    assert names(loading.load(data)) == names(roles)


@pytest.mark.parametrize("validation", ["validation", "val"])
def test_folders_of_the_three_roles_are_the_roles(tmp_path, validation):
    for role in ("train", validation, "test"):
        tree(tmp_path / "tree" / role / role, classes=2)
    data = settings(tmp_path, f"folder:{tmp_path / 'tree'}")
    assert list(names(loading.load(data)).values()) == [
        {f"{role}/class0", f"{role}/class1"} for role in ("train", validation, "test")
    ]
    plain(0).save(tmp_path / "tree" / "test" / "stray.png")
    with pytest.raises(ValueError, match="test holds images itself"):
        loading.load(data)


def test_a_class_in_two_folders_is_refused(tmp_path):
    for part in ("train", "test"):
        tree(tmp_path / "tree" / part, classes=4)
    words = "train/class0 have images of one class, and would be two classes"
    with pytest.raises(ValueError, match=words):
        loading.load(settings(tmp_path, f"folder:{tmp_path / 'tree'}"))


def test_hidden_and_other_files_are_not_looked_at(tmp_path, caplog):
    root = tree(tmp_path / "tree", classes=4)
    (root / "class0" / ".hidden.png").write_bytes(b"no image")
    (root / "class0" / "readme.txt").write_text("no image")
    (root / "readme.txt").write_text("of no class")
    plain(3).save(root / "class0" / "x.ppm")
    plain(3).save(root / "class1" / "x.PPM")
    (root / ".git").mkdir()
    plain(3).save(root / ".git" / "x.png")
    roles = loading.load(settings(tmp_path, f"folder:{root}"))
    assert sum(len(source.images) for (source,) in roles[:3]) == 12
    (record,) = caplog.records
    caplog.clear()
    (root / "class9" / "inside").mkdir(parents=True)
    plain(3).save(root / "0.png")
    loading.load(settings(tmp_path, f"folder:{root}"))
    told = [record.getMessage() for record in caplog.records[1:]]
    assert told[0].endswith("no images in class9/inside")
    assert told[1].endswith("passed over 1 images in no folder of a class")
    assert "passed over 3 files that end in .ppm, .txt; " in record.getMessage()


def test_an_undecodable_image_is_named_or_skipped_and_counted(tmp_path, caplog):
    root = tree(tmp_path / "tree", classes=4)
    whole = (root / "class1" / "0.png").read_bytes()
    (root / "class1" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (root / "class2" / "empty.jpg").write_bytes(b"")
    (root / "class3" / "text.gif").write_text("no image")
    (root / "lost").mkdir()
    (root / "lost" / "only.png").write_text("no image")
    name = f"folder:{root}"
    with pytest.raises(ValueError, match=r"decode.* data\.skip_undecodable=True"):
        loading.load(settings(tmp_path, name))
    left = (tmp_path / "data" / "cache").iterdir()
    assert not [path for path in left if path.is_dir()]  # not a part of it
    with caplog.at_level(logging.WARNING):
        roles = loading.load(settings(tmp_path, name, skip_undecodable=True))
    assert sum(record.args[-1] for record in caplog.records) == 4
    assert sum(len(source.images) for (source,) in roles[:3]) == 12
    assert set.union(*names(roles).values()) == {f"class{n}" for n in range(4)}
    assert all((np.bincount(source.labels) == 3).all() for (source,) in roles[:3])


def test_the_first_ten_images_that_do_not_decode_are_named_at_once(tmp_path):
    root, why = tree(tmp_path / "tree", classes=6), "of no format that is known"
    broken = sorted(root.glob("*/[01].png"))

    def refusal():
        with pytest.raises(ValueError) as error:
            folders.read_labelled(str(root), 8, 3, None, 0, str(tmp_path / "data"))
        return str(error.value)

    broken[0].write_bytes(b"no image")
    told = f"{broken[0]} does not decode as an image ({why}); mend or remove it"
    assert refusal() == told
    for path in broken:
        path.write_bytes(b"no image")
    names = ", ".join(f"{path} ({why})" for path in broken[:10])
    told = f"12 images do not decode: {names}, and 2 more; mend or remove them"
    assert refusal() == told


def test_the_cache_follows_the_files_and_the_settings(tmp_path, monkeypatch):
    root = tree(tmp_path / "tree", classes=4)
    data = settings(tmp_path, f"folder:{root}")
    first = loading.load(data)
    assert isinstance(first.train[0].images, np.memmap)
    decode = mock.Mock(wraps=images.decode)
    monkeypatch.setattr(images, "decode", decode)
    loading.load(data)
    assert decode.call_count == 0
    (small,) = loading.load(settings(tmp_path, data.name, size=8)).test
    assert small.images.shape[1:] == (8, 8, 3)
    assert decode.call_count == 12
    plain(255).save(root / "class0" / "0.png")
    os.utime(root / "class0" / "0.png", ns=(1, 1))
    again = loading.load(data)
    assert decode.call_count == 24
    assert max(source.images.max() for (source,) in again[:3]) == 255
    plain(9).save(root / "class0" / "new.png")
    assert sum(len(source.images) for (source,) in loading.load(data)[:3]) == 13


@pytest.mark.parametrize(
    "shares, counts",
    [
        ((0.98, 0.01, 0.01), [1, 1, 1]),
        ((0.98, 0.01, 0.01), [99, 1, 1]),
        ((0.01, 0.01, 0.98), [1, 1, 98]),
        ((0.6, 0.2, 0.2), [2, 1, 1]),
        ((0.6, 0.2, 0.2), [6, 2, 2]),
        ((0, 1, 0), [0, 10, 0]),
        ((0.999, 0, 0.001), [9, 0, 1]),
    ],
)
def test_every_role_with_a_share_gets_a_class_and_no_class_is_lost(shares, counts):
    classes = [f"c{number:03}" for number in range(sum(counts))]
    split = class_splits.shuffle_split(classes, shares)
    assert [len(split.get(role, ())) for role in cache.ROLES] == counts
    assert sorted(sum(split.values(), ())) == classes and all(split.values())


def test_shares_must_be_shares():
    with pytest.raises(ValueError, match="2 classes"):
        class_splits.shuffle_split("ab", (0.6, 0.2, 0.2))
    for shares in ((0.5, 0.5), (0.9, 0.2, 0.2), (1.5, 0, -0.5)):
        with pytest.raises(ValueError, match=r"data\.split="):
            class_splits.shuffle_split("abcdefghij", shares)


def test_train_sets_keep_classes_for_what_no_other_set_is_for(tmp_path):
    # Of different blue, they have no image in common.
    roots = (tree(tmp_path / name, blue=blue) for blue, name in enumerate("abc"))
    a, b, c = (f"folder:{root}" for root in roots)
    data = settings(tmp_path, "", train=(a, f"{b}@8"), test=(c,), held_out=0.25)
    roles = loading.load(data)
    leakage.check(roles)
    kept = [(a, 2), (b, 2)]
    assert [
        [(source.name, len(source.class_names)) for source in of_role]
        for of_role in roles
    ] == [[(a, 4), (b, 4)], kept, [(c, 8)], kept]
    assert loading.names(data) == (a, b, c)
    assert [s.images.shape[1:] for s in roles.train] == [(16, 16, 3), (8, 8, 3)]
    # All of a set's classes stand in one role or another, at its own size.
    every = [s for of_role in roles for s in of_role if s.name == b]
    assert sorted(sum((s.class_names for s in every), ())) == sorted(roles.test[0][3])
    assert {s.images.shape[1] for s in every} == {8}
    # Without other sets their classes are meta-test.
    roles = loading.load(dataclasses.replace(data, test=(), validation=(c,)))
    assert [[source.name for source in of] for of in roles[1:]] == [[c], [a, b], []]
    # A set that is read twice is refused by its images.
    (tmp_path / "copy").symlink_to(tmp_path / "a")
    data = dataclasses.replace(data, test=(f"folder:{tmp_path / 'copy'}",))
    with pytest.raises(ValueError, match=r"train .*copy\) have 12 images in common"):
        leakage.check(loading.load(data))


def test_rotations_are_further_classes_of_training_only(tmp_path):
    name = f"folder:{tiny.draw(tmp_path / 'images')}"
    before = loading.load(settings(tmp_path, name))
    after = loading.load(settings(tmp_path, name, rotations=True))
    assert names(after) | {"train": 0} == names(before) | {"train": 0}
    leakage.check(after)
    (upright,), (turned,) = before.train, after.train
    index = loading.class_index(turned)
    assert len(index) == 4 * len(upright.class_names)
    for label, base in enumerate(upright.class_names):
        images = upright.images[upright.labels == label]
        for turn, ending in enumerate(("", "@90", "@180", "@270")):
            where = index[turned.class_names.index(base + ending)]
            rotated = np.rot90(images, turn, (1, 2))
            np.testing.assert_array_equal(turned.images[where], rotated)


def test_class_index_is_made_once_an_array_whatever_its_address():
    def index(*labels):
        source = loading.Source("s", images, np.array(labels, np.int32), ("a", "b"))
        index = loading.class_index(source)
        assert loading.class_index(source._replace(name="other")) is index
        return [where.tolist() for where in index]

    images = np.zeros((3, 1, 1, 1), np.uint8)
    assert index(0, 1, 0) == [[0, 2], [1]] and index(1, 0, 0) == [[1, 2], [0]]
    assert index(1, 1, 0) == [[2], [0, 1]] and index(0, 0, 0) == [[0, 1, 2], []]


@pytest.mark.parametrize(
    "name, words",
    [
        ("mnist", "data.name='mnist'; choose folder:PATH"),
        ("folder:", "data.name='folder:'"),
        ("glyphs:x", "data.name='glyphs:x'"),
        ("folder:emty", "there is no folder emty; the nearest: empty"),
        ("folder:empty", "no images in sub-folders of empty, but it is empty; every"),
        (
            "folder:a",
            "but 1 in no folder of a class, folders without any .b, c., files t",
        ),
    ],
)
def test_a_wrong_name_is_refused(tmp_path, monkeypatch, name, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "c").mkdir()
    (tmp_path / "a" / "c" / "x.zip").write_bytes(b"")
    plain(0).save(tmp_path / "a" / "0.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=words):
        loading.load(settings(tmp_path, name))


def test_the_data_folder_comes_from_the_setting_then_the_environment(monkeypatch):
    monkeypatch.setenv("METAINIT_DATA_DIR", "/one")
    assert [str(cache.root(data_dir)) for data_dir in ("", "/two")] == ["/one", "/two"]
    monkeypatch.delenv("METAINIT_DATA_DIR")
    assert cache.root("").name == "metainit"


def test_a_whole_data_set_has_the_classes_of_every_role(tmp_path):
    """Also where roles lie in arrays of their own; in one order on every machine."""
    name = f"folder:{tiny.draw(tmp_path / 'images')}"
    whole = loading.whole(settings(tmp_path, name, size=tiny.SIDE, channels=1))
    assert len(set(whole.class_names)) == 11
    assert whole.class_names == tuple(sorted(whole.class_names))
    for where, words in zip(loading.class_index(whole), whole.class_names, strict=True):
        (file,) = (tmp_path / "images").glob(f"*/{words.split('/')[-1]}/0.png")
        pixels = np.asarray(Image.open(file))[..., None]
        assert len(where) == tiny.IMAGES
        assert (whole.images[where] == pixels).all((1, 2, 3)).any()


@pytest.mark.parametrize(
    "name, classes, each",
    [
        ("omniglot", [len(found) for found in omniglot.split().values()], 20),
        ("cifar_fs", [64, 16, 20], 600),
        ("flowers102", [51, 25, 26], 8189 // 102),
    ],
)
def test_noise_stands_in_for_what_is_absent(tmp_path, name, classes, each):
    data = settings(tmp_path, name)
    assert loading.absent(data) == (name,)
    roles = loading.load(data, (name,))
    leakage.check(roles)
    assert [len(source.class_names) for (source,) in roles[:3]] == classes
    for (source,) in roles[:3]:
        assert source.images.shape[1:] == (16, 16, 3)
        assert {len(found) for found in loading.class_index(source)} == {each}
    assert not list(tmp_path.iterdir())
