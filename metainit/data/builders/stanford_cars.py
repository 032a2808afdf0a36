"""Stanford Cars, also known as Cars196 (Krause and others, 2013)."""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy.io

from metainit.data.builders.archive import Member
from metainit.data.builders.base import ArchiveBuilder, PrepareError, Row, Table

_CLASSES = 196
# Split, its list, and the archive of its images.
_SPLITS = {
    "train": ("cars_train_annos.mat", "cars_train.tgz"),
    "test": ("cars_test_annos_withlabels.mat", "cars_test.tgz"),
}


class StanfordCars(ArchiveBuilder):
    """196 models of cars: 8,144 photographs to train on, 8,041 to test on, a few grey.

    Made from the four official files, from the folders that they unpack to, or from
    the common repacks, which put the folder of images into another of the same name
    and the labels of the test images beside or into the devkit. Both archives number
    their images from 00001.jpg; here a file name is "cars_train/00001.jpg".
    """

    images = re.compile(r"^cars_(?P<split>train|test)/(?:.+/)?(?P<file>\d{5}\.jpg)$")
    lists = re.compile(
        r"(?:^|/)(?:cars_meta|cars_train_annos|cars_test_annos_withlabels)\.mat$"
    )

    def unpack(self, member: Member) -> Iterator[tuple[str, bytes | np.ndarray]]:
        """See `ArchiveBuilder.unpack`; a name is the same from every layout."""
        match = self.images.search(member.name)
        assert match is not None
        yield f"cars_{match['split']}/{match['file']}", member.content

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        """See `ArchiveBuilder.table`."""
        by_file = {name.rpartition("/")[2]: content for name, content in lists.items()}
        names = [str(name) for name in _read(by_file, "cars_meta.mat", "class_names")]
        if len(names) != _CLASSES:
            raise PrepareError(
                f"cars_meta.mat names {len(names)} classes, not {_CLASSES}; it is not "
                "that of Stanford Cars"
            )
        rows = []
        for split, (list_name, archive_name) in _SPLITS.items():
            if not any(image.startswith(f"cars_{split}/") for image in images):
                raise PrepareError(
                    f"there is no cars_{split}/NNNNN.jpg in {archive_name}, nor in the "
                    f"folder cars_{split}; put the official archive there"
                )
            for record in _read(by_file, list_name, "annotations"):
                number, file = int(record["class"]), str(record["fname"])
                if not 1 <= number <= _CLASSES:
                    raise PrepareError(
                        f"{list_name} gives {file} the class {number}, which is not in "
                        f"1 to {_CLASSES}"
                    )
                image = f"cars_{split}/{file}"
                rows.append(Row(split, number - 1, image, image))
        return Table(names, rows)


def _read(lists: Mapping[str, bytes], name: str, field: str) -> Any:
    """A field of a MATLAB file, [n]: names, or records with "class" and "fname"."""
    if name not in lists:
        raise PrepareError(
            f"there is no {name}; it comes "
            + (
                "by itself, and goes beside cars_test.tgz"
                if "withlabels" in name
                else "in car_devkit.tgz"
            )
        )
    try:
        content = scipy.io.loadmat(io.BytesIO(lists[name]), squeeze_me=True)
        values = np.atleast_1d(content[field])
        if field == "annotations":
            values[["class", "fname"]]  # raises where they are not there
    # A file that is something else fails in scipy wherever it happens to.
    except Exception as error:
        raise PrepareError(
            f"{name} is not that of Stanford Cars: no {field!r} can be read from it "
            f"({error})"
        ) from error
    return values
