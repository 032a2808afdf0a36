"""SUN397, scenes (Xiao and others, 2010)."""

import logging
import re
from collections.abc import Mapping, Sequence

from metainit.data.builders.base import ArchiveBuilder, Row, Table
from metainit.data.images import Rule

_LISTS = {"train": "Training_01.txt", "test": "Testing_01.txt"}
_NAMES = "ClassName.txt"


class Sun397(ArchiveBuilder):
    """397 kinds of places, 108,754 photographs of at most 120,000 pixels.

    The splits "train" and "test" are the first of the ten official partitions, 50
    images a class each; all others are "rest". Without Partitions.zip all images are
    "train", with a warning; without ClassName.txt classes are named after folders.
    """

    images = re.compile(r"^SUN397/[a-z](?:/[^/.][^/]*){1,2}/[^/.][^/]*\.jpg$")
    lists = re.compile(r"(?:^|/)(?:ClassName|Training_01|Testing_01)\.txt$")
    rule = Rule(max_pixels=120_000)

    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        if _NAMES in lists:
            names = self.named(self.lines(lists, _NAMES), _NAMES)
        else:
            names = self.named(sorted(set(map(_class, images))), "SUN397")
        split_of = self._splits(lists, images)
        label_of = {name: label for label, name in enumerate(names)}
        rows = []
        for image in dict.fromkeys([*split_of, *images]):
            if (name := _class(image)) not in label_of:
                raise self.other_files(f"{image} is in {name}, which is no class of it")
            split = split_of.get(image, "rest" if split_of else "train")
            file = image.removeprefix("SUN397/")
            rows.append(Row(split, label_of[name], image, file))
        return Table(names, rows)

    def _splits(
        self, lists: Mapping[str, bytes], images: Sequence[str]
    ) -> dict[str, str]:
        """Maps the images that the partition names to splits; {} without it."""
        if not set(_LISTS.values()) & set(lists):
            what = "SUN397 without Partitions.zip: all %d images are the split train"
            logging.warning(what, len(images))
            return {}
        split_of = {
            f"SUN397{line}": split
            for split, name in _LISTS.items()
            for line in self.lines(lists, name)
        }
        if not split_of.keys() & set(images):
            what = f"such as {next(iter(split_of))}"
            raise self.other_files(f"no image that the lists name is there, {what}")
        return split_of


def _class(image: str) -> str:
    return image.removeprefix("SUN397").rpartition("/")[0]
