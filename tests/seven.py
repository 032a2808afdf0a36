"""All seven data sets in their official layouts, with a few classes each."""

import functools
import hashlib
import itertools
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import archives
import numpy as np
from PIL import Image

from metainit.data.builders import catalog, cifar_fs
from metainit.data.builders import prepare as builders

IMAGES = 3  # a class has so many, where it has any

# Split -> file name -> class and image, or its file where that is kept to the byte.
Rows = dict[str, dict[str, tuple[str, bytes | Image.Image]]]
Pictures = Iterator[bytes]


class Layout(NamedTuple):
    """A data set as it is downloaded, and what it is to become."""

    # By the name of an archive its members, or the content of a file.
    files: dict[str, Mapping[str, bytes] | bytes]
    classes: Sequence[str]  # in order
    rows: Rows

    def write(self, folder: Path) -> None:
        """Puts the archives into a folder."""
        for name, content in self.files.items():
            if isinstance(content, bytes):
                archives.unpack(folder, {name: content})
            else:
                archives.pack(folder / name, content)

    def unpack(self, folder: Path) -> None:
        """Puts what the archives unpack to into a folder."""
        for name, content in self.files.items():
            place = folder / Path(name).stem if name.endswith(".zip") else folder
            files = {name: content} if isinstance(content, bytes) else content
            archives.unpack(place, files)


def prepare_all(root: Path) -> None:
    """Prepares all seven below a data folder, as the command does."""
    for name in NAMES:
        folder = root / "downloads" / name
        layout(name).write(folder)
        sums = {
            file.name: f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
            for file in folder.iterdir()
        }
        builders.prepare(name, root, checksums=sums)


def prepare(name: str, folder: Path, **options: Any) -> Path:
    """Prepares one from the archives or trees in a folder's "manual", in its "data"."""
    folders = {"data_dir": folder / "data", "manual_dir": folder / "manual"}
    make = functools.partial(builders.BUILDERS[name], **folders, **options)
    builder = builders.build(make, name, folder)
    return Path(builder.data_dir)


def layout(name: str) -> Layout:
    """A data set of the catalog, with images that no other data set has."""
    return _LAYOUTS[name](_pictures(10_000 * (1 + NAMES.index(name))))


def _pictures(first: int) -> Pictures:
    """Images as they lie in archives, no two alike."""
    for number in itertools.count(first):
        yield archives.encode(archives.picture(number, 24, 40))


def _cifar100(pictures: Pictures) -> Layout:
    held_out = [*cifar_fs._VALIDATION, *cifar_fs._TEST]
    classes = sorted([*held_out, *(f"class_{number:02}" for number in range(64))])
    rng = np.random.default_rng(0)
    files = {"cifar-100-binary/fine_label_names.txt": "\n".join(classes).encode()}
    rows: Rows = {}
    for split, each in (("train", 2), ("test", 1)):
        labels = rng.permutation(np.repeat(np.arange(100), each))
        pixels = rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        planes = pixels.transpose(0, 3, 1, 2).reshape(len(labels), -1)
        records = np.column_stack([0 * labels, labels, planes]).astype(np.uint8)
        files[f"cifar-100-binary/{split}.bin"] = records.tobytes()
        rows[split] = {
            f"{split}_{number:05}": (classes[label], Image.fromarray(image))
            for number, (label, image) in enumerate(zip(labels, pixels, strict=True))
        }
    return Layout({"cifar-100-binary.tar.gz": files}, classes, rows)


def _caltech256(pictures: Pictures) -> Layout:
    root = "256_ObjectCategories"
    classes = [f"{label:03}.thing" for label in range(1, 30 + 1)]
    rows: Rows = {"train": {}, "test": {}}
    # The clutter class, the stray entries, and what tools add to trees.
    stray = """257.clutter/257_0001.jpg 001.thing/greg/vision309/001_0001.jpg
        001.thing/198_0001.jpg 001.thing/._001_0001.jpg 002.thing/RENAME2 .DS_Store"""
    jpeg = archives.encode(archives.picture(5))
    files = {f"{root}/{name}": jpeg for name in stray.split()}
    for name, image in itertools.product(classes, range(1, IMAGES + 1)):
        file = f"{name[:3]}_{image:04}.jpg"
        files[f"{root}/{name}/{file}"] = shown = next(pictures)
        split = "test" if zlib.crc32(file.encode()) % 5 == 0 else "train"
        rows[split][file] = name, shown
    return Layout({f"{root}.tar": files}, classes, rows)


def _flowers102(pictures: Pictures) -> Layout:
    # No file has the names, our module does.
    listing = Path(catalog.__file__).with_name("flowers102_classes.txt")
    names = listing.read_text(encoding="utf-8").splitlines()[1:]
    labels = np.repeat([1, 102, 51, *range(3, 30)], IMAGES)
    files = {f"jpg/image_{n + 1:05}.jpg": next(pictures) for n in range(len(labels))}
    shown = [
        (name.removeprefix("jpg/"), (names[label - 1], image))
        for (name, image), label in zip(files.items(), labels, strict=True)
    ]
    starts = {"train": ("trnid", 1), "validation": ("valid", 2), "test": ("tstid", 0)}
    rows = {split: dict(shown[start::3]) for split, (_, start) in starts.items()}
    numbers = np.arange(1, len(labels) + 1)[None]
    split_of = {key: numbers[:, start::3] for key, start in starts.values()}
    lists = {
        "imagelabels.mat": archives.matlab(labels=labels[None].astype(np.uint8)),
        "setid.mat": archives.matlab(**split_of),
    }
    return Layout({"102flowers.tgz": files, **lists}, names, rows)


def cars_annotations(labels: Sequence[int], label_field: bool = True) -> bytes:
    """A list of Stanford Cars: classes, from 1, of 00001.jpg and on."""
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "fname", "class"]
    fields = fields[: 6 if label_field else 5]
    records = [
        (1, 2, 20, 12, f"{number:05}.jpg", label)[: len(fields)]
        for number, label in enumerate(labels, 1)
    ]
    table = np.array([records], [(field, object) for field in fields])
    return archives.matlab(annotations=table)


def _stanford_cars(pictures: Pictures) -> Layout:
    # As the real names, with slashes among them.
    names = [f"Ram C/V Cargo Van {1800 + number}" for number in range(196)]
    labels = [label for label in (196, 1, 14, 3) for _ in range(IMAGES)]
    of_split = {"train": labels[0::2], "test": labels[1::2]}
    files: dict[str, Mapping[str, bytes] | bytes] = {}
    rows: Rows = {}
    for split, its in of_split.items():
        images = {
            f"cars_{split}/{n + 1:05}.jpg": next(pictures) for n in range(len(its))
        }
        files[f"cars_{split}.tgz"] = images
        rows[split] = {
            name: (names[label - 1], shown)
            for (name, shown), label in zip(images.items(), its, strict=True)
        }
    files["car_devkit.tgz"] = {
        "devkit/cars_meta.mat": archives.matlab(class_names=np.array([names], object)),
        "devkit/cars_train_annos.mat": cars_annotations(of_split["train"]),
        # The one that comes with the devkit has no labels.
        "devkit/cars_test_annos.mat": cars_annotations(of_split["test"], False),
        "devkit/._cars_meta.mat": b"of a Mac",
        "devkit/README.txt": b"see above",
    }
    files["cars_test_annos_withlabels.mat"] = cars_annotations(of_split["test"])
    return Layout(files, names, rows)


def _fgvc_aircraft(pictures: Pictures) -> Layout:
    # As in variants.txt: neither sorted nor free of spaces and slashes.
    data, variants = "fgvc-aircraft-2013b/data", ["707-320", "Hawk T1", "F-16A/B", "A"]
    files = {
        f"{data}/variants.txt": "\n".join(variants).encode(),
        f"{data}/families.txt": b"Boeing 707\n",
        f"{data}/images_variant_trainval.txt": b"nonsense\n",
        "fgvc-aircraft-2013b/README.html": b"<html>",
    }
    rows: Rows = {}
    for shift, split in enumerate(("train", "validation", "test")):
        lines, rows[split] = "", {}
        for number, variant in enumerate(variants):
            name = f"{10 * number + shift:07}"
            lines += f"{name} {variant}\n"
            # Above 20 rows of text.
            image = archives.picture(900 + 10 * number + shift, 40, 30)
            whole = Image.new("RGB", (40, 50), "black")
            whole.paste(image, (0, 0))
            files[f"{data}/images/{name}.jpg"] = archives.encode(whole, quality=95)
            rows[split][f"{name}.jpg"] = variant, image
        ending = "val" if split == "validation" else split
        files[f"{data}/images_variant_{ending}.txt"] = lines.encode()
    return Layout({"fgvc-aircraft-2013b.tar.gz": files}, variants, rows)


def _oxford_pets(pictures: Pictures) -> Layout:
    breeds = ["Abyssinian", "american_bulldog", "american_pit_bull_terrier"]
    breeds += [f"breed_{number:02}" for number in range(4, 38)]
    rows: Rows = {"train": {}, "test": {}}
    lines = {"train": "", "test": ""}
    images = {
        "images/Abyssinian_1.mat": b"MATLAB 5.0 MAT-file",
        "images/._Abyssinian_1.jpg": b"of a Mac",
        # In no list.
        "images/breed_04_300.jpg": archives.encode(archives.picture(0)),
    }
    for (label, breed), image in itertools.product(enumerate(breeds, 1), range(IMAGES)):
        stem, split = f"{breed}_{image + 1}", "test" if image == 2 else "train"
        images[f"images/{stem}.jpg"] = shown = next(pictures)
        lines[split] += f"{stem} {label} {1 + label % 2} {label}\n"
        rows[split][f"{stem}.jpg"] = breed, shown
    lists = {
        "annotations/list.txt": b"#Image CLASS-ID SPECIES BREED ID\nnonsense\n",
        "annotations/trainval.txt": lines["train"].encode(),
        "annotations/test.txt": lines["test"].encode(),
        "annotations/._test.txt": b"of a Mac",
        "annotations/xmls/Abyssinian_1.xml": b"<annotation/>",
    }
    files = {"images.tar.gz": images, "annotations.tar.gz": lists}
    return Layout(files, breeds, rows)


def _sun397(pictures: Pictures) -> Layout:
    # In another order than that of folders.
    names = ["/c/church/outdoor", "/c/church/indoor", "/a/abbey"]
    names += [f"/p/place_{number:03}" for number in reversed(range(394))]
    class_names = "".join(f"{name}\n" for name in names).encode()
    files = {"SUN397/ClassName.txt": class_names, "SUN397/README.txt": b"see above"}
    rows: Rows = {split: {} for split in ("train", "test", "rest")}
    for name, split in itertools.product(names[:4], rows):
        file = f"{name}/sun_{split}.jpg"
        files[f"SUN397{file}"] = shown = next(pictures)
        rows[split][file[1:]] = name, shown
    partitions = {"ClassName.txt": class_names}
    for number in range(1, 11):
        # The other nine are other images, which must not be taken for the first.
        for kind, split in (("Training", "train"), ("Testing", "test")):
            lines = [f"/{file}" for file in rows[split if number == 1 else "rest"]]
            partitions[f"{kind}_{number:02}.txt"] = "\n".join(lines).encode()
    return Layout({"SUN397.tar.gz": files, "Partitions.zip": partitions}, names, rows)


_TRAIN = (_cifar100, _caltech256, _flowers102)
_OTHERS = (_stanford_cars, _fgvc_aircraft, _oxford_pets, _sun397)
_LAYOUTS = {of.__name__.removeprefix("_"): of for of in (*_TRAIN, *_OTHERS)}
NAMES = tuple(_LAYOUTS)

# Caltech-256 with three classes of four images.
CALTECH = "caltech256"
CALTECH_FILE = "256_ObjectCategories.tar"
CALTECH_FILES = {
    f"256_ObjectCategories/{name}/{name[:3]}_{image:04}.jpg": archives.encode(
        archives.picture(10 * int(name[:3]) + image)
    )
    for name in ("001.ak47", "056.dog", "198.spider")
    for image in range(1, 5)
}
