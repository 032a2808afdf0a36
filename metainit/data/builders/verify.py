"""Whether a prepared data set is what its catalog entry says."""

import collections
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import tensorflow_datasets as tfds
from tqdm import tqdm

from metainit.data import images
from metainit.data.builders import catalog, prepared, ready

_SAMPLE = 200


class Verdict(NamedTuple):
    """What was found.

    Attributes:
      images: how many by split.
      classes: with at least one image.
      per_class: least and most images of a class, all splits together.
      decoded: images that were decoded.
      problems: a line each; none where all is right.
      notes: a line each, of what is not wrong but not checked either.
    """

    images: Mapping[str, int]
    classes: int
    per_class: tuple[int, int]
    decoded: int
    problems: list[str]
    notes: list[str]


def verify(entry: catalog.Entry, folder: Path) -> Verdict:
    """Counts every image of every class and split, and decodes a sample.

    A data set of which only a fraction was prepared is not counted against the
    catalog; images that were left out as unreadable or missing are allowed for.

    Args:
      entry: of the data set.
      folder: where it is prepared.
    """
    builder = tfds.builder_from_directory(folder)
    settings = ready.read(folder).settings
    total = sum(split.num_examples for split in builder.info.splits.values())
    every = max(1, total // _SAMPLE)
    by_split: collections.Counter[str] = collections.Counter()
    by_class: collections.Counter[int] = collections.Counter()
    problems: list[str] = []
    decoded = 0
    with tqdm(
        desc=f"{entry.name}: counting", total=total, unit="image", disable=None
    ) as bar:
        for split in sorted(builder.info.splits):
            for item in _items(builder, split, problems):
                if sum(by_split.values()) % every == 0:
                    try:
                        images.decode(item, 32, 3, skip=False)
                        decoded += 1
                    except ValueError as error:
                        problems.append(str(error).partition(";")[0])
                by_split[split] += 1
                by_class[item.label] += 1
                bar.update()
    found = Verdict(
        dict(by_split),
        len(by_class),
        (min(by_class.values(), default=0), max(by_class.values(), default=0)),
        decoded,
        problems,
        [],
    )
    _compare(entry, settings, found)
    return found


def _items(
    builder: tfds.core.DatasetBuilder, split: str, problems: list[str]
) -> Iterator[images.Encoded]:
    """The images of a split, as far as its files can be read."""
    try:
        yield from prepared.encoded(builder, [split])
    # ArrayRecord's reader has no other kind of error.
    except RuntimeError as error:
        problems.append(
            f"the files of {split} are damaged ({error}); delete {builder.data_dir} "
            "and prepare it again"
        )


def _compare(entry: catalog.Entry, settings: Mapping, found: Verdict) -> None:
    """Adds what differs from the catalog to the problems and notes."""
    if settings.get("fraction", 1.0) < 1:
        found.notes.append(
            f"only a fraction of {settings['fraction']:g} was prepared, so the counts "
            "are not compared with the catalog"
        )
        return
    left_out = settings.get("unreadable", 0) + settings.get("missing", 0)
    total = sum(found.images.values())
    if total + left_out != entry.total:
        found.problems.append(
            f"{total:,} images"
            + (f" and {left_out:,} left out" if left_out else "")
            + f", the catalog has {entry.total:,}"
        )
    if found.classes != entry.classes:
        found.problems.append(
            f"{found.classes} classes, the catalog has {entry.classes}"
        )
    if set(found.images) != set(entry.images):
        found.notes.append(
            f"the splits are {', '.join(found.images)}, in the catalog "
            f"{', '.join(entry.images)}"
        )
    else:
        for split, count in found.images.items():
            expected = entry.images[split]
            if expected is not None and not 0 <= expected - count <= left_out:
                found.problems.append(
                    f"{count:,} images in {split}, the catalog has {expected:,}"
                )
    if entry.per_class:
        (least, most), (low, high) = found.per_class, entry.per_class
        if most > high or least < low - left_out:
            found.problems.append(
                f"{least} to {most} images a class, the catalog has {low} to {high}"
            )
