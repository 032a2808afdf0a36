"""Stanford Cars, also known as Cars196 (Krause and others, 2013)."""

import re
from collections.abc import Iterator, Mapping, Sequence

from metainit.data.builders.archive import Member
from metainit.data.builders.base import ArchiveBuilder, NamedImage, Row, Table

_LISTS = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}


class StanfordCars(ArchiveBuilder):
    """196 models of cars: 8,144 photographs to train on, 8,041 to test on, a few grey.

    Made from the four official files, from the folders that they unpack to, or from
    the common repacks, which put the folder of images into another of the same name
    and the labels of the test images beside or into the devkit.
    """

    images = re.compile(r"^(cars_train|cars_test)/(?:.+/)?(\d{5}\.jpg)$")
    lists = re.compile(
        r"(?:^|/)(?:cars_meta|cars_train_annos|cars_test_annos_withlabels)\.mat$"
    )

    def unpack(self, member: Member) -> Iterator[NamedImage]:
        """Yields the image by a name that is the same from every layout."""
        yield self.images.sub(r"\1/\2", member.name), member.content

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        meta = "cars_meta.mat"
        names = self.named(self.matlab(lists, meta, "class_names").tolist(), meta)
        rows = []
        for split, name in _LISTS.items():
            records = self.matlab(lists, name, "annotations")
            if not {"class", "fname"} <= set(records.dtype.names or ()):
                raise self.other_files(f"{name} has no labels")
            if not any(image.startswith(f"cars_{split}/") for image in images):
                raise self.other_files(f"there is no cars_{split}/NNNNN.jpg")
            for record in records:
                number, image = int(record["class"]), f"cars_{split}/{record['fname']}"
                if not 1 <= number <= len(names):
                    what = f"the class {number}, not 1 to {len(names)}"
                    raise self.other_files(f"{name} gives {image} {what}")
                rows.append(Row(split, number - 1, image, image))
        return Table(names, rows)
