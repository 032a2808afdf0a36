"""What the seven data sets have in common: archives in, ArrayRecord out, no TensorFlow.

One pass over each archive spools the images; where the lists that say what an image
shows stand behind the images, or in another archive, that is no matter: images are
spooled first and labelled after. Then the spool is handed to TFDS, class by class, in
shards of our choice: what TFDS shards by itself it sorts on disk with TensorFlow, where
that is more than 1 GB.
"""

import abc
import contextlib
import logging
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from metainit.data import stored
from metainit.data.builders import archive, catalog
from metainit.data.builders.ahead import ahead, pieces
from metainit.data.builders.inputs import Input, PrepareError, locate
from metainit.data.builders.spool import Spool

_PIECE = 1 << 20  # bytes of images that a thread takes at once
_SHARD = 128 << 20  # bytes of images in a shard; all of them are in memory once
_NAMED = 10  # images that a message names


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
      skip_unreadable: leave out and count images that do not decode, and those that
        the lists name but that are missing, in place of stopping.
    """

    max_side: int = 0
    fraction: float = 1.0
    skip_unreadable: bool = False


_EVERYTHING = Options()


class ArchiveBuilder(tfds.core.ShardBasedBuilder):
    """A data set of labelled images that is made from archives.

    A data set says which `inputs` it has, which of their files are `images` and which
    `lists`, and in `table` what the lists mean. `prepared.prepare` runs it.

    The metadata of a prepared data set have the fields of its `Options`, and the
    numbers of images left out as "unreadable" and as "missing".
    """

    VERSION = tfds.core.Version("1.0.0")
    inputs: tuple[Input, ...]
    images: re.Pattern[str]
    lists: re.Pattern[str]
    rule = stored.Rule()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keeps it out of TFDS's registry, where some of these names are taken."""
        super().__init_subclass__(**kwargs | {"skip_registration": True})

    def __init__(
        self,
        *,
        manual_dir: Path | None = None,
        options: Options = _EVERYTHING,
        **kwargs: Any,
    ):
        """See `tfds.core.DatasetBuilder`.

        Args:
          manual_dir: where the inputs are, see `locate`; for preparing only.
          options: how to prepare.
          **kwargs: of `tfds.core.DatasetBuilder`.

        Raises:
          PrepareError: options that make no sense.
        """
        if not 0 < options.fraction <= 1:
            raise PrepareError(
                f"fraction={options.fraction}; it must be above 0 and at most 1"
            )
        if options.max_side < 0:
            raise PrepareError(
                f"max_side={options.max_side}; it must be a number of pixels, or 0"
            )
        self._manual_dir = manual_dir
        self._options = options
        super().__init__(file_format="array_record", **kwargs)

    @abc.abstractmethod
    def table(self, lists: Mapping[str, bytes], images: Sequence[str]) -> Table:
        """What every image shows.

        Args:
          lists: the files that matched `lists`, by name.
          images: names of the images that there are, readable or not.

        Returns:
          The table. A row whose image is not among `images` is one that is missing.

        Raises:
          PrepareError: lists that are missing or not of this data set.
        """

    def unpack(
        self, member: archive.Member
    ) -> Iterator[tuple[str, bytes | np.ndarray]]:
        """The images in a file that matched `images`: itself, unless overridden.

        An image is the content of a file or, without loss, uint8 [H, W, 3].
        """
        yield member.name, member.content

    @property
    def options(self) -> Options:
        """How to prepare."""
        return self._options

    def room(self) -> int:
        """Bytes that preparing takes at most: its images twice, until it is done."""
        every = sum(given.bytes for given in self.inputs)
        return int(2 * every * self._options.fraction)

    def _info(self) -> tfds.core.DatasetInfo:
        entry = catalog.find(self.name)
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
            disable_shuffling=True,
            homepage=entry.homepage,
            license=entry.licence or entry.terms,
            citation=entry.citation,
            metadata=tfds.core.MetadataDict(self._options._asdict()),
        )

    def _download_and_prepare(
        self, dl_manager: Any, download_config: Any = None
    ) -> None:
        with contextlib.ExitStack() as self._until_written:
            super()._download_and_prepare(dl_manager, download_config)

    def _shard_iterators_per_split(
        self, dl_manager: Any
    ) -> dict[str, list[Callable[[], Iterator[tuple[int, dict[str, Any]]]]]]:
        # TFDS's unfinished folder, which is where there must be room anyway.
        spool = self._until_written.enter_context(Spool(Path(self.data_dir)))
        lists, unreadable = self._fill(spool)
        table = self.table(lists, [*spool.names, *unreadable])
        rows = self._present(table.rows, spool, unreadable)
        self.info.features["label"].names = list(table.names)
        bar = self._until_written.enter_context(
            tqdm(
                desc=f"{self.name}: writing",
                total=len(rows),
                unit="image",
                leave=False,
                disable=None,
            )
        )

        def shard(
            rows: Sequence[Row],
        ) -> Callable[[], Iterator[tuple[int, dict[str, Any]]]]:
            def examples() -> Iterator[tuple[int, dict[str, Any]]]:
                for number, row in enumerate(rows):
                    yield (
                        number,
                        {
                            "image": spool.read(row.image),
                            "label": row.label,
                            "file_name": row.file_name,
                        },
                    )
                    bar.update()

            return examples

        # Class by class: episodes then read neighbouring pages.
        rows.sort(key=lambda row: (row.label, row.file_name))
        shards: dict[str, list[Callable]] = {}
        if not rows:
            raise self._nothing_left("any split")
        for split in dict.fromkeys(row.split for row in table.rows):
            chosen = [row for row in rows if row.split == split]
            if not chosen:
                raise self._nothing_left(f"the split {split!r}")
            shards[split] = [
                shard(some)
                for some in pieces(
                    chosen, lambda row: spool.names[row.image][1], _SHARD
                )
            ]
        return shards

    def _nothing_left(self, where: str) -> PrepareError:
        return PrepareError(
            f"{self.name}: no image is left for {where} with "
            f"fraction={self._options.fraction}; take more of them"
        )

    def _present(
        self, rows: Sequence[Row], spool: Spool, unreadable: Mapping[str, str]
    ) -> list[Row]:
        """The rows that have their images; counts the others, or refuses them.

        An unreadable image that the lists do not name does no harm.
        """
        broken, missing, present = [], [], []
        for row in rows:
            if row.image in spool.names:
                present.append(row)
            elif row.image in unreadable:
                broken.append(f"{row.image} ({unreadable[row.image]})")
            elif _share(row.image) < self._options.fraction:
                missing.append(row.image)
        self.info.metadata.update(unreadable=len(broken), missing=len(missing))
        wrong = " and ".join(
            f"{len(names)} {what}: {', '.join(names[:_NAMED])}"
            + (", and so on" if len(names) > _NAMED else "")
            for names, what in (
                (broken, "images that do not decode"),
                (missing, "images that the lists name but that are missing"),
            )
            if names
        )
        if wrong and not self._options.skip_unreadable:
            raise PrepareError(
                f"{self.name} has {wrong}; mend or add them, or pass --skip_unreadable "
                "to leave out and count such images"
            )
        if wrong:
            logging.warning("%s: left out %s", self.name, wrong)
        return present

    def _fill(self, spool: Spool) -> tuple[dict[str, bytes], dict[str, str]]:
        """Spools the images of every input.

        Returns:
          The lists by name; by the names of images that do not decode, why not.

        Raises:
          PrepareError: an input that is missing, or no image at all.
        """
        lists: dict[str, bytes] = {}
        unreadable: dict[str, str] = {}
        rule = self.rule._replace(max_side=self._options.max_side)
        if self._manual_dir is None:
            raise PrepareError(
                f"{self.name} cannot be prepared without a manual_dir with "
                + " and ".join(given.file for given in self.inputs)
            )
        found = [
            (given, path)
            for given in self.inputs
            for path in locate(given, self._manual_dir, self.name)
        ]

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

        seen = 0

        def images() -> Iterator[tuple[str, bytes | np.ndarray]]:
            nonlocal seen
            for given, path in found:
                for name, image in self._images_of(path, 2 * given.bytes, lists):
                    seen += 1
                    if _share(name) < self._options.fraction:
                        yield name, image

        def size(item: tuple[str, bytes | np.ndarray]) -> int:
            image = item[1]
            return image.nbytes if isinstance(image, np.ndarray) else len(image)

        for name, image in ahead(convert, pieces(images(), size, _PIECE)):
            if isinstance(image, bytes):
                spool.add(name, image)
            else:
                unreadable[name] = str(image)
        if not seen:
            raise PrepareError(
                f"{' and '.join(str(path) for _, path in found)}: no file in there is "
                f"named like an image of {self.name}, {self.images.pattern}; put the "
                "official archive there, or what it unpacks to"
            )
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
                for item in self.unpack(member):
                    count += 1
                    bar.set_postfix_str(f"{count} images", refresh=False)
                    yield item


def _share(name: str) -> float:
    """A number in [0, 1) that looks random and stays the same."""
    return zlib.crc32(name.encode()) / 2**32
