"""The Oxford-IIIT Pet data set (Parkhi and others, 2012)."""

import re
from collections.abc import Mapping, Sequence

from metainit.data.builders.base import ArchiveBuilder, PrepareError, Row, Table

_CLASSES = 37
_LISTS = {"train": "trainval.txt", "test": "test.txt"}


class OxfordPets(ArchiveBuilder):
    """37 breeds of cats and dogs: 3,680 photographs to train on, 3,669 to test on.

    The split "train" is the official trainval.txt. Names are those of the files, such
    as "Abyssinian" and "american_bulldog": cats have capitals. Some of the .jpg files
    are PNG or GIF; the .mat files among the images are left out.
    """

    images = re.compile(r"^images/[^/.][^/]*\.jpg$")
    lists = re.compile(r"^annotations/(?:trainval|test)\.txt$")

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        """See `ArchiveBuilder.table`."""
        breeds: dict[int, str] = {}
        rows = []
        for split, file in _LISTS.items():
            if (name := f"annotations/{file}") not in lists:
                raise PrepareError(
                    f"there is no {name} in annotations.tar.gz or in the folder "
                    "annotations; this is not the archive of Oxford-IIIT Pet"
                )
            for line in lists[name].decode(errors="replace").splitlines():
                if not line.strip():
                    continue
                stem, number = _parse(line, name)
                breed = stem.rpartition("_")[0]
                if breeds.setdefault(number, breed) != breed:
                    raise PrepareError(
                        f"{name} has class {number} as both {breeds[number]} and "
                        f"{breed}; it is not that of Oxford-IIIT Pet"
                    )
                rows.append(Row(split, number - 1, f"images/{stem}.jpg", f"{stem}.jpg"))
        if sorted(breeds) != list(range(1, _CLASSES + 1)):
            raise PrepareError(
                f"trainval.txt and test.txt have {len(breeds)} classes, not those from "
                f"1 to {_CLASSES}; they are not those of Oxford-IIIT Pet"
            )
        return Table([breeds[number] for number in sorted(breeds)], rows)


def _parse(line: str, name: str) -> tuple[str, int]:
    """Stem and class, from 1, of a line such as "Abyssinian_100 1 1 1"."""
    match = re.fullmatch(r"(\S+_\d+) (\d+) [12] \d+\s*", line)
    if not match:
        raise PrepareError(
            f"{name} has the line {line!r}; NAME_N CLASS SPECIES BREED is expected"
        )
    return match[1], int(match[2])
