"""What meta-test may not have in common with training, and what is told of it.

A class or an image, to the byte, in two roles is refused; images that look the same and
classes that pretrained weights have seen are reported.
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

FILE = "data.json"  # of a run's folder: what its images are
_NAMED = 5
_TURNED = re.compile("@(90|180|270)$")

# Where an image stands in two roles, it is kept in the later of them here.
_KEEP_LAST = ("train", "validation", "held_out", "test")

# By a word in a data set's name; Kornblith et al. 2019 (arXiv:1805.08974), appendix H,
# counts near-duplicates of each in ImageNet.
_IN_IMAGENET = {
    "caltech": "many of its classes are classes of ImageNet",
    "oxford_pets": "most of its breeds are classes of ImageNet",
    "oxford_iiit_pet": "most of its breeds are classes of ImageNet",
}
SAMPLE = 5000  # images of a source that are looked at
BITS = 4  # of 64 that hashes of the same picture may differ in
DIFFERENCE = 6.0  # mean absolute, of 255, that thumbnails of it may differ by
_SIDE = 16  # of a thumbnail in pixels


def check(roles: Roles) -> None:
    """Refuses roles that share a class or an image.

    A class is known by its source's name and its own, a rotated one ("X@90") as the one
    that it was made from; an image by its pixels at the size that it is read at, also
    under another name, where `Source.hashes` is known.

    Raises:
      ValueError: two roles overlap; names the pair and the classes or images.
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
    """Pairs rows of `source` whose images `against` has with the first row there."""
    alike = source.images.shape[1:] == against.images.shape[1:]
    if source.hashes is None or against.hashes is None or not alike:
        return []
    ours, theirs = rows(source), rows(against)[::-1]
    row_of = dict(zip(against.hashes[theirs].tolist(), theirs.tolist(), strict=True))
    hashed = zip(ours.tolist(), source.hashes[ours].tolist(), strict=True)
    return [(row, row_of[known]) for row, known in hashed if known in row_of]


def drop_shared(roles: Roles) -> tuple[Roles, int]:
    """Leaves out of training, then of validation, what a later use has too.

    Such images get the label -1; their number is returned too.
    """
    sources = {role: list(of_role) for role, of_role in roles._asdict().items()}
    count = 0
    for role, later in itertools.combinations(_KEEP_LAST, 2):
        for number, source in enumerate(sources[role]):
            for other in sources[later]:
                shared = [row for row, _ in _shared(source, other)]
                count += len(shared)
                labels = source.labels.copy()
                labels[shared] = -1
                source = source._replace(labels=labels)
            sources[role][number] = source
    return Roles(**{role: tuple(of_role) for role, of_role in sources.items()}), count


def place(source: Source, row: int) -> str:
    """Names an image by its class and its number within it."""
    label = source.labels[row]
    number = int(np.searchsorted(class_index(source)[label], row))
    return f"{source.class_names[label]}[{number}]"


def warnings(roles: Roles, imagenet: bool | None) -> tuple[str, ...]:
    """Writes sentences for the report, about meta-test and held-out classes.

    `imagenet` says whether pretrained weights have seen ImageNet, None where that is
    not known, and False where there are no such weights. Images are uint8.
    """
    measured, others = (
        [(name, source, look_at(source)) for name, of in named for source in of]
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
                f"Overlap: {len(pairs):,} of {_in_words(*ours)} look like one of "
                f"{_in_words(*theirs)} by perceptual hash, such as "
                f"{place(ours[1], row)} and {place(theirs[1], copy)}."
            )
    return tuple(sentences)


def by_name(name: str, imagenet: bool | None, weights: str) -> tuple[str, ...]:
    """Writes a sentence where `weights` have seen classes of the data set `name`."""
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
    """Some images of a source in short."""

    rows: np.ndarray  # int64 [n]
    hashes: np.ndarray  # uint64 [n], difference hashes (dHash)
    # float32 [n, side, side], without their mean, since brightness tells nothing
    thumbnails: np.ndarray


def look_at(source: Source) -> Look:
    """Looks at `SAMPLE` of the images at most, always the same ones."""
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

    Hashes are within `BITS`, and thumbnails within `DIFFERENCE`, since drawings on an
    empty ground have hashes much alike; mirrored and cropped copies are not found.
    """
    found: list[tuple[int, int]] = []
    for row, hashed, thumbnail in zip(*look, strict=True):
        near = np.bitwise_count(hashed ^ other.hashes) <= BITS
        apart = np.abs(thumbnail - other.thumbnails[near]).mean((1, 2))
        alike = other.rows[near][apart <= DIFFERENCE]
        found += [(int(row), int(of_other)) for of_other in alike[:1]]
    return found


def _in_words(role: str, source: Source, look: Look) -> str:
    total = len(rows(source))
    sampled = f", sampled from {total:,}" if len(look.rows) < total else ""
    return f"{len(look.rows):,} images of {role} ({source.name}{sampled})"


def store(workdir: str | os.PathLike[str], roles: Roles) -> None:
    """Stores in a run's folder what its images are."""
    atomic.write_json(pathlib.Path(workdir) / FILE, _described(roles))


def check_stored(workdir: str | os.PathLike[str], roles: Roles) -> None:
    """Refuses images that are not those of `store`; a folder without passes.

    A class more or less moves others from one role to another, so that a run that went
    on would be tested on classes that it was trained on.

    Raises:
      ValueError: naming the roles and data sets that differ.
    """
    path, now = pathlib.Path(workdir) / FILE, _described(roles)
    before = atomic.read_json(path) if path.exists() else now
    if changed := run_folder.differences(before, now):
        raise ValueError(
            f"workdir: {workdir} holds a run on other images or classes, before -> "
            f"now: {'; '.join(changed)}; put them back to go on with it, or give "
            "another --workdir"
        )


def _described(roles: Roles) -> dict[str, dict[str, str]]:
    def words(source: Source) -> str:
        known = digest.sha256((source.class_names, source.labels, source.hashes))
        classes, images = len(source.class_names), len(rows(source))
        return f"{classes} classes, {images} images (sha256 {known})"

    return {
        role: {source.name: words(source) for source in of_role}
        for role, of_role in roles._asdict().items()
    }
