"""SUN397 from its official archives and from trees."""

import logging
import zipfile
from pathlib import Path

import pytest
import small_archives as small
from PIL import Image

from metainit.data import images as images_module
from metainit.data import stored
from metainit.data.builders import prepared
from metainit.data.builders.archive import ArchiveError
from metainit.data.builders.base import Options
from metainit.data.builders.inputs import PrepareError
from metainit.data.builders.sun397 import Sun397

# In another order than that of folders.
CLASSES = sorted(
    ["/a/abbey", "/c/church/indoor", "/c/church/outdoor", "/c/chicken_coop/indoor"]
    + [f"/p/place_{number:03}" for number in range(393)],
    reverse=True,
)
CMYK = "/c/church/indoor/sun_cmyk.jpg"
EXIF = Image.Exif()
EXIF[0x0112] = 8
ODD = {
    "/a/abbey/sun_png.jpg": (small.picture(1).quantize(), {"form": "png"}),
    "/a/abbey/sun_bmp.jpg": (small.picture(2), {"form": "bmp"}),
    "/a/abbey/sun_gif.jpg": (small.picture(3).convert("L"), {"form": "gif"}),
    CMYK: (small.picture(4).convert("CMYK"), {"quality": 95}),
    "/c/church/outdoor/sun_grey.jpg": (small.picture(5).convert("L"), {"quality": 95}),
}
LARGE = "/c/church/outdoor/sun_large.jpg"  # 600 x 400
TURNED = "/c/church/outdoor/sun_turned.jpg"
TRAIN = ["/a/abbey/sun_png.jpg", LARGE, *(f"{name}/sun_0.jpg" for name in CLASSES)]
TEST = ["/a/abbey/sun_gif.jpg", CMYK, TURNED]
SMALL = [small.encode(small.picture(seed), quality=95) for seed in range(7)]


def images():
    files = {f"{name}/sun_0.jpg": SMALL[n % 7] for n, name in enumerate(CLASSES)}
    for name, (image, options) in ODD.items():
        files[name] = small.encode(image, **options)
    files[LARGE] = small.encode(small.picture(6, 600, 400), quality=95)
    files[TURNED] = small.encode(small.picture(7), quality=95, exif=EXIF)
    return {"SUN397" + name: content for name, content in files.items()}


def class_names():
    return "".join(name + "\n" for name in CLASSES).encode()


def partitions():
    files = {"ClassName.txt": class_names()}
    for number in range(1, 11):
        # The other nine are other images, which must not be taken for the first.
        names = {"Training": TRAIN, "Testing": TEST} if number == 1 else {}
        for kind in ("Training", "Testing"):
            text = "\n".join(names.get(kind, ["/a/abbey/sun_bmp.jpg"]))
            files[f"{kind}_{number:02}.txt"] = text.encode()
    return files


def official(manual):
    manual.mkdir()
    files = {"SUN397/ClassName.txt": class_names(), "SUN397/README.txt": b"see above"}
    small.pack(manual / "SUN397.tar.gz", files | images())
    zipped(manual / "Partitions.zip", partitions())


def zipped(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def unpacked(manual):
    small.unpack(manual, images())
    small.unpack(manual / "Partitions", partitions())


def split_of(name):
    return "train" if name in TRAIN else "test" if name in TEST else "rest"


def prepare(manual, **options):
    made = Sun397(
        data_dir=manual.parent / "data",
        manual_dir=manual,
        options=Options(**options),
    )
    prepared.prepare(made)
    return made


@pytest.mark.parametrize("make", [official, unpacked])
def test_sun_is_labelled_named_and_split(tmp_path, make):
    make(tmp_path / "manual")
    made = prepare(tmp_path / "manual")
    assert list(made.info.features["label"].names) == CLASSES
    assert {s: made.info.splits[s].num_examples for s in made.info.splits} == {
        "train": len(TRAIN),
        "test": len(TEST),
        "rest": 2,
    }
    every = [image.removeprefix("SUN397") for image in images()]
    for split, rows in small.stored(made.data_dir).items():
        assert {file: name for file, (name, _) in rows.items()} == {
            image[1:]: image.rpartition("/")[0]
            for image in every
            if split_of(image) == split
        }


def test_sun_of_any_file_type_is_stored_upright_and_reduced(tmp_path):
    official(tmp_path / "manual")
    made = prepare(tmp_path / "manual")
    found = small.stored(made.data_dir)
    rows = found["train"] | found["test"] | found["rest"]
    for name, (image, _) in ODD.items():
        assert small.far(rows[name[1:]][1], image) < 5, name
    upright = small.picture(7).rotate(90, expand=True)
    assert small.far(rows[TURNED[1:]][1], upright) < 5
    reduced = small.pixels(rows[LARGE[1:]][1])
    height, width, _ = reduced.shape
    assert 119_000 < height * width <= 120_000 and abs(width / height - 1.5) < 0.01
    true = small.picture(6, 600, 400).resize((width, height))
    assert small.far(rows[LARGE[1:]][1], true) < 5
    kept = rows["p/place_000/sun_0.jpg"][1]
    assert kept == images()["SUN397/p/place_000/sun_0.jpg"]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_huge_jpeg_is_never_decoded_whole(monkeypatch, mode):
    huge = small.picture(8, 3000, 2000).convert(mode)
    sizes = []
    really = images_module.upright

    def spy(image):
        upright = really(image)
        sizes.append(upright.size)
        return upright

    monkeypatch.setattr(images_module, "upright", spy)
    kept = stored.to_stored(small.encode(huge, quality=95), Sun397.rule)
    assert sizes == [(1500, 1000)]  # a quarter would not be twice 424 x 282
    assert small.far(kept, huge.resize((424, 282), Image.Resampling.BOX)) < 3


def test_the_archive_of_sun_is_opened_once(tmp_path, monkeypatch):
    opened = []
    really = Path.open

    def count(path, *args, **kwargs):
        opened.append(path.name)
        return really(path, *args, **kwargs)

    official(tmp_path / "manual")
    monkeypatch.setattr(Path, "open", count)
    made = prepare(tmp_path / "manual")
    assert len(made.info.splits) == 3
    assert opened.count("SUN397.tar.gz") == 1


def test_a_tree_that_was_reduced_before_is_kept_to_the_byte(tmp_path, caplog):
    """And needs no partitions: all of it is then one split, with a warning."""
    reduced = {
        name: content
        for number, (name, content) in enumerate(images().items())
        if number < len(CLASSES)
    }
    small.unpack(tmp_path / "manual", reduced)
    with caplog.at_level(logging.WARNING):
        made = prepare(tmp_path / "manual")
    assert "without Partitions.zip: all 397 images are the split train" in caplog.text
    assert list(made.info.features["label"].names) == sorted(CLASSES)
    assert list(made.info.splits) == ["train"]
    rows = small.stored(made.data_dir)["train"]
    assert {f"SUN397/{name}": content for name, (_, content) in rows.items()} == reduced


def test_a_listed_place_that_is_not_there_stops_or_is_counted(tmp_path):
    unpacked(tmp_path / "manual")
    (tmp_path / "manual" / "SUN397" / LARGE[1:]).unlink()
    with pytest.raises(PrepareError, match=r"missing: SUN397/c/church/outdoor/sun_la"):
        prepare(tmp_path / "manual")
    made = prepare(tmp_path / "manual", skip_unreadable=True)
    assert made.info.metadata["missing"] == 1
    assert made.info.splits["train"].num_examples == len(TRAIN) - 1


def test_a_place_that_does_not_decode_stops_or_is_counted(tmp_path):
    unpacked(tmp_path / "manual")
    (tmp_path / "manual" / "SUN397" / LARGE[1:]).write_bytes(b"<html>")
    with pytest.raises(
        PrepareError, match=r"do not decode: SUN397/c/church/outdoor/sun_la"
    ):
        prepare(tmp_path / "manual")
    made = prepare(tmp_path / "manual", skip_unreadable=True)
    assert made.info.metadata["unreadable"] == 1
    assert made.info.metadata["missing"] == 0
    assert made.info.splits["train"].num_examples == len(TRAIN) - 1


def another_archive(manual):
    files = {"images/Abyssinian_1.jpg": SMALL[0]}
    small.pack(manual / "SUN397.tar.gz", files)


def a_class_more(manual):
    more = {"SUN397/z/zoo/sun_1.jpg": SMALL[0], "SUN397/ClassName.txt": class_names()}
    small.pack(manual / "SUN397.tar.gz", images() | more)


def few_classes(manual):
    small.pack(manual / "SUN397.tar.gz", {"SUN397/a/abbey/sun_1.jpg": SMALL[0]})
    files = partitions()
    del files["ClassName.txt"]
    zipped(manual / "Partitions.zip", files)


def half_a_partition(manual):
    files = partitions()
    del files["Testing_01.txt"]
    zipped(manual / "Partitions.zip", files)


def another_partition(manual):
    files = {f"{kind}_01.txt": b"/q/quay/sun_1.jpg" for kind in ("Training", "Testing")}
    zipped(manual / "Partitions.zip", files)


def cut(manual):
    path = manual / "SUN397.tar.gz"
    path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    "change, words",
    [
        (another_archive, "no file in there is named like an image of sun397"),
        (a_class_more, "SUN397/z/zoo/sun_1.jpg is in /z/zoo, which is no class"),
        (few_classes, "SUN397 has 1 classes, not 397"),
        (half_a_partition, "there is no Testing_01.txt in Partitions.zip"),
        (another_partition, "name is there, such as SUN397/q/quay/sun_1.jpg"),
        (cut, "SUN397.tar.gz is cut short or damaged"),
    ],
)
def test_other_files_are_refused_as_sun(tmp_path, change, words):
    manual = tmp_path / "manual"
    official(manual)
    change(manual)
    with pytest.raises((PrepareError, ArchiveError)) as error:
        prepare(manual)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert not list((tmp_path / "prepared").rglob("*.json"))
