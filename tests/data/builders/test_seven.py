"""Each of the seven data sets: its official layouts, and files that are not its own."""

import archives
import numpy as np
import pytest
import seven
import tensorflow_datasets as tfds
from seven import prepare

from metainit.data.builders import catalog
from metainit.data.builders.archive import ArchiveError
from metainit.data.builders.base import PrepareError
from metainit.data.builders.prepare import BUILDERS


def compare(found, rows):
    """Every stored image is what its row shows, to the byte where that is bytes."""
    names = ({split: of.keys() for split, of in each.items()} for each in (found, rows))
    assert next(names) == next(names)
    for split, of_split in rows.items():
        for file_name, (label, shown) in of_split.items():
            stored_label, content = found[split][file_name]
            assert stored_label == label
            exact = isinstance(shown, bytes)
            assert content == shown if exact else archives.far(content, shown) < 5


def changed(layout, key, content):
    """The layout with other content of a file, or of the first member that ends so.

    Content that is a string is that of the file so called; None removes what it is for,
    and a member that there is not comes into the first file.
    """
    files = dict(layout.files)
    content = files[content] if isinstance(content, str) else content
    if key not in files:
        packed = [file for file, members in files.items() if isinstance(members, dict)]
        ends = ((file, x) for file in packed for x in files[file] if x.endswith(key))
        file, member = next(ends, (packed[0], key))
        key, content = file, present(files[file] | {member: content})
    return layout._replace(files=present(files | {key: content}))


def present(files):
    return {name: content for name, content in files.items() if content is not None}


@pytest.mark.parametrize("name", seven.NAMES)
@pytest.mark.parametrize("form", ["archives", "reversed archives", "trees"])
def test_labels_splits_and_images_of_the_official_layout(tmp_path, name, form):
    layout = seven.layout(name)
    if form == "trees":
        layout.unpack(tmp_path / "manual" / name)
    elif form == "archives":
        layout.write(tmp_path / "manual")
    else:  # lists behind the images, classes in another order
        files = {
            file: dict(reversed(part.items())) if isinstance(part, dict) else part
            for file, part in layout.files.items()
        }
        layout._replace(files=files).write(tmp_path / "manual")

    folder = prepare(name, tmp_path)
    names = tfds.builder_from_directory(folder).info.features["label"].names
    assert names == list(layout.classes)
    if name == "flowers102":
        known = ["pink primrose", "petunia", "blackberry lily"]
        assert len(set(names)) == 102 and [names[n] for n in (0, 50, 101)] == known
    compare(archives.stored(folder), layout.rows)


@pytest.mark.parametrize("name", ["stanford_cars", "oxford_pets"])
def test_common_repacks_give_the_same(tmp_path, name):
    """Cars: folders in folders of the same name, all labels in the devkit."""
    layout, manual = seven.layout(name), tmp_path / "manual"
    if name == "oxford_pets":  # where an image in no list may be broken
        lost = "images/breed_04_301.jpg"
        changed(layout, lost, b"no image").unpack(manual / "oxford-iiit-pet")
    else:
        files = dict(layout.files)
        labels = "cars_test_annos_withlabels.mat"
        archives.unpack(manual / "car_devkit" / "devkit", {labels: files.pop(labels)})
        archives.unpack(manual / "car_devkit", files.pop("car_devkit.tgz"))
        for archive, images in files.items():
            archives.unpack(manual / archive.removesuffix(".tgz"), images)
    compare(archives.stored(prepare(name, tmp_path)), layout.rows)


@pytest.mark.parametrize(
    "name, what",
    [(name, "unreadable") for name in seven.NAMES[1:]]
    # Caltech-256 has no list.
    + [(name, "missing") for name in seven.NAMES[2:]],
)
def test_images_that_are_broken_or_missing_stop_it_or_are_counted(
    tmp_path, caplog, name, what
):
    layout = seven.layout(name)
    lost = next(reversed(layout.rows["train"]))
    content = b"no image" if what == "unreadable" else None
    changed(layout, lost, content).write(tmp_path / "manual")
    with pytest.raises(PrepareError) as error:
        prepare(name, tmp_path)
    assert lost in str(error.value) and "--skip_unreadable" in str(error.value)
    folder = prepare(name, tmp_path, skip_unreadable=True)
    metadata = tfds.builder_from_directory(folder).info.metadata
    assert (metadata[what], metadata["unreadable"] + metadata["missing"]) == (1, 1)
    assert lost in caplog.text
    names = archives.stored(folder)["train"].keys()
    assert names == layout.rows["train"].keys() - {lost}


@pytest.mark.parametrize("name", seven.NAMES)
def test_a_needed_file_that_is_missing_is_named(tmp_path, name):
    layout = seven.layout(name)
    for file in layout.files:
        if file == "Partitions.zip":
            continue
        folder = tmp_path / file
        changed(layout, file, None).write(folder / "manual")
        with pytest.raises(PrepareError, match=f"^{name}: there is no {file}"):
            prepare(name, folder)


CIFAR, _, FLOWERS, CARS, FGVC, PETS, SUN = seven.NAMES
LABELS, SETS = "imagelabels.mat", "setid.mat"
TEST_LABELS = "cars_test_annos_withlabels.mat"
JPEG, HTML = archives.encode(archives.picture(0)), b"<html>404</html>" * 20
QUAY = dict.fromkeys(["Training_01.txt", "Testing_01.txt"], b"/q/quay/s.jpg")


def mat(**rows):
    return archives.matlab(**{name: np.array([row]) for name, row in rows.items()})


@pytest.mark.parametrize(
    "name, key, content, words",
    [
        (CIFAR, "train.bin", bytes(3073), "has 3073 bytes, which are no"),
        (CIFAR, "train.bin", b"", "has 0 bytes, which are no"),
        (CIFAR, "test.bin", b"\0\x64" + bytes(3072), "test.bin has the label 100"),
        (CIFAR, "names.txt", b"apple", "names.txt has 1 classes, not 100"),
        (CIFAR, "names.txt", None, "names.txt is missing or empty"),
        (CIFAR, ".tar.gz", {"cifar-10/train.bin": b"x"}, "image of it, ^cifar"),
        ("caltech256", ".tar", {"101/a.jpg": JPEG}, "named like an image of it, ^256"),
        (FGVC, "variant_val.txt", None, "images_variant_val.txt is missing or empty"),
        (FGVC, "variant_val.txt", b"1 F-16\n", "has the line '1 F-16', variants.txt"),
        (FGVC, "variants.txt", b"\n", "variants.txt is missing or empty"),
        (FLOWERS, SETS, b"x", "there is no setid.mat with an array 'trnid'"),
        (FLOWERS, SETS, LABELS, "there is no setid.mat with an"),
        (FLOWERS, LABELS, mat(labels=[0, 101]), "not made of numbers from 1"),
        (FLOWERS, LABELS, mat(labels=[1] * 9), "'trnid' of setid.mat is not"),
        (FLOWERS, LABELS, mat(labels=[]), "'labels' of imagelabels.mat is not"),
        (PETS, "images.tar.gz", "annotations.tar.gz", "like an image of it, ^images"),
        (PETS, "annotations.tar.gz", "images.tar.gz", "trainval.txt is missing"),
        (PETS, "/test.txt", None, "test.txt is missing or empty"),
        (PETS, "/trainval.txt", b"Abyssinian_1 1", "the line 'Abyssinian_1 1'"),
        (PETS, "/trainval.txt", b"Aby_1 2 1 1", "has class 2 as both"),
        (PETS, "/trainval.txt", b"lion_1 38 1 1", ", 37, 38], not 1 to 37"),
        (CARS, TEST_LABELS, seven.cars_annotations([2], False), "has no labels"),
        (CARS, TEST_LABELS, HTML, f"no {TEST_LABELS} with an array"),
        (CARS, TEST_LABELS, seven.cars_annotations([0]), "the class 0, not 1 to 196"),
        (CARS, "cars_train.tgz", "cars_test.tgz", "there is no cars_train/NNNNN.jpg"),
        (CARS, "/cars_meta.mat", None, "there is no cars_meta.mat with an"),
        (CARS, "/cars_meta.mat", mat(class_names=["a", "b"]), "2 classes, not 196"),
        (SUN, "SUN397.tar.gz", {"images/a_1.jpg": JPEG}, "an image of it, ^SUN397"),
        (SUN, "SUN397/z/zoo/sun_1.jpg", JPEG, "is in /z/zoo, which is no class"),
        (SUN, "Testing_01.txt", None, "Testing_01.txt is missing or empty"),
        (SUN, "Partitions.zip", QUAY, "such as SUN397/q/quay/s.jpg"),
    ],
)
def test_other_content_is_refused_in_one_line(tmp_path, name, key, content, words):
    layout = seven.layout(name)
    if key.startswith(".tar"):
        (key,) = layout.files
    changed(layout, key, content).write(tmp_path / "manual")
    with pytest.raises((PrepareError, ArchiveError)) as error:
        prepare(name, tmp_path)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not list((tmp_path / "data" / name).iterdir())


def test_a_split_without_one_readable_image_is_refused(tmp_path):
    layout = seven.layout(FGVC)
    for image in layout.rows["train"]:
        layout = changed(layout, image, b"no image")
    layout.write(tmp_path / "manual")
    with pytest.raises(PrepareError, match="no image is left for the split 'train'"):
        prepare(FGVC, tmp_path, skip_unreadable=True)


def test_sun_without_partitions_is_one_split_named_after_its_folders(tmp_path, caplog):
    names = [f"/p/place_{number:03}" for number in range(397)]
    images = {f"SUN397{name}/sun_{n}.jpg": JPEG for n, name in enumerate(names)}
    archives.unpack(tmp_path / "manual", images)
    folder = prepare("sun397", tmp_path)
    assert "without Partitions.zip: all 397 images are the split train" in caplog.text
    assert list(archives.stored(folder)) == ["train"]
    names_of = tfds.builder_from_directory(folder).info.features["label"].names
    assert names_of == names
    (tmp_path / "manual" / next(iter(images))).unlink()
    (tmp_path / "data").rename(tmp_path / "before")
    with pytest.raises(PrepareError, match="SUN397 has 396 classes, not 397"):
        prepare("sun397", tmp_path)


def test_sun_is_reduced_to_its_own_number_of_pixels(tmp_path):
    layout = seven.layout("sun397")
    large = archives.picture(6, 600, 400)
    name = next(iter(layout.rows["train"]))
    jpeg = archives.encode(large, quality=95)
    changed(layout, name, jpeg).write(tmp_path / "manual")
    _, content = archives.stored(prepare("sun397", tmp_path))["train"][name]
    height, width, _ = archives.pixels(content).shape
    assert 119_000 < height * width <= 120_000 and abs(width / height - 1.5) < 0.01
    assert archives.far(content, large.resize((width, height))) < 5


def test_builders_of_ours_may_share_a_name_with_one_of_tfds():
    assert tuple(BUILDERS) == catalog.to_prepare()
    assert all(kind.name == name for name, kind in BUILDERS.items())
    assert "caltech256" not in tfds.list_builders(with_community_datasets=False)
    assert tfds.builder_cls("cifar100") is not BUILDERS["cifar100"]
