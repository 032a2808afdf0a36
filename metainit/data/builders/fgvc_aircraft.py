"""FGVC-Aircraft: variants of aircraft (Maji et al., arXiv:1306.5151)."""

import re
from collections.abc import Mapping, Sequence

from metainit.data.builders.base import ArchiveBuilder, Row, Table
from metainit.data.images import Rule

_DATA = "fgvc-aircraft-2013b/data"
_SPLITS = {"train": "train", "validation": "val", "test": "test"}


class FgvcAircraft(ArchiveBuilder):
    """100 variants of aircraft, such as "F-16A/B", 100 photographs each.

    Split officially: train 3,334, validation 3,333, test 3,333. The lowest 20 rows, a
    banner with the photographer's name that the authors ask to remove, are cut off.
    """

    images = re.compile(rf"^{_DATA}/images/\d{{7}}\.jpg$")
    lists = re.compile(rf"^{_DATA}/(variants|images_variant_(train|val|test))\.txt$")
    rule = Rule(crop_bottom=20)

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        names = self.lines(lists, "variants.txt")
        rows = []
        for split, ending in _SPLITS.items():
            name = f"images_variant_{ending}.txt"
            for line in self.lines(lists, name):
                # Names of variants have spaces, too.
                image, _, variant = line.partition(" ")
                if variant not in names:
                    what = f"{name} has the line {line!r}, variants.txt no such variant"
                    raise self.other_files(what)
                file = f"{image}.jpg"
                path = f"{_DATA}/images/{file}"
                rows.append(Row(split, names.index(variant), path, file))
        return Table(names, rows)
