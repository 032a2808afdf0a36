"""Oxford Flowers from its three official files."""

import numpy as np
import pytest
import small_archives as small
import tensorflow_datasets as tfds

from metainit.data.builders import prepared
from metainit.data.builders.base import Options
from metainit.data.builders.flowers102 import Flowers102
from metainit.data.builders.inputs import PrepareError

# Of ten images; as in the real files, test is the largest.
LABELS = [1, 102, 77, 1, 102, 50, 51, 52, 102, 3]
SPLITS = {"trnid": [10, 1], "valid": [2, 3], "tstid": [4, 5, 6, 7, 8, 9]}
IMAGES = {
    f"jpg/image_{number:05}.jpg": small.encode(small.picture(number))
    for number in range(1, 11)
}


def mat(**rows):
    return small.matlab(**{name: np.array([row]) for name, row in rows.items()})


LISTS = {
    "imagelabels.mat": mat(labels=np.array(LABELS, np.uint8)),
    "setid.mat": mat(**SPLITS),
}


def put(folder, images=IMAGES, form="archive", **lists):
    files = LISTS | {name.replace("_mat", ".mat"): file for name, file in lists.items()}
    small.unpack(folder, {name: file for name, file in files.items() if file})
    if form == "archive":
        small.pack(folder / "102flowers.tgz", images)
    else:
        small.unpack(folder, images)


def prepare(tmp_path, **options):
    made = Flowers102(
        data_dir=tmp_path / "data", manual_dir=tmp_path, options=Options(**options)
    )
    prepared.prepare(made)
    return made.data_dir


@pytest.mark.parametrize("own", ["", "flowers102"])
@pytest.mark.parametrize("form", ["archive", "tree"])
def test_the_official_splits_and_labels_from_1(tmp_path, form, own):
    folder = tmp_path / own
    folder.mkdir(exist_ok=True)
    put(folder, form=form)
    made = prepare(tmp_path)
    names = tfds.builder_from_directory(made).info.features["label"].names
    assert len(set(names)) == 102
    assert [names[n] for n in (0, 1, 50, 76, 101)] == [
        "pink primrose",
        "hard-leaved pocket orchid",
        "petunia",
        "passion flower",
        "blackberry lily",
    ]
    found = small.stored(made)
    for split, key in {
        "train": "trnid",
        "validation": "valid",
        "test": "tstid",
    }.items():
        assert found[split] == {
            f"image_{number:05}.jpg": (
                names[LABELS[number - 1] - 1],
                IMAGES[f"jpg/image_{number:05}.jpg"],
            )
            for number in SPLITS[key]
        }


def test_the_small_train_split_is_stated():
    assert "small train split: train 1,020" in Flowers102.__doc__


def test_missing_images_are_named_and_refused_unless_skipped(tmp_path, caplog):
    some = {n: file for n, file in IMAGES.items() if n[-6:-4] not in ("04", "09")}
    put(tmp_path, some | {"jpg/image_00005.jpg": b"no image"})
    words = (
        r"flowers102 has 1 images that do not decode: jpg/image_00005\.jpg \(.*\) and "
        r"2 images that the lists name but that are missing: jpg/image_00004\.jpg, "
        r"jpg/image_00009\.jpg; mend or add them, or pass --skip_unreadable"
    )
    with pytest.raises(PrepareError, match=words):
        prepare(tmp_path)
    assert list((tmp_path / "data" / "flowers102").iterdir()) == []
    folder = prepare(tmp_path, skip_unreadable=True)
    metadata = tfds.builder_from_directory(folder).info.metadata
    assert (metadata["unreadable"], metadata["missing"]) == (1, 2)
    assert "left out 1 images that do not decode" in caplog.text
    assert len(small.stored(folder)["test"]) == 3


def test_an_image_in_no_list_may_be_broken(tmp_path):
    put(tmp_path, IMAGES | {"jpg/image_00011.jpg": b"no image"})
    assert sum(map(len, small.stored(prepare(tmp_path)).values())) == 10


@pytest.mark.parametrize("file", ["102flowers.tgz", "imagelabels.mat", "setid.mat"])
def test_a_missing_file_is_named(tmp_path, file):
    put(tmp_path)
    (tmp_path / file).unlink()
    with pytest.raises(PrepareError, match=rf"flowers102: there is no {file}"):
        prepare(tmp_path)


@pytest.mark.parametrize(
    "lists, words",
    [
        ({"setid_mat": b"x"}, "setid.mat is no MATLAB file with an array 'trnid'"),
        ({"setid_mat": LISTS["setid.mat"][:-9]}, "setid.mat is no MATLAB file"),
        (
            {"setid_mat": LISTS["imagelabels.mat"]},
            "setid.mat is no MATLAB file with an array 'trnid'",
        ),
        (
            {"imagelabels_mat": mat(labels=[0, 101])},
            "'labels' of imagelabels.mat is not made of numbers from 1 to 102",
        ),
        (
            {"imagelabels_mat": mat(labels=LABELS[:9])},
            "'trnid' of setid.mat is not made of numbers from 1 to 9",
        ),
        (
            {"imagelabels_mat": mat(labels=[])},
            "'labels' of imagelabels.mat is not made of numbers from 1 to 102",
        ),
    ],
)
def test_other_lists_are_refused(tmp_path, lists, words):
    put(tmp_path, **lists)
    with pytest.raises(PrepareError, match=words) as error:
        prepare(tmp_path)
    assert "\n" not in str(error.value)
    assert list((tmp_path / "data" / "flowers102").iterdir()) == []
