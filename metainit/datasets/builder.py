"""What the seven data sets have in common: archives in, ArrayRecord out, no TensorFlow.

One pass over each archive spools the images; where the lists that say what an image
shows stand behind the images, or in another archive, that is no matter: images are
spooled first and labelled after. Then the spool is handed to TFDS, class by class.
"""

import abc
import itertools
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from metainit.datasets import archive, stored

_PIECE = 32  # images that a thread takes at once


class PrepareError(ValueError):
    """A data set that cannot be prepared from what there is."""


class Input(NamedTuple):
    """A part of a data set, as it may lie in the manual folder.

    Attributes:
      file: name of the archive, or of a file by itself.
      trees: folders that the archive unpacks to, looked for where it is missing; all
        that are there are read.
      bytes: of all files in it together, unpacked; twice as many are refused.
    """

    file: str
    trees: tuple[str, ...]
    bytes: int


class Row(NamedTuple):
    """What is said of an image.

    Attributes:
      split: name of its split.
      label: its class, an index into the table's names.
      image: its name in the spool.
      file_name: its name in the prepared data set.
    """

    split: str
    label: int
    image: str
    file_name: str


class Table(NamedTuple):
    """Every image of a data set; `names` are its classes in order."""

    names: Sequence[str]
    rows: Sequence[Row]


class Options(NamedTuple):
    """How to prepare, for every data set alike.

    Attributes:
      max_side: images with a longer side are reduced to it; 0 for none.
      fraction: of the images that is kept, those whose names hash lowest.
      skip_unreadable: leave out and count images that do not decode, in place of
        stopping.
    """

    max_side: int = 0
    fraction: float = 1.0
    skip_unreadable: bool = False


class ArchiveBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set of labelled images that is made from archives.

    A data set says which `inputs` it has, which of their files are `images` and which
    `lists`, and in `table` what the lists mean.
    """

    VERSION = tfds.core.Version("1.0.0")
    inputs: tuple[Input, ...]
    images: re.Pattern[str]
    lists: re.Pattern[str]
    rule = stored.Rule()
    homepage: str
    license: str
    citation: str

    def __init__(
        self, *, manual_dir: Path | None = None, options: Options = Options(), **kwargs
    ):
        """See `tfds.core.DatasetBuilder`; `manual_dir` holds the inputs."""
        self._manual_dir = manual_dir
        self._options = options
        super().__init__(file_format="array_record", **kwargs)

    @abc.abstractmethod
    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        """What every image shows.

        Args:
          lists: the files that matched `lists`, by name.
          images: names of the images that there are.

        Returns:
          The table. A row whose image is not among `images` is one that is missing.

        Raises:
          PrepareError: lists that are missing or not of this data set.
        """

    def unpack(
        self, member: archive.Member
    ) -> Iterator[tuple[str, bytes | np.ndarray]]:
        """The images in a file that matched `images`: itself, unless overridden."""
        yield member.name, member.content

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=type(self).__doc__,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(),
                    "file_name": tfds.features.Text(),
                }
            ),
            supervised_keys=("image", "label"),
            # Written class by class: episodes then read neighbouring pages.
            disable_shuffling=True,
            homepage=self.homepage,
            license=self.license,
            citation=self.citation,
            metadata=tfds.core.MetadataDict(self._options._asdict()),
        )

    def _split_generators(self, dl_manager: Any) -> Mapping[str, Iterator]:
        # TFDS's unfinished folder, which is where there must be room anyway.
        self._spool = Spool(Path(os.fspath(self.data_dir)))
        lists, unreadable = self._fill(self._spool)
        table = self.table(lists, list(self._spool.names))
        rows = [row for row in table.rows if row.image in self._spool.names]
        missing = len(table.rows) - len(rows) - len(unreadable)
        self.info.features["label"].names = table.names
        self.info.metadata.update(unreadable=unreadable, missing=max(missing, 0))
        rows.sort(key=lambda row: (row.label, row.file_name))
        splits = list(dict.fromkeys(row.split for row in table.rows))
        return {
            split: self._generate_examples([row for row in rows if row.split == split])
            for split in splits
        }

    def _generate_examples(
        self, rows: Sequence[Row]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        # TFDS keeps the order of integer keys, and spills what does not fit in memory
        # to buckets by their share of 2 ** 128: spread out, they fill all buckets.
        apart = (1 << 128) // max(len(rows), 1)
        for number, row in enumerate(rows):
            yield (
                number * apart,
                {
                    "image": self._spool.read(row.image),
                    "label": row.label,
                    "file_name": row.file_name,
                },
            )

    def _fill(self, spool: "Spool") -> tuple[dict[str, bytes], list[str]]:
        """Spools the images of every input; returns lists and unreadable images."""
        lists: dict[str, bytes] = {}
        unreadable: list[str] = []
        rule = self.rule._replace(max_side=self._options.max_side)

        def images() -> Iterator[tuple[str, bytes | np.ndarray]]:
            for given in self.inputs:
                for path in locate(given, self._manual_dir):
                    yield from self._images_of(path, 2 * given.bytes, lists)

        def convert(
            piece: list[tuple[str, bytes | np.ndarray]],
        ) -> list[tuple[str, bytes | stored.Unreadable]]:
            done: list[tuple[str, bytes | stored.Unreadable]] = []
            for name, image in piece:
                try:
                    done.append((name, stored.to_stored(image, rule)))
                except stored.Unreadable as error:
                    done.append((name, error))
            return done

        threads = os.cpu_count() or 1
        rest = images()
        with ThreadPoolExecutor(threads) as pool:
            while pieces := [
                piece
                for _ in range(2 * threads)
                if (piece := list(itertools.islice(rest, _PIECE)))
            ]:
                for name, image in itertools.chain(*pool.map(convert, pieces)):
                    if isinstance(image, bytes):
                        spool.add(name, image)
                        continue
                    if not self._options.skip_unreadable:
                        raise PrepareError(
                            f"{self.name}: {name} does not decode as an image "
                            f"({image}); mend it, or pass --skip_unreadable to leave "
                            "out and count such images"
                        )
                    unreadable.append(name)
        return lists, unreadable

    def _images_of(
        self, path: Path, limit: int, lists: dict[str, bytes]
    ) -> Iterator[tuple[str, bytes | np.ndarray]]:
        """The images of one input; puts its lists into `lists`."""
        size = path.stat().st_size if path.is_file() else None
        with tqdm(
            desc=f"{self.name}: reading {path.name}",
            total=size,
            unit="B",
            unit_scale=True,
            leave=False,
            disable=None,
        ) as bar:
            count = 0
            for member in archive.members(
                path,
                lambda name: bool(self.images.search(name) or self.lists.search(name)),
                limit,
                bar.update,
            ):
                if self.lists.search(member.name):
                    lists[member.name] = member.content
                    continue
                for name, image in self.unpack(member):
                    if _share(name) < self._options.fraction:
                        count += 1
                        bar.set_postfix_str(f"{count} images", refresh=False)
                        yield name, image


class Spool:
    """Byte strings by name, in a file without a name: it cannot be left behind."""

    def __init__(self, folder: Path):
        self._file = tempfile.TemporaryFile(dir=folder)
        self._end = 0
        self.names: dict[str, tuple[int, int]] = {}

    def add(self, name: str, content: bytes) -> None:
        self._file.seek(self._end)
        self._file.write(content)
        self.names[name] = self._end, len(content)
        self._end += len(content)

    def read(self, name: str) -> bytes:
        start, length = self.names[name]
        self._file.seek(start)
        return self._file.read(length)


def locate(given: Input, manual_dir: Path) -> list[Path]:
    """The archive, or else the folders that it unpacks to.

    Raises:
      PrepareError: neither is there.
    """
    if (manual_dir / given.file).is_file():
        return [manual_dir / given.file]
    if found := [
        manual_dir / tree for tree in given.trees if (manual_dir / tree).is_dir()
    ]:
        return found
    unpacked = f", unpacked as {' and '.join(given.trees)}" if given.trees else ""
    raise PrepareError(f"there is no {given.file} in {manual_dir}{unpacked}")


def _share(name: str) -> float:
    """A number in [0, 1) that looks random and stays the same."""
    return zlib.crc32(name.encode()) / 2**32
