"""Which images a training sees, and in which order.

All are pure functions of a seed, and most of a step. A resumed run therefore gets the
same images in the same order, and so does another initialisation of the same seed.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from metainit.config.fields import Joint, Task
from metainit.core.types import Episode
from metainit.data.episodes import alike, generator, sample_batch, turns, weights
from metainit.data.loading import Source, class_index
from metainit.data.loading import rows as rows_of
from metainit.runtime import digest, placement


def labelled(source: Source, seed: int, shot: int) -> np.ndarray:
    """Draws the images whose labels may be used: `shot` of each class, or all for 0.

    The images of a smaller `shot` are among those of a larger one.

    Returns:
      Their rows, int64 and ascending.

    Raises:
      ValueError: a class has fewer than `shot` images.
    """
    if not shot:
        return rows_of(source)
    drawn = []
    for label, rows in enumerate(class_index(source)):
        if shot > len(rows):
            raise ValueError(
                f"{shot=} is more than the {len(rows)} training images of class "
                f"{source.class_names[label]!r} of {source.name}"
            )
        drawn.append(generator(seed, 1, label).permutation(rows)[:shot])
    return np.sort(np.concatenate(drawn))


def hold_out(source: Source, seed: int, share: float) -> tuple[Source, Source]:
    """Splits the images of each class into a training and a test side.

    Args:
      source: the images of both sides.
      seed: decides which images are held out.
      share: of each class that is held out, above 0 and below 1. Its number of images
        is rounded, and each side has at least one.

    Returns:
      The training and the test side. Each is the source, with the label -1 for the
      images of the other side.

    Raises:
      ValueError: a class has fewer than two images.
    """
    held_out = np.zeros(len(source.labels), bool)
    for label, rows in enumerate(class_index(source)):
        if len(rows) < 2:
            raise ValueError(
                f"{source.name}: class {source.class_names[label]!r} has fewer than 2 "
                "images, so that none can be held out; leave the class out"
            )
        count = min(max(1, math.floor(share * len(rows) + 0.5)), len(rows) - 1)
        held_out[generator(seed, 3, label).permutation(rows)[:count]] = True
    train, test = (np.where(x, -1, source.labels) for x in (held_out, ~held_out))
    return source._replace(labels=train), source._replace(labels=test)


def part(rows: np.ndarray, seed: int, count: int) -> np.ndarray:
    """Draws `count` of the rows in ascending order, or all where there are fewer."""
    chosen = generator(seed, 2).choice(rows, min(count, len(rows)), replace=False)
    return np.sort(chosen)


def chunks(rows: np.ndarray, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yields pieces of `size` rows, and how many of them are real.

    The last piece is filled up with its last row.
    """
    for first in range(0, len(rows), size):
        real = rows[first : first + size]
        yield np.pad(real, (0, size - len(real)), mode="edge"), len(real)


class Order:
    """The rows of each step of a training that goes through its images in epochs.

    Each epoch has its own permutation, and a batch may span two of them. The counts of
    how often two images were seen differ by one at most.
    """

    def __init__(self, rows: np.ndarray, seed: int, batch: int) -> None:
        """Takes the rows of the images, int64 [n], and `batch` images a step."""
        self._batch, self._n = batch, len(rows)
        self._epoch = functools.lru_cache(maxsize=2)(
            lambda epoch: generator(seed, 0, epoch).permutation(rows)
        )

    def __call__(self, step: int) -> np.ndarray:
        """Gives the rows of a step, int64 [batch]."""
        places = range(step * self._batch, (step + 1) * self._batch)
        return np.array([self._epoch(p // self._n)[p % self._n] for p in places])

    def digest(self, steps: int) -> str:
        """Computes the SHA-256 of the first `steps` steps' rows, in hexadecimal."""
        return digest.sha256(np.array([self(step) for step in range(steps)]))


class MetaBatches:
    """The tasks of each meta-iteration, a pure function of the seed and its number.

    Attributes:
      sources: the data sets that tasks are drawn from.
      stacked: whether all tasks have one shape. A batch then is an `Episode` with a
        leading axis; else it is a tuple of them, each with a leading axis of 1.
      period: after so many meta-iterations every shape was met.
    """

    def __init__(
        self, sources: tuple[Source, ...], task: Task, count: int, seed: int, rule: str
    ):
        """Prepares to draw `count` tasks for each meta-iteration.

        Args:
          sources: the data sets of meta-training.
          task: the shape of a task.
          count: tasks of a meta-iteration.
          seed: decides every draw.
          rule: how often each source has its turn, one of `episodes.WEIGHTS`.

        Raises:
          ValueError: the tasks cannot be spread over the devices.
        """
        self.sources = sources
        self._seed, self._count, self._task = seed, count, task
        self._shares = weights(sources, rule)
        self.stacked = alike(sources, task)
        if self.stacked:
            placement.check_even("meta_batch", self._count)
        self.period = 1 if self.stacked else len(sources)

    def __call__(self, step: int) -> Episode | tuple[Episode, ...]:
        """Draws the batch of meta-iteration `step`, which counts from 0."""
        first = self._first(step)
        if self.stacked:
            before, count = placement.own_share(self._count)
            stream = self._task, self._seed, first + before, count
            return placement.joined(sample_batch(self.sources, *stream, self._shares))
        numbered = enumerate(self.sources_of(step), first)
        return tuple(self._one(source, index) for index, source in numbered)

    def episodes_of(self, step: int) -> range:
        """Gives the index of each task of meta-iteration `step` in their stream."""
        return range(self._first(step), self._first(step) + self._count)

    def sources_of(self, step: int) -> list[Source]:
        """Lists the source of each task of meta-iteration `step`."""
        owners = turns(self._shares, self._first(step), self._count)
        return [self.sources[number] for number in owners]

    def one_of_each(self) -> list[Episode]:
        """Draws a task of every source, with a leading axis of 1."""
        return [self._one(source, 0) for source in self.sources]

    @property
    def mixture(self) -> dict[str, float]:
        """The share of tasks that each data set gives, by its name."""
        names = [source.name for source in self.sources]
        return dict(zip(names, self._shares, strict=True))

    @property
    def chance(self) -> float:
        """The loss of a uniform guess; the mean over sources where ways differ."""
        ways = [self._task.way or len(source.class_names) for source in self.sources]
        return float(np.dot(self._shares, np.log(ways)))

    def images(self) -> int:
        """Counts the images of a meta-iteration; the mean where ways differ."""
        ways = [self._task.way or len(source.class_names) for source in self.sources]
        way = sum(share * way for share, way in zip(self._shares, ways, strict=True))
        return self._count * round(way * (self._task.shot + self._task.queries))

    def _first(self, step: int) -> int:
        return step * self._count

    def _one(self, source: Source, index: int) -> Episode:
        return sample_batch((source,), self._task, self._seed, index, 1)


class JointBatches:
    """The images of each step of joint pretraining, a pure function of seed and step.

    The labels of a source go on where those of the source before it end. Where sources
    differ in the size of their images, each batch is of one source.
    """

    def __init__(
        self, sources: tuple[Source, ...], joint: Joint, seed: int, rule: str
    ) -> None:
        """Takes the sources, and `rule` as `MetaBatches` does."""
        self._sources, self._seed, self._joint = sources, seed, joint
        self._rows = [rows_of(source) for source in sources]
        self._counts = np.array([len(rows) for rows in self._rows])
        self.image_shape = sources[0].images.shape[1:]  # of the first source
        ways = [len(source.class_names) for source in sources]
        self.classes = sum(ways)
        self._first_class = np.cumsum([0, *ways])
        self._source_of_class = np.repeat(np.arange(len(ways)), ways)
        self._alike = len({source.images.shape[1:] for source in sources}) == 1
        self._shares = weights(sources, rule)

    def __call__(self, step: int, rate: float = 0.0) -> dict[str, Any]:
        """Draws the batch of `step`, which counts from 0.

        Args:
          step: the number of the step.
          rate: the optimizer's learning rate, which becomes a part of the batch.

        Returns:
          {"image": uint8 [n, h, w, c], "label": int32 [n], "rate": float32 []}. Where
          each data set has its own head, "classes", bool [n, classes], masks the
          classes of each image's data set.
        """
        rng = np.random.default_rng((self._seed, step))
        draws = self._joint.batch if self._alike else 1
        if self._joint.mixture == "tasks":
            owners = np.array(turns(self._shares, step * draws, draws))
        else:
            ends = np.cumsum(self._counts)
            drawn = rng.integers(ends[-1], size=draws)
            owners = np.searchsorted(ends, drawn, side="right")
        owners = np.broadcast_to(owners, self._joint.batch)
        return self._draw(owners, rng, rate)

    @property
    def mixture(self) -> dict[str, float]:
        """The share of images that each data set gives, by its name."""
        shares = self._shares
        if self._joint.mixture == "images":
            shares = tuple(self._counts / self._counts.sum())
        names = [source.name for source in self._sources]
        return dict(zip(names, shares, strict=True))

    @property
    def chance(self) -> float:
        """The loss of a uniform guess; the mean over sources that have own heads."""
        if self._joint.heads == "one":
            return math.log(self.classes)
        ways = [len(source.class_names) for source in self._sources]
        return float(np.dot([*self.mixture.values()], np.log(ways)))

    def one_of_each(self) -> Iterator[dict[str, Any]]:
        """Draws a batch of each source alone, which gives every shape of a batch."""
        for number in range(len(self._sources)):
            owners = np.full(self._joint.batch, number)
            yield self._draw(owners, np.random.default_rng(self._seed), 0.0)

    def _draw(
        self, owners: np.ndarray, rng: np.random.Generator, rate: float
    ) -> dict[str, Any]:
        """Draws an image of each owner, each of its images with equal chance."""
        places = rng.integers(self._counts[owners])
        pairs = [
            (self._sources[s], self._rows[s][place])
            for s, place in zip(owners, places, strict=True)
        ]
        labels = [source.labels[row] for source, row in pairs]
        batch = {
            "image": np.stack([source.images[row] for source, row in pairs]),
            "label": (labels + self._first_class[owners]).astype(np.int32),
            "rate": np.float32(rate),
        }
        if self._joint.heads == "by data set":
            batch["classes"] = owners[:, None] == self._source_of_class
        return batch
