"""All seven data sets in their official layouts, with a few classes each."""

import hashlib
import itertools
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import archives
import numpy as np
import small_archives as small

from metainit.data.builders import prepare

IMAGES = 3  # a class has so many, where it has any
TRAIN_CLASSES, OTHER_CLASSES = 30, 4
PETS = 37  # its lists must have every breed


def prepare_all(root: Path) -> None:
    """Prepares all seven below a data folder, as the command does."""
    quiet = lambda line: None  # noqa: E731
    for name, write in _WRITERS.items():
        folder = root / "downloads" / name
        folder.mkdir(parents=True)
        write(folder, _pictures(name))
        sums = {file.name: _digest(file) for file in folder.iterdir()}
        prepare.prepare(name, root, checksums=sums, say=quiet)


def cars_annotations(labels: list[int], label_field: bool = True) -> bytes:
    """A list of Stanford Cars: classes, from 1, of 00001.jpg and on."""
    fields = ["bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname"]
    if not label_field:
        fields.remove("class")
    records = np.zeros((1, len(labels)), [(field, object) for field in fields])
    for number, label in enumerate(labels):
        record = [1, 2, 20, 12, label, f"{number + 1:05}.jpg"]
        if not label_field:
            del record[4]
        records[0, number] = tuple(record)
    return small.matlab(annotations=records)


def _pictures(name: str) -> Iterator[bytes]:
    """JPEGs, of which no two are alike, nor those of two data sets."""
    first = 10_000 * (1 + list(_WRITERS).index(name))
    for number in itertools.count(first):
        yield small.encode(small.picture(number, 24, 40))


def _cifar100(folder: Path, pictures: Iterator[bytes]) -> None:
    archives.cifar_tar(folder / "cifar-100-binary.tar.gz")


def _caltech256(folder: Path, pictures: Iterator[bytes]) -> None:
    files = {
        f"256_ObjectCategories/{label:03}.thing/{label:03}_{image:04}.jpg": content
        for (label, image), content in zip(
            itertools.product(range(1, TRAIN_CLASSES + 1), range(1, IMAGES + 1)),
            pictures,
            strict=False,
        )
    }
    small.pack(folder / "256_ObjectCategories.tar", files)


def _flowers102(folder: Path, pictures: Iterator[bytes]) -> None:
    labels = np.repeat(np.arange(1, TRAIN_CLASSES + 1), IMAGES)
    numbers = np.arange(1, len(labels) + 1)
    files = {f"jpg/image_{number:05}.jpg": next(pictures) for number in numbers}
    small.pack(folder / "102flowers.tgz", files)
    split = {"trnid": numbers[0::3], "valid": numbers[1::3], "tstid": numbers[2::3]}
    (folder / "imagelabels.mat").write_bytes(small.matlab(labels=labels[None]))
    split = {name: part[None] for name, part in split.items()}
    (folder / "setid.mat").write_bytes(small.matlab(**split))


def _stanford_cars(folder: Path, pictures: Iterator[bytes]) -> None:
    labels = [label for label in range(1, OTHER_CLASSES + 1) for _ in range(IMAGES)]
    of_split = {"train": labels[0::2], "test": labels[1::2]}
    for split, its in of_split.items():
        files = {
            f"cars_{split}/{n + 1:05}.jpg": next(pictures) for n in range(len(its))
        }
        small.pack(folder / f"cars_{split}.tgz", files)
    names = np.array([[f"Model {number}" for number in range(196)]], object)
    devkit = {
        "devkit/cars_meta.mat": small.matlab(class_names=names),
        "devkit/cars_train_annos.mat": cars_annotations(of_split["train"]),
    }
    small.pack(folder / "car_devkit.tgz", devkit)
    of_test = cars_annotations(of_split["test"])
    (folder / "cars_test_annos_withlabels.mat").write_bytes(of_test)


def _fgvc_aircraft(folder: Path, pictures: Iterator[bytes]) -> None:
    data, variants = "fgvc-aircraft-2013b/data", ["707-320", "Hawk T1", "F-16A/B", "A"]
    files = {f"{data}/variants.txt": "\n".join(variants).encode()}
    lines: dict[str, str] = {"train": "", "val": "", "test": ""}
    for number, variant in enumerate(variants):
        for image, split in enumerate(lines):
            name = f"{10 * number + image:07}"
            lines[split] += f"{name} {variant}\n"
            files[f"{data}/images/{name}.jpg"] = next(pictures)
    for split, text in lines.items():
        files[f"{data}/images_variant_{split}.txt"] = text.encode()
    small.pack(folder / "fgvc-aircraft-2013b.tar.gz", files)


def _oxford_pets(folder: Path, pictures: Iterator[bytes]) -> None:
    files, lines = {}, {"trainval": "", "test": ""}
    for label, image in itertools.product(range(1, PETS + 1), range(1, IMAGES + 1)):
        stem = f"breed_{label:02}_{image}"
        files[f"images/{stem}.jpg"] = next(pictures)
        lines["test" if image == IMAGES else "trainval"] += f"{stem} {label} 1 1\n"
    small.pack(folder / "images.tar.gz", files)
    lists = {f"annotations/{name}.txt": text.encode() for name, text in lines.items()}
    small.pack(folder / "annotations.tar.gz", lists)


def _sun397(folder: Path, pictures: Iterator[bytes]) -> None:
    names = [f"/p/place_{number:03}" for number in range(397)]
    files = {"SUN397/ClassName.txt": "".join(f"{name}\n" for name in names).encode()}
    shown = [
        f"{name}/sun_{image}.jpg"
        for name in names[:OTHER_CLASSES]
        for image in range(IMAGES)
    ]
    files |= {f"SUN397{name}": next(pictures) for name in shown}
    small.pack(folder / "SUN397.tar.gz", files)
    with zipfile.ZipFile(folder / "Partitions.zip", "w") as partitions:
        partitions.writestr("ClassName.txt", "\n".join(names))
        partitions.writestr("Training_01.txt", "\n".join(shown[0::2]))
        partitions.writestr("Testing_01.txt", "\n".join(shown[1::2]))


def _digest(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


_WRITERS: dict[str, Callable[[Path, Iterator[bytes]], None]] = {
    "cifar100": _cifar100,
    "caltech256": _caltech256,
    "flowers102": _flowers102,
    "stanford_cars": _stanford_cars,
    "fgvc_aircraft": _fgvc_aircraft,
    "oxford_pets": _oxford_pets,
    "sun397": _sun397,
}
