"""CIFAR-100 from its official archive."""

import time

import archives
import numpy as np
import pytest
import small_archives as small
import tensorflow_datasets as tfds

from metainit.data.builders import prepared
from metainit.data.builders.base import Options
from metainit.data.builders.cifar100 import Cifar100
from metainit.data.builders.inputs import PrepareError

ARCHIVE = "cifar-100-binary.tar.gz"


def prepare(tmp_path, **options):
    made = Cifar100(
        data_dir=tmp_path / "data", manual_dir=tmp_path, options=Options(**options)
    )
    prepared.prepare(made)
    return made.data_dir


def check(found, fine, pixels, names, split, start):
    """The split's images are those from `start` on, without loss."""
    assert len(found[split]) == len(fine[start:])
    for number, (label, image) in enumerate(
        zip(fine[start:], pixels[start:], strict=True)
    ):
        name, content = found[split][f"{split}_{number:05}"]
        assert name == names[label]
        assert content.startswith(b"\x89PNG")
        np.testing.assert_array_equal(small.pixels(content), image)


@pytest.mark.parametrize("form", ["archive", "tree"])
def test_records_become_pngs_of_their_split(tmp_path, form):
    fine, pixels = archives.cifar_tar(tmp_path / ARCHIVE)
    if form == "tree":
        small.extract(tmp_path / ARCHIVE, tmp_path / "cifar100")
        (tmp_path / ARCHIVE).unlink()
    folder = prepare(tmp_path)
    found = small.stored(folder)
    assert found.keys() == {"train", "test"}
    check(found, fine[:200], pixels[:200], archives.cifar_names(), "train", 0)
    check(found, fine, pixels, archives.cifar_names(), "test", 200)
    builder = tfds.builder_from_directory(folder)
    assert builder.info.features["label"].names == archives.cifar_names()
    assert builder.as_data_source("test")[0]["image"].shape == (32, 32, 3)


def test_reductions_are_without_loss_of_their_own(tmp_path):
    archives.cifar_tar(tmp_path / ARCHIVE)
    found = small.stored(prepare(tmp_path, max_side=16, fraction=0.5))
    assert 60 < len(found["train"]) < 140
    for _, content in found["train"].values():
        assert content.startswith(b"\x89PNG")
        assert small.pixels(content).shape == (16, 16, 3)


RECORD = bytes([0, 7]) + bytes(3072)
NAMES = "\n".join(archives.cifar_names()).encode()
WRONG = {
    "train.bin has 3073 bytes, which is not a number of records of 3074": {
        "train.bin": RECORD[1:]
    },
    "train.bin has 0 bytes": {"train.bin": b""},
    "test.bin has the label 100, and 99 is the highest": {
        "test.bin": RECORD + bytes([0, 100]) + bytes(3072)
    },
    "fine_label_names.txt has 1 names in place of 100": {
        "fine_label_names.txt": b"apple\n"
    },
    "fine_label_names.txt has 0 names in place of 100": {"fine_label_names.txt": None},
}


@pytest.mark.parametrize("words", WRONG)
def test_other_content_is_refused(tmp_path, words):
    files = {"train.bin": RECORD, "test.bin": RECORD, "fine_label_names.txt": NAMES}
    files |= WRONG[words]
    small.pack(
        tmp_path / ARCHIVE,
        {f"cifar-100-binary/{n}": c for n, c in files.items() if c is not None},
    )
    with pytest.raises(PrepareError, match=rf"^cifar100: .*{words}"):
        prepare(tmp_path)
    assert list((tmp_path / "data" / "cifar100").iterdir()) == []


def test_the_archive_of_cifar_10_is_refused(tmp_path):
    files = {"cifar-10-batches-bin/data_batch_1.bin": bytes(3073)}
    small.pack(tmp_path / ARCHIVE, files)
    with pytest.raises(PrepareError, match=r"no file in there is named like an image"):
        prepare(tmp_path)


def test_tfds_keeps_its_own_cifar100():
    assert tfds.builder_cls("cifar100") is not Cifar100


def test_real_cifar100_is_prepared_in_a_minute(real_data, tmp_path):
    (tmp_path / ARCHIVE).symlink_to(real_data / "cifar-100-binary-subset.tar.gz")
    start = time.perf_counter()
    folder = prepare(tmp_path)
    assert time.perf_counter() - start < 60
    found = small.stored(folder)
    assert {split: len(rows) for split, rows in found.items()} == {
        "train": 20_000,
        "test": 5_000,
    }
    small.extract(tmp_path / ARCHIVE, tmp_path)
    layout = tmp_path / "cifar-100-binary"
    names = (layout / "fine_label_names.txt").read_text(encoding="utf-8").split()
    for split in found:
        table = np.fromfile(layout / f"{split}.bin", np.uint8).reshape(-1, 3074)
        counts = np.bincount(table[:, 1])
        assert (counts == len(table) // 100).all()
        for number in range(0, len(table), 97):
            name, content = found[split][f"{split}_{number:05}"]
            assert name == names[table[number, 1]]
            planes = small.pixels(content).transpose(2, 0, 1)
            np.testing.assert_array_equal(planes.ravel(), table[number, 2:])
