"""The Oxford-IIIT Pet data set (Parkhi and others, 2012)."""

import re
from collections.abc import Mapping, Sequence

from metainit.data.builders.base import ArchiveBuilder, Row, Table

_LISTS = {"train": "trainval.txt", "test": "test.txt"}


class OxfordPets(ArchiveBuilder):
    """37 breeds of cats and dogs: 3,680 photographs to train on, 3,669 to test on.

    The split "train" is the official trainval.txt. Some of the .jpg files are PNG or
    GIF; the .mat files among the images are left out.
    """

    images = re.compile(r"^images/[^/.][^/]*\.jpg$")
    lists = re.compile(r"^annotations/(?:trainval|test)\.txt$")

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        breeds: dict[int, str] = {}
        rows = []
        for split, name in _LISTS.items():
            for line in self.lines(lists, name):
                match = re.fullmatch(r"((\S+)_\d+) (\d+) [12] \d+", line)
                if not match:
                    what = f"the line {line!r}, not NAME_N CLASS SPECIES BREED"
                    raise self.other_files(f"{name} has {what}")
                file, breed, number = f"{match[1]}.jpg", match[2], int(match[3])
                if breeds.setdefault(number, breed) != breed:
                    both = f"both {breeds[number]} and {breed}"
                    raise self.other_files(f"{name} has class {number} as {both}")
                rows.append(Row(split, number - 1, f"images/{file}", file))
        if sorted(breeds) != list(range(1, 38)):
            raise self.other_files(f"the classes are {sorted(breeds)}, not 1 to 37")
        return Table([breeds[number] for number in sorted(breeds)], rows)
