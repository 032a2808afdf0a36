"""Finds what meta-test has in common with training.

Two roles that share a class, or an image to the byte, are refused. Images that look the
same, and classes that pretrained weights have seen, are reported.
"""

import itertools
import os
import pathlib
import re
from typing import NamedTuple

import numpy as np
from PIL import Image

from metainit.data.loading import Roles, Source, class_index, rows
from metainit.runtime import atomic, digest, run_folder

FILE = "data.json"  # in a run's folder, identifies its images
_NAMED = 5
_TURNED = re.compile("@(90|180|270)$")

# An image that stands in two roles stays in the later one of this list.
_KEEP_LAST = ("train", "validation", "held_out", "test")

# Found by a word in a data set's name. Kornblith et al. 2019 (arXiv:1805.08974) count
# the near-duplicates of each in ImageNet, in appendix H.
_IN_IMAGENET = {
    "caltech": "many of its classes are classes of ImageNet",
    "oxford_pets": "most of its breeds are classes of ImageNet",
    "oxford_iiit_pet": "most of its breeds are classes of ImageNet",
}
SAMPLE = 5000  # images of a source that are compared
BITS = 4  # of 64: two hashes of one picture differ in so many at most
DIFFERENCE = (
    6.0  # of 255: the most that two thumbnails of one picture differ on average
)
_SIDE = 16  # of a thumbnail in pixels


def check(roles: Roles) -> None:
    """Refuses roles that share a class or an image.

    Two classes are the same if their own names and their sources' names are; a rotated
    class ("X@90") counts as the class that it was made from. Two images are the same
    if their pixels are, whatever their names, where `Source.hashes` is known.

    Raises:
      ValueError: two roles overlap. It names them, and the classes or images.
    """
    for first, second in itertools.combinations(Roles._fields, 2):
        ours, theirs = getattr(roles, first), getattr(roles, second)
        if shared := sorted(_classes(ours) & _classes(theirs)):
            names = ", ".join(f"{source}: {name}" for source, name in shared[:_NAMED])
            raise ValueError(
                f"{len(shared)} classes of {first} and {second} overlap: {names}; each "
                "may stand in one role only, or the result is not on unseen classes"
            )
        for source, other in itertools.product(ours, theirs):
            if not (copies := _shared(source, other)):
                continue
            pairs = (f"{place(source, a)} and {place(other, b)}" for a, b in copies)
            named = "; ".join(itertools.islice(pairs, _NAMED))
            raise ValueError(
                f"{first} ({source.name}) and {second} ({other.name}) have "
                f"{len(copies)} images in common: {named}; remove them from one data "
                "set, or set data.drop_shared=True to leave them out of "
                f"{min(first, second, key=_KEEP_LAST.index)}"
            )


def _classes(sources: tuple[Source, ...]) -> set[tuple[str, str]]:
    return {(x.name, _TURNED.sub("", name)) for x in sources for name in x.class_names}


def _shared(source: Source, against: Source) -> list[tuple[int, int]]:
    """Pairs the rows of images that `against` has too with their first row there."""
    alike = source.images.shape[1:] == against.images.shape[1:]
    if source.hashes is None or against.hashes is None or not alike:
        return []
    ours, theirs = rows(source), rows(against)[::-1]
    row_of = dict(zip(against.hashes[theirs].tolist(), theirs.tolist(), strict=True))
    hashed = zip(ours.tolist(), source.hashes[ours].tolist(), strict=True)
    return [(row, row_of[known]) for row, known in hashed if known in row_of]


def drop_shared(roles: Roles) -> tuple[Roles, int]:
    """Leaves images out of each role that a role later in `_KEEP_LAST` has too.

    Returns:
      The roles, where such images have the label -1, and the number of such images.
    """
    kept = {role: list(sources) for role, sources in roles._asdict().items()}
    count = 0
    for role, later in itertools.combinations(_KEEP_LAST, 2):
        for number, source in enumerate(kept[role]):
            for other in kept[later]:
                shared = [row for row, _ in _shared(source, other)]
                count += len(shared)
                labels = source.labels.copy()
                labels[shared] = -1
                source = source._replace(labels=labels)
            kept[role][number] = source
    return Roles(**{role: tuple(sources) for role, sources in kept.items()}), count


def place(source: Source, row: int) -> str:
    """Names an image by its class and its number within it."""
    label = source.labels[row]
    number = int(np.searchsorted(class_index(source)[label], row))
    return f"{source.class_names[label]}[{number}]"


def warnings(roles: Roles, imagenet: bool | None) -> tuple[str, ...]:
    """Writes a report's sentences about overlaps of meta-test and held-out classes.

    Args:
      roles: sources of uint8 images.
      imagenet: whether pretrained weights have seen ImageNet; None where that is not
        known, and False where there are no such weights.
    """
    measured, others = (
        [(name, x, look_at(x)) for name, sources in named for x in sources]
        for named in (
            (("meta-test", roles.test), ("held-out classes", roles.held_out)),
            (("meta-train", roles.train), ("meta-validation", roles.validation)),
        )
    )
    sentences: list[str] = []
    for role, source, _ in measured:
        name = f"{source.name} ({role})"
        sentences += by_name(name, imagenet, "the pretrained weights")
    for ours, theirs in itertools.product(measured, others):
        if pairs := near_duplicates(ours[2], theirs[2]):
            row, copy = pairs[0]
            sentences.append(
                f"Overlap: {len(pairs):,} of {_described(*ours)} look like one of "
                f"{_described(*theirs)} by perceptual hash, such as "
                f"{place(ours[1], row)} and {place(theirs[1], copy)}."
            )
    return tuple(sentences)


def by_name(name: str, imagenet: bool | None, weights: str) -> tuple[str, ...]:
    """Writes a sentence if `weights` have seen classes of the data set `name`."""
    if imagenet is False:
        return ()
    seen = "were trained on ImageNet" if imagenet else "may have seen ImageNet"
    return tuple(
        f"Overlap: {weights} {seen}, and of {name} {classes}; these are not unseen "
        "classes."
        for word, classes in _IN_IMAGENET.items()
        if word in name.lower()
    )


class Look(NamedTuple):
    """What is compared of some images of a source."""

    rows: np.ndarray  # int64 [n]
    hashes: np.ndarray  # uint64 [n], difference hashes (dHash)
    # float32 [n, side, side] without their mean, so that brightness does not count
    thumbnails: np.ndarray


def look_at(source: Source) -> Look:
    """Hashes `SAMPLE` of the images at most, and always the same ones."""
    chosen = rows(source)
    if len(chosen) > SAMPLE:
        rng = np.random.default_rng(0)
        chosen = np.sort(rng.choice(chosen, SAMPLE, replace=False))
    hashes = np.empty(len(chosen), np.uint64)
    thumbnails = np.empty((len(chosen), _SIDE, _SIDE), np.float32)
    box = Image.Resampling.BOX
    for number, row in enumerate(chosen):
        pixels = source.images[row]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        grey = image.convert("L")
        small = np.asarray(grey.resize((9, 8), box))
        hashes[number] = np.packbits(small[:, 1:] > small[:, :-1]).view(np.uint64)[0]
        thumbnails[number] = np.asarray(grey.resize((_SIDE, _SIDE), box))
    thumbnails -= thumbnails.mean((1, 2), keepdims=True)
    return Look(chosen, hashes, thumbnails)


def near_duplicates(look: Look, other: Look) -> list[tuple[int, int]]:
    """Pairs rows of images with the first that differs in size or brightness only.

    Hashes must be within `BITS` and thumbnails within `DIFFERENCE`: the hashes of two
    drawings on an empty ground are alike. Mirrored and cropped copies are not found.
    """
    pairs: list[tuple[int, int]] = []
    for row, hashed, thumbnail in zip(*look, strict=True):
        near = np.bitwise_count(hashed ^ other.hashes) <= BITS
        apart = np.abs(thumbnail - other.thumbnails[near]).mean((1, 2))
        alike = other.rows[near][apart <= DIFFERENCE]
        pairs += [(int(row), int(copy)) for copy in alike[:1]]
    return pairs


def _described(role: str, source: Source, look: Look) -> str:
    total = len(rows(source))
    sampled = f", sampled from {total:,}" if len(look.rows) < total else ""
    return f"{len(look.rows):,} images of {role} ({source.name}{sampled})"


def store(workdir: str | os.PathLike[str], roles: Roles) -> None:
    """Writes to a run's folder what identifies its images."""
    atomic.write_json(pathlib.Path(workdir) / FILE, _identified(roles))


def check_stored(workdir: str | os.PathLike[str], roles: Roles) -> None:
    """Refuses images other than those of `store`, if the folder has such a file.

    One class more or less moves others from one role to another. A run that went on
    with them would be tested on classes that it was trained on.

    Raises:
      ValueError: the images differ. It names the roles and data sets.
    """
    path, now = pathlib.Path(workdir) / FILE, _identified(roles)
    before = atomic.read_json(path) if path.exists() else now
    if changed := run_folder.differences(before, now):
        raise ValueError(
            f"workdir: {workdir} holds a run on other images or classes, before -> "
            f"now: {'; '.join(changed)}; put them back to go on with it, or give "
            "another --workdir"
        )


def _identified(roles: Roles) -> dict[str, dict[str, str]]:
    def summary(source: Source) -> str:
        known = digest.sha256((source.class_names, source.labels, source.hashes))
        classes, images = len(source.class_names), len(rows(source))
        return f"{classes} classes, {images} images (sha256 {known})"

    return {
        role: {source.name: summary(source) for source in sources}
        for role, sources in roles._asdict().items()
    }
