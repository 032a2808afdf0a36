"""Oxford Flowers: flowers of Great Britain (Nilsback and Zisserman, 2008)."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from metainit.data.builders.base import ArchiveBuilder, Row, Table

_SPLITS = {"train": "trnid", "validation": "valid", "test": "tstid"}


class Flowers102(ArchiveBuilder):
    """102 kinds of flowers, 40 to 258 photographs each.

    Split officially: train 1,020 and validation 1,020, test 6,149.
    """

    images = re.compile(r"^jpg/image_\d{5}\.jpg$")
    lists = re.compile(r"^(imagelabels|setid)\.mat$")

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        labels = self._numbers(lists, "imagelabels.mat", "labels", 102)
        rows = []
        for split, field in _SPLITS.items():
            for number in self._numbers(lists, "setid.mat", field, len(labels)):
                file = f"image_{number:05}.jpg"
                rows.append(Row(split, labels[number - 1] - 1, f"jpg/{file}", file))
        listing = Path(__file__).with_name("flowers102_classes.txt")
        return Table(listing.read_text(encoding="utf-8").splitlines()[1:], rows)

    def _numbers(
        self, lists: Mapping[str, bytes], file: str, field: str, highest: int
    ) -> list[int]:
        """Reads the numbers, from 1 to `highest`, in an array of a .mat file."""
        array = self.matlab(lists, file, field)
        if not array.size or array.min() < 1 or array.max() > highest:
            what = f"{field!r} of {file} is not made of numbers from 1 to {highest}"
            raise self.other_files(what)
        return [int(number) for number in array]
