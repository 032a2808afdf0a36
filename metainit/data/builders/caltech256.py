"""Caltech-256 without its clutter class (Griffin, Holub and Perona, 2007)."""

import re
import zlib
from collections.abc import Mapping, Sequence

from metainit.data.builders.base import ArchiveBuilder, Row, Table


class Caltech256(ArchiveBuilder):
    """256 classes of objects, 80 to 800 photographs each, some of them grey.

    The clutter class (257) and the archive's two stray entries are left out. There is
    no official split: images whose file name has a CRC-32 that 5 divides, a fifth of
    them, are "test".
    """

    images = re.compile(
        r"^256_ObjectCategories/(?!257)(?P<class>(?P<n>\d{3})\.[^/]+)/"
        r"(?P<file>(?P=n)_\d{4}\.jpg)$"
    )

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        """See `ArchiveBuilder.table`."""
        found = {name: self.images.search(name) for name in images}
        names = sorted({match["class"] for match in found.values() if match})
        label_of = {name: label for label, name in enumerate(names)}
        rows = [
            Row(
                "test" if zlib.crc32(match["file"].encode()) % 5 == 0 else "train",
                label_of[match["class"]],
                name,
                match["file"],
            )
            for name, match in found.items()
            if match
        ]
        return Table(names, rows)
