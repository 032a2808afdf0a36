"""Oxford-IIIT Pet from its official archives and from their folders."""

import pytest
import small_archives as small
from PIL import Image

from metainit.data.builders import prepared
from metainit.data.builders.base import Options
from metainit.data.builders.inputs import PrepareError
from metainit.data.builders.oxford_pets import OxfordPets

BREEDS = ["Abyssinian", "american_bulldog", "american_pit_bull_terrier"] + [
    f"breed_{number:02}" for number in range(4, 38)
]
GLASS = small.picture(101)
GLASS.putalpha(small.picture(106).convert("L"))
TURNED = Image.Exif()
TURNED[0x0112] = 6
ODD = {
    "Abyssinian_34": (GLASS, {"form": "png"}),
    "Abyssinian_5": (small.picture(102).quantize(), {"form": "gif"}),
    "american_bulldog_1": (small.picture(103).convert("CMYK"), {"quality": 95}),
    "american_bulldog_100": (small.picture(104).convert("L"), {"quality": 95}),
}
NUMBERS = {"Abyssinian": [34, 5, 100, 101], "american_bulldog": [1, 100, 101]}


def stems():
    """Class, from 1, by the stem of a file."""
    return {
        f"{breed}_{number}": label
        for label, breed in enumerate(BREEDS, start=1)
        for number in NUMBERS.get(breed, [1, 2])
    }


def is_test(stem):
    return stem.endswith(("_2", "_101"))


def images():
    files = {}
    for seed, stem in enumerate(stems()):
        image, options = ODD.get(stem, (small.picture(seed), {"quality": 95}))
        files[f"images/{stem}.jpg"] = small.encode(image, **options)
    files["images/Abyssinian_100.jpg"] = small.encode(
        small.picture(105), quality=95, exif=TURNED
    )
    for stem in ("Abyssinian_100", "Abyssinian_101"):
        files[f"images/{stem}.mat"] = b"MATLAB 5.0 MAT-file"
    files["images/._Abyssinian_101.jpg"] = b"of a Mac"
    # In the archive, in no list.
    files["images/breed_04_3.jpg"] = small.encode(small.picture(0))
    return files


def lines(test):
    return "".join(
        f"{stem} {label} {1 + label % 2} {label}\n"
        for stem, label in stems().items()
        if is_test(stem) == test
    ).encode()


def annotations():
    return {
        "annotations/README": b"see above",
        "annotations/list.txt": b"#Image CLASS-ID SPECIES BREED ID\n" + lines(False),
        "annotations/trainval.txt": lines(False),
        "annotations/test.txt": lines(True),
        "annotations/._test.txt": b"of a Mac",
        "annotations/trimaps/Abyssinian_34.png": small.encode(
            small.picture(1).convert("L"), "png"
        ),
        "annotations/xmls/Abyssinian_34.xml": b"<annotation/>",
    }


def official(manual):
    manual.mkdir()
    small.pack(manual / "images.tar.gz", images())
    small.pack(manual / "annotations.tar.gz", annotations())


def unpacked(manual):
    small.unpack(manual, images() | annotations())


def in_one_folder(manual):
    small.unpack(manual / "oxford-iiit-pet", images() | annotations())


def prepare(manual, **options):
    made = OxfordPets(
        data_dir=manual.parent / "data",
        manual_dir=manual,
        options=Options(**options),
    )
    prepared.prepare(made)
    return made


@pytest.mark.parametrize("make", [official, unpacked, in_one_folder])
def test_pets_are_labelled_named_and_split(tmp_path, make):
    make(tmp_path / "manual")
    made = prepare(tmp_path / "manual")
    assert list(made.info.features["label"].names) == BREEDS
    found = small.stored(made.data_dir)
    assert found.keys() == {"train", "test"}
    for split in found:
        assert {file: name for file, (name, _) in found[split].items()} == {
            f"{stem}.jpg": BREEDS[label - 1]
            for stem, label in stems().items()
            if is_test(stem) == (split == "test")
        }


def test_pets_of_any_file_type_are_stored_as_jpegs_of_three_channels(tmp_path):
    official(tmp_path / "manual")
    made = prepare(tmp_path / "manual")
    found = small.stored(made.data_dir)
    rows = found["train"] | found["test"]
    kept = images()["images/breed_05_1.jpg"]
    assert rows["breed_05_1.jpg"][1] == kept
    assert all(content.startswith(b"\xff\xd8") for _, content in rows.values())
    for stem, (image, _) in ODD.items():
        if image.mode == "RGBA":
            paper = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(paper, image)
        assert small.far(rows[f"{stem}.jpg"][1], image) < 5, stem
    # Turned by a quarter to the right, as its EXIF says.
    upright = small.picture(105).rotate(-90, expand=True)
    assert small.far(rows["Abyssinian_100.jpg"][1], upright) < 5


def test_a_listed_pet_that_is_not_there_stops_or_is_counted(tmp_path):
    manual = tmp_path / "manual"
    unpacked(manual)
    (manual / "images" / "breed_05_1.jpg").unlink()
    with pytest.raises(PrepareError, match=r"missing: images/breed_05_1\.jpg;"):
        prepare(manual)
    made = prepare(manual, skip_unreadable=True)
    assert made.info.metadata["missing"] == 1
    assert "breed_05_1.jpg" not in small.stored(made.data_dir)["train"]


def swapped(manual):
    small.pack(manual / "images.tar.gz", annotations())


def without_lists(manual):
    small.pack(manual / "annotations.tar.gz", images())


def no_test_list(manual):
    files = annotations()
    del files["annotations/test.txt"]
    small.pack(manual / "annotations.tar.gz", files)


def listing(text):
    def change(manual):
        files = annotations() | {"annotations/trainval.txt": text}
        small.pack(manual / "annotations.tar.gz", files)

    return change


@pytest.mark.parametrize(
    "change, words",
    [
        (swapped, "no file in there is named like an image of oxford_pets"),
        (without_lists, "there is no annotations/trainval.txt in annotations.tar.gz"),
        (no_test_list, "there is no annotations/test.txt in annotations.tar.gz"),
        (listing(b"Abyssinian_100 1\n"), "the line 'Abyssinian_100 1'"),
        (listing(b"Abyssinian_100 2 1 1\n"), "class 2 as both Abyssinian and american"),
        (listing(lines(False) + b"lion_1 38 1 1\n"), "have 38 classes, not those from"),
    ],
)
def test_other_files_are_refused_as_pets(tmp_path, change, words):
    manual = tmp_path / "manual"
    official(manual)
    change(manual)
    with pytest.raises(PrepareError) as error:
        prepare(manual)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not list((tmp_path / "prepared").rglob("*.json"))
