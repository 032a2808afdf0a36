"""What meta-test has in common with other data, short of what is refused: warnings.

`metainit.data.leakage` refuses images that are the same to the byte. Here are those
that only look the same, and data sets whose classes pretrained weights have seen.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from PIL import Image

from metainit.data.leakage import place
from metainit.data.loading import Roles, Source, rows

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
_CHUNK = 1000


class Found(NamedTuple):
    """Images of one source that look like images of another.

    Attributes:
      number: of them, each counted once.
      looked_at: rows of both sources that were compared.
      example: a row of each.
    """

    number: int
    looked_at: tuple[np.ndarray, np.ndarray]
    example: tuple[int, int]


def warnings(roles: Roles, trained_on: str | None) -> tuple[str, ...]:
    """Sentences for the report, about meta-test and held-out classes.

    Args:
      roles: of uint8 images.
      trained_on: what pretrained weights have seen, in words, "" where not known; None
        where there are no such weights.
    """
    found: list[str] = []
    measured = [("meta-test", s) for s in roles.test]
    measured += [("held-out classes", s) for s in roles.held_out]
    for role, source in measured:
        name = f"{source.name} ({role})"
        found += by_name(name, trained_on, "the pretrained weights")
    others = [("meta-train", s) for s in roles.train]
    others += [("meta-validation", s) for s in roles.validation]
    for (role, source), (other_role, other) in itertools.product(measured, others):
        if (near := near_duplicates(source, other)) is None:
            continue
        one, two = near.example
        ours, theirs = (
            _in_words(s, len(looked), r)
            for s, looked, r in zip(
                (source, other), near.looked_at, (role, other_role), strict=True
            )
        )
        found.append(
            f"Overlap: {near.number:,} of {ours} look like one of {theirs} by "
            f"perceptual hash, such as {place(source, one)} and {place(other, two)}."
        )
    return tuple(found)


def by_name(name: str, trained_on: str | None, weights: str) -> tuple[str, ...]:
    """A sentence where pretrained weights have seen a data set's classes.

    Args:
      name: of the data set, and in brackets its role.
      trained_on: as for `warnings`.
      weights: whose they are, in words.
    """
    if trained_on is None or (trained_on and "ImageNet" not in trained_on):
        return ()
    seen = "were trained on ImageNet" if trained_on else "may have seen ImageNet"
    return tuple(
        f"Overlap: {weights} {seen}, and of {name} {classes}; these are not unseen "
        "classes."
        for word, classes in _IN_IMAGENET.items()
        if word in name.lower()
    )


def _in_words(source: Source, looked: int, role: str) -> str:
    total = len(rows(source))
    sampled = f", sampled from {total:,}" if looked < total else ""
    return f"{looked:,} images of {role} ({source.name}{sampled})"


def near_duplicates(source: Source, other: Source) -> Found | None:
    """Images that differ in size, compression or brightness only; None for none.

    Difference hashes (dHash) within `BITS`, and thumbnails within `DIFFERENCE`, since
    drawings on an empty ground have hashes much alike. Mirrored and cropped copies are
    not found.

    Args:
      source: of uint8 images, whose near-duplicates are counted.
      other: to look for them in.
    """
    ours, theirs = _sample(source), _sample(other)
    first, second = _look(source, ours), _look(other, theirs)
    count, example = 0, None
    for start in range(0, len(ours), _CHUNK):
        of_chunk = first.hashes[start : start + _CHUNK]
        bits = np.bitwise_count(of_chunk[:, None] ^ second.hashes)
        pairs = np.argwhere(bits <= BITS) + np.array([start, 0])
        near = np.zeros(0, int)
        for piece in np.array_split(pairs, len(pairs) // _CHUNK + 1):
            one, two = piece.T
            apart = np.abs(first.thumbnails[one] - second.thumbnails[two]).mean((1, 2))
            one, two = piece[apart <= DIFFERENCE].T
            near = np.union1d(near, one)
            if example is None and len(one):
                example = int(ours[one[0]]), int(theirs[two[0]])
        count += len(near)
    return Found(count, (ours, theirs), example) if example else None


class _Look(NamedTuple):
    """Images in short: uint64 [n], float32 [n, side, side]."""

    hashes: np.ndarray
    thumbnails: np.ndarray


def _look(source: Source, chosen: np.ndarray) -> _Look:
    hashes = np.empty(len(chosen), np.uint64)
    thumbnails = np.empty((len(chosen), _SIDE, _SIDE), np.float32)
    for number, row in enumerate(chosen):
        pixels = source.images[row]
        grey = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        grey = grey.convert("L")
        small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX))
        rises = small[:, 1:] > small[:, :-1]
        hashes[number] = np.packbits(rises).view(np.uint64)[0]
        thumbnail = np.asarray(
            grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32
        )
        thumbnails[number] = thumbnail - thumbnail.mean()  # brightness tells nothing
    return _Look(hashes, thumbnails)


def _sample(source: Source) -> np.ndarray:
    """Rows to look at, always the same ones."""
    there = rows(source)
    if len(there) <= SAMPLE:
        return there
    return np.sort(np.random.default_rng(0).choice(there, SAMPLE, replace=False))
