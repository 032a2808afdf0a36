"""SUN397, scenes (Xiao and others, 2010)."""

import logging
import re
from collections.abc import Mapping, Sequence

from metainit.data.builders.base import ArchiveBuilder, PrepareError, Row, Table
from metainit.data.images import Rule

_CLASSES = 397
_LISTS = {"train": "Training_01.txt", "test": "Testing_01.txt"}


class Sun397(ArchiveBuilder):
    """397 kinds of places, 108,754 photographs, at least 100 each.

    Images of more than 120,000 pixels are reduced to that. The splits "train" and
    "test" are the first of the ten official partitions, 50 images a class each; all
    other images are the split "rest", so that none is lost. Without Partitions.zip all
    images are "train" and a warning is logged: few-shot learning splits classes, not
    images, and does not need it. Classes are named as in ClassName.txt, such as
    "/a/abbey" and "/c/church/outdoor", and where that is missing in the same way after
    their folders.
    """

    images = re.compile(
        r"^SUN397(?P<class>/[a-z](?:/[^/.][^/]*){1,2})/[^/.][^/]*\.jpg$"
    )
    lists = re.compile(r"(?:^|/)(?:ClassName|Training_01|Testing_01)\.txt$")
    rule = Rule(max_pixels=120_000)

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        """See `ArchiveBuilder.table`."""
        lines = {
            name.rpartition("/")[2]: content.decode(errors="replace").split()
            for name, content in lists.items()
        }
        names = lines.get("ClassName.txt") or sorted({_class(name) for name in images})
        if len(names) != _CLASSES:
            raise PrepareError(
                f"{'ClassName.txt' if 'ClassName.txt' in lines else 'SUN397'} has "
                f"{len(names)} classes, not {_CLASSES}; it is not that of SUN397"
            )
        split_of = _splits(lines, images)
        label_of = {name: label for label, name in enumerate(names)}
        rows = []
        for image in dict.fromkeys([*split_of, *images]):
            if (name := _class(image)) not in label_of:
                raise PrepareError(
                    f"{image} is in {name}, which is no class of SUN397; remove it"
                )
            rows.append(
                Row(
                    split_of.get(image, "rest" if split_of else "train"),
                    label_of[name],
                    image,
                    image.removeprefix("SUN397/"),
                )
            )
        return Table(names, rows)


def _class(image: str) -> str:
    return image.removeprefix("SUN397").rpartition("/")[0]


def _splits(
    lines: Mapping[str, Sequence[str]], images: Sequence[str]
) -> dict[str, str]:
    """The split of each image that the partition names; {} where there is none."""
    if not set(_LISTS.values()) & set(lines):
        logging.warning(
            "SUN397 without Partitions.zip: all %d images are the split train",
            len(images),
        )
        return {}
    split_of: dict[str, str] = {}
    for split, file in _LISTS.items():
        if file not in lines:
            raise PrepareError(
                f"there is no {file} in Partitions.zip or in the folder Partitions; "
                "this is not the archive of SUN397's partitions"
            )
        split_of |= {"SUN397" + line: split for line in lines[file]}
    if not split_of.keys() & set(images):
        raise PrepareError(
            f"no image that {' and '.join(_LISTS.values())} name is there, such as "
            f"{next(iter(split_of), 'none')}; they are not those of SUN397"
        )
    return split_of
