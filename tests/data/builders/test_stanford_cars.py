"""Stanford Cars from its official archives and from its repacks."""

import numpy as np
import pytest
import small_archives as small
from mini_archives import cars_annotations as annotations

from metainit.data.builders import prepared
from metainit.data.builders.archive import ArchiveError
from metainit.data.builders.base import Options
from metainit.data.builders.inputs import PrepareError
from metainit.data.builders.stanford_cars import StanfordCars

# As the real names, with slashes among them.
NAMES = [f"Ram C/V Cargo Van Minivan {1800 + n}" for n in range(196)]
# Classes, from 1, of the images 00001.jpg and on.
LABELS = {"train": [196, 1, 14, 1, 3], "test": [2, 196, 1]}
PICTURES = {
    ("train", 2): small.picture(2).convert("L"),
    ("test", 1): small.picture(11),
}


def content(split, number):
    image = PICTURES.get((split, number)) or small.picture(number + len(split))
    return small.encode(image, quality=95)


def images(split, folder=""):
    return {
        f"cars_{split}/{folder}{number:05}.jpg": content(split, number)
        for number in range(1, len(LABELS[split]) + 1)
    }


def names(classes=NAMES):
    return small.matlab(class_names=np.array([classes], object))


def devkit(root="devkit"):
    return {
        f"{root}/cars_meta.mat": names(),
        f"{root}/cars_train_annos.mat": annotations(LABELS["train"]),
        # The one that comes with the devkit has no labels.
        f"{root}/cars_test_annos.mat": annotations(LABELS["test"], label_field=False),
        f"{root}/._cars_meta.mat": b"of a Mac",
        f"{root}/README.txt": b"see above",
    }


def official(manual):
    manual.mkdir()
    small.pack(manual / "cars_train.tgz", images("train"))
    small.pack(manual / "cars_test.tgz", images("test"))
    small.pack(manual / "car_devkit.tgz", devkit())
    labels = annotations(LABELS["test"])
    (manual / "cars_test_annos_withlabels.mat").write_bytes(labels)


def unpacked(manual):
    small.unpack(manual, images("train") | images("test") | devkit())
    labels = annotations(LABELS["test"])
    (manual / "cars_test_annos_withlabels.mat").write_bytes(labels)


def repacked(manual):
    """Folders in folders of the same name, all labels in the devkit."""
    nested = images("train", "cars_train/") | images("test", "cars_test/")
    small.unpack(manual, nested)
    small.unpack(manual / "car_devkit", devkit())
    labels = annotations(LABELS["test"])
    path = manual / "car_devkit" / "devkit" / "cars_test_annos_withlabels.mat"
    path.write_bytes(labels)


def prepare(manual, **options):
    made = StanfordCars(
        data_dir=manual.parent / "data",
        manual_dir=manual,
        options=Options(**options),
    )
    prepared.prepare(made)
    return made


@pytest.mark.parametrize("make", [official, unpacked, repacked])
def test_cars_are_labelled_named_and_split(tmp_path, make):
    make(tmp_path / "manual")
    made = prepare(tmp_path / "manual")
    assert list(made.info.features["label"].names) == NAMES
    assert {s: made.info.splits[s].num_examples for s in made.info.splits} == {
        "train": 5,
        "test": 3,
    }
    found = small.stored(made.data_dir)
    for split, labels in LABELS.items():
        assert {file: name for file, (name, _) in found[split].items()} == {
            f"cars_{split}/{number + 1:05}.jpg": NAMES[label - 1]
            for number, label in enumerate(labels)
        }
    # Images of the two archives have the same names and differ.
    assert found["train"]["cars_train/00001.jpg"][1] == content("train", 1)
    assert found["test"]["cars_test/00001.jpg"][1] == content("test", 1)
    grey = found["train"]["cars_train/00002.jpg"][1]
    assert small.far(grey, PICTURES["train", 2]) < 2


def test_a_fraction_of_the_cars_is_the_same_from_every_layout(tmp_path):
    kept = []
    for make in (official, repacked):
        manual = tmp_path / make.__name__ / "manual"
        manual.parent.mkdir()
        make(manual)
        made = prepare(manual, fraction=0.7)
        found = small.stored(made.data_dir)
        kept.append((set(found["train"]), set(found["test"])))
        assert made.info.metadata["missing"] == 0
    assert kept[0] == kept[1]
    assert 0 < len(kept[0][0]) < 5


def test_a_listed_car_that_is_not_there_stops_or_is_counted(tmp_path):
    manual = tmp_path / "manual"
    unpacked(manual)
    (manual / "cars_train" / "00003.jpg").unlink()
    with pytest.raises(PrepareError, match=r"missing: cars_train/00003\.jpg;"):
        prepare(manual)
    made = prepare(manual, skip_unreadable=True)
    assert made.info.metadata["missing"] == 1
    assert "cars_train/00003.jpg" not in small.stored(made.data_dir)["train"]
    assert made.info.splits["train"].num_examples == 4


def without_labels(manual):
    (manual / "cars_test_annos_withlabels.mat").unlink()


def labels_of_the_devkit(manual):
    """The annotations without labels under the name of those with."""
    path = manual / "cars_test_annos_withlabels.mat"
    path.write_bytes(annotations(LABELS["test"], label_field=False))


def labels_are_a_page(manual):
    path = manual / "cars_test_annos_withlabels.mat"
    path.write_bytes(b"<html>404 Not Found</html>" * 20)


def class_0(manual):
    path = manual / "cars_test_annos_withlabels.mat"
    path.write_bytes(annotations([2, 0, 1]))


def train_is_test(manual):
    small.pack(manual / "cars_train.tgz", images("test"))


def no_names(manual):
    files = devkit()
    del files["devkit/cars_meta.mat"]
    small.pack(manual / "car_devkit.tgz", files)


def other_names(manual):
    files = devkit() | {"devkit/cars_meta.mat": names(NAMES[:10])}
    small.pack(manual / "car_devkit.tgz", files)


def cut(manual):
    path = manual / "cars_train.tgz"
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    "change, words",
    [
        (without_labels, "there is no cars_test_annos_withlabels.mat"),
        (labels_of_the_devkit, "cars_test_annos_withlabels.mat is not that of Stan"),
        (labels_are_a_page, "cars_test_annos_withlabels.mat is not that of Stanford"),
        (class_0, "gives 00002.jpg the class 0, which is not in 1 to 196"),
        (train_is_test, "there is no cars_train/NNNNN.jpg in cars_train.tgz"),
        (no_names, "there is no cars_meta.mat; it comes in car_devkit.tgz"),
        (other_names, "cars_meta.mat names 10 classes, not 196"),
        (cut, "cars_train.tgz is cut short or damaged"),
    ],
)
def test_other_files_are_refused_as_cars(tmp_path, change, words):
    manual = tmp_path / "manual"
    official(manual)
    change(manual)
    with pytest.raises((PrepareError, ArchiveError)) as error:
        prepare(manual)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not list((tmp_path / "prepared").rglob("*.json"))
