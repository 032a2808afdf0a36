"""Caltech-256 without its clutter class (Griffin, Holub and Perona, 2007)."""

import re
import zlib
from collections.abc import Mapping, Sequence

from metainit.data.builders.base import ArchiveBuilder, Row, Table


class Caltech256(ArchiveBuilder):
    """256 classes of objects, 80 to 800 photographs each, some of them grey.

    The clutter class and the two stray entries are left out. There is no official
    split: images whose file name has a CRC-32 that 5 divides are "test".
    """

    images = re.compile(
        r"^256_ObjectCategories/(?!257)((\d{3})\.[^/]+)/(\2_\d{4}\.jpg)$"
    )

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        names = sorted({image.split("/")[1] for image in images})
        rows = []
        for image in images:
            _, name, file = image.split("/")
            split = "test" if zlib.crc32(file.encode()) % 5 == 0 else "train"
            rows.append(Row(split, names.index(name), image, file))
        return Table(names, rows)
