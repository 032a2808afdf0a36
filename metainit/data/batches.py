"""Which images of a data set are learned from, and in which order.

Pure functions of a seed (and a step): a resumed run, and another initialisation of the
same seed, gets the same images in the same order.
"""

import functools
import hashlib
import math

import numpy as np

from metainit.data.loading import Source, class_index


def labelled(source: Source, seed: int, fraction: float, shot: int) -> np.ndarray:
    """Rows of the images whose labels may be used, stratified by class.

    Those of a smaller share are among those of a larger one.

    Args:
      source: of the images; those labelled -1 are left out.
      seed: of the choice.
      fraction: share of each class, above 0 to 1, rounded to the nearest number.
      shot: images of each class in place of a share; 0 for the share.

    Returns:
      Ascending int64 rows.

    Raises:
      ValueError: a class would be left with none, or has too few.
    """
    kept = []
    for label, found in enumerate(class_index(source)):
        count = shot or math.floor(fraction * len(found) + 0.5)
        if not 0 < count <= len(found):
            wrong = (
                f"shot={shot} is more than"
                if shot
                else f"fraction={fraction} leaves none of"
            )
            raise ValueError(
                f"{wrong} the {len(found)} training images of class "
                f"{source.class_names[label]!r} of {source.name}"
            )
        kept.append(_generator(seed, 1, label).permutation(found)[:count])
    return np.sort(np.concatenate(kept))


def hold_out(source: Source, seed: int, share: float) -> tuple[Source, Source]:
    """Images to learn from and images to be judged on, stratified by class.

    Args:
      source: of the images; those labelled -1 are in neither.
      seed: of the split.
      share: of each class that is held out, above 0 and below 1; rounded, one image at
        least on either side.

    Returns:
      The source twice, over the same images: label -1 for those of the other side.

    Raises:
      ValueError: a class with fewer than two images.
    """
    labels = source.labels.copy(), source.labels.copy()
    for label, found in enumerate(class_index(source)):
        if len(found) < 2:
            raise ValueError(
                f"{source.name}: class {source.class_names[label]!r} has fewer than 2 "
                "images, so that none can be held out; leave the class out"
            )
        count = min(max(1, math.floor(share * len(found) + 0.5)), len(found) - 1)
        order = _generator(seed, 3, label).permutation(found)
        labels[0][order[:count]] = -1
        labels[1][order[count:]] = -1
    return source._replace(labels=labels[0]), source._replace(labels=labels[1])


def part(rows: np.ndarray, seed: int, count: int) -> np.ndarray:
    """`count` of the rows, or all where there are fewer, ascending."""
    chosen = _generator(seed, 2).choice(rows, min(count, len(rows)), replace=False)
    return np.sort(chosen)


class Order:
    """The rows of each step: one permutation of the images after another.

    An endless row of epochs, cut into batches, so that a batch may span two epochs and
    every image is seen as often as any other, give or take one.
    """

    def __init__(self, rows: np.ndarray, seed: int, batch: int) -> None:
        """Args: rows int64 [n] of the images; the seed; images a step."""
        self._batch, self._n = batch, len(rows)
        self._epoch = functools.lru_cache(maxsize=2)(
            lambda epoch: _generator(seed, 0, epoch).permutation(rows)
        )

    def __call__(self, step: int) -> np.ndarray:
        """Rows int64 [batch] of a step, a pure function of it."""
        places = range(step * self._batch, (step + 1) * self._batch)
        return np.array([self._epoch(p // self._n)[p % self._n] for p in places])

    def digest(self, steps: int) -> str:
        """SHA-256 of the rows of the first `steps` steps, as hexadecimal digits."""
        digest = hashlib.sha256()
        for step in range(steps):
            digest.update(self(step).astype("<i8").tobytes())
        return digest.hexdigest()


def _generator(seed: int, *purpose: int) -> np.random.Generator:
    # As a spawn key, the purpose cannot run into the words of a large seed.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=purpose))
