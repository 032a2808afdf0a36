"""CIFAR-100: small photographs of a hundred things (Krizhevsky, 2009)."""

import re
from collections.abc import Iterator, Mapping, Sequence

from metainit.data.builders.archive import Member
from metainit.data.builders.base import ArchiveBuilder, NamedImage, Row, Table
from metainit.data.builders.cifar_fs import NAMES, records


class Cifar100(ArchiveBuilder):
    """100 classes of 32x32 photographs, 500 for training and 100 for test each.

    Labels are the fine ones. `file_name` is the split and the position in its file,
    "train_00017". Smaller archives of the same layout are taken as they are.
    """

    images = re.compile(r"^cifar-100-binary/(train|test)\.bin$")
    lists = re.compile(rf"^cifar-100-binary/{re.escape(NAMES)}$")

    def unpack(self, member: Member) -> Iterator[NamedImage]:
        """Yields the images of train.bin or test.bin, as "split/label/file_name"."""
        try:
            labels, pixels = records(member.name, member.content)
        except ValueError as error:
            raise self.other_files(str(error)) from error
        split = member.name.rpartition("/")[2].removesuffix(".bin")
        for number, (label, image) in enumerate(zip(labels, pixels, strict=True)):
            yield f"{split}/{label}/{split}_{number:05}", image

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        names = self.named(self.lines(lists, NAMES), NAMES)
        parts = [(image, *image.split("/")) for image in images]
        rows = [Row(split, int(n), image, file) for image, split, n, file in parts]
        return Table(names, rows)
