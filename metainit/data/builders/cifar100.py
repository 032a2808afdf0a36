"""CIFAR-100: small photographs of a hundred things (Krizhevsky, 2009)."""

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from metainit.data.builders import archive
from metainit.data.builders.base import ArchiveBuilder, Row, Table
from metainit.data.builders.inputs import Input, PrepareError

_SIDE = 32
# Coarse label, fine label, then the red, green and blue planes.
_RECORD = 2 + 3 * _SIDE * _SIDE
_NAMES = "cifar-100-binary/fine_label_names.txt"


class Cifar100(ArchiveBuilder):
    """100 classes of 32x32 photographs, 500 for training and 100 for test each.

    Labels are the fine ones. `file_name` is the split and the position in its file,
    "train_00017". Smaller archives of the same layout are taken as they are.
    """

    inputs = (Input("cifar-100-binary.tar.gz", ("cifar-100-binary",), 184_441_100),)
    images = re.compile(r"^cifar-100-binary/(train|test)\.bin$")
    lists = re.compile(rf"^{re.escape(_NAMES)}$")

    def unpack(self, member: archive.Member) -> Iterator[tuple[str, np.ndarray]]:
        """The images of train.bin or test.bin, named "split/fine label/file_name".

        Raises:
          PrepareError: not whole records, or a label that there is not.
        """
        if not member.content or len(member.content) % _RECORD:
            raise PrepareError(
                f"{self.name}: {member.name} has {len(member.content)} bytes, which is "
                f"not a number of records of {_RECORD}; get the official archive"
            )
        records = np.frombuffer(member.content, np.uint8).reshape(-1, _RECORD)
        if (worst := np.max(records[:, 1])) > 99:
            raise PrepareError(
                f"{self.name}: {member.name} has the label {worst}, and 99 is the "
                "highest; get the official archive"
            )
        split = member.name.rpartition("/")[2].removesuffix(".bin")
        planes = records[:, 2:].reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)
        labels = records[:, 1].tolist()
        for number, (label, image) in enumerate(zip(labels, planes, strict=True)):
            yield f"{split}/{label}/{split}_{number:05}", image

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        """See `ArchiveBuilder.table`."""
        names = lists.get(_NAMES, b"").decode().split()
        if len(names) != 100:
            raise PrepareError(
                f"{self.name}: {_NAMES} has {len(names)} names in place of 100; get "
                "the official archive"
            )
        rows = []
        for image in images:
            split, label, file_name = image.split("/")
            rows.append(Row(split, int(label), image, file_name))
        return Table(names, rows)
