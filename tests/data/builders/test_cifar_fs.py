"""CIFAR-FS from the official archive of CIFAR-100."""

import archives
import numpy as np
import pytest
import seven

from metainit.config.fields import Data, Task
from metainit.data import cache, episodes, leakage, loading


def settings(tmp_path, **changed):
    given = {"name": "cifar_fs", "size": 32, "channels": 3}
    return Data(**given | {"data_dir": str(tmp_path / "data")} | changed)


def written(path):
    """The archive, and its layout."""
    layout = seven.layout("cifar100")
    (members,) = layout.files.values()
    return archives.pack(path, members), layout


def test_it_is_pooled_by_class_and_split_as_published(tmp_path):
    path, layout = written(tmp_path / "cifar-100-binary.tar.gz")
    roles = loading.load(settings(tmp_path, archive=str(path)))
    leakage.check(roles)
    assert [len(source.class_names) for (source,) in roles[:3]] == [64, 16, 20]
    assert {"otter", "sea"} <= set(roles.validation[0].class_names)
    assert {"baby", "worm"} <= set(roles.test[0].class_names)
    rows = [*layout.rows["train"].values(), *layout.rows["test"].values()]
    for (source,) in roles[:3]:
        index = loading.class_index(source)
        for name, where in zip(source.class_names, index, strict=True):
            true = [np.asarray(image) for label, image in rows if label == name]
            np.testing.assert_array_equal(source.images[where], true)


@pytest.mark.parametrize(
    "change, words",
    [
        (b"x" * 1000, "cut short or damaged"),
        ({"train.bin": b"x"}, "train.bin has 1 bytes"),
        ({"test.bin": b""}, "test.bin has 0 bytes"),
        ({"test.bin": b"\0\x64" + bytes(3072)}, "test.bin has the label 100"),
        ({"fine_label_names.txt": b"apple"}, "does not name the 100 classes"),
    ],
)
def test_another_file_is_refused(tmp_path, change, words):
    path = tmp_path / "x.tar.gz"
    _, layout = written(path)
    (members,) = layout.files.values()
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        change = {f"cifar-100-binary/{name}": c for name, c in change.items()}
        archives.pack(path, members | change)
    with pytest.raises(ValueError, match=r"data\.archive") as error:
        loading.load(settings(tmp_path, archive=str(path)))
    assert words in str(error.value)


def test_real_cifar(real_data, tmp_path):
    path = real_data / "cifar-100-binary-subset.tar.gz"
    roles = loading.load(settings(tmp_path, archive=str(path)))
    assert [len(source.class_names) for (source,) in roles[:3]] == [64, 16, 20]
    for role, each in zip(cache.ROLES, roles[:3], strict=True):
        (source,) = each
        assert (np.bincount(source.labels) == 250).all()
        assert 100 < source.images.mean() < 150
        episodes.check(each, Task(5, 5, 15), role)

    # Sea and plain are bluer and greener than they are red; apples are red.
    def colour(source, name):
        where = loading.class_index(source)[source.class_names.index(name)]
        return source.images[where].mean(axis=(0, 1, 2))

    assert np.argmax(colour(roles.validation[0], "sea")) == 2
    assert np.argmax(colour(roles.train[0], "apple")) == 0
