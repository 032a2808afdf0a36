"""The tasks of every meta-iteration."""

from typing import Any

from ml_collections import ConfigDict

from metainit.data.episodes import EpisodeSpec, alike, sample_batch, turn, weights
from metainit.data.loading import Source


class MetaBatches:
    """Tasks of a meta-iteration: a pure function of the seed and of its number.

    Attributes:
      sources: of meta-train.
      stacked: whether tasks have one shape, so that a batch is an `Episode` with a
        leading axis; else it is a tuple of them, each with a leading axis of 1.
      period: meta-iterations that it takes to meet every shape.
    """

    def __init__(self, config: ConfigDict, sources: tuple[Source, ...]):
        """Takes the settings of an experiment and its meta-train data."""
        self.sources = sources
        self._seed, self._count = config.seed, config.meta_batch
        self._spec = EpisodeSpec(**config.train_task)
        self._shares = weights(sources, config.data.weights)
        self.stacked = alike(sources, self._spec)
        self.period = 1 if self.stacked else len(sources)

    def __call__(self, step: int) -> Any:
        """The batch of meta-iteration `step`, from 0."""
        first = step * self._count
        if not self.stacked:
            of_each = enumerate(self.sources_of(step), start=first)
            return tuple(self._one(source, index) for index, source in of_each)
        return sample_batch(
            self.sources, self._spec, self._seed, first, self._count, self._shares
        )[0]

    def sources_of(self, step: int) -> list[Source]:
        """Of each task of meta-iteration `step`."""
        first = step * self._count
        numbers = range(first, first + self._count)
        return [self.sources[turn(self._shares, number)] for number in numbers]

    def one_of_each(self) -> list[Any]:
        """A task of every source, with a leading axis of 1."""
        return [self._one(source, 0) for source in self.sources]

    def images(self) -> int:
        """Images of a meta-iteration; on average, where tasks differ in ways."""
        ways = [self._spec.way or len(source.class_names) for source in self.sources]
        way = sum(share * way for share, way in zip(self._shares, ways, strict=True))
        per_task = round(way * (self._spec.shot + self._spec.queries))
        return self._count * per_task

    def _one(self, source: Source, index: int) -> Any:
        return sample_batch((source,), self._spec, self._seed, index, 1)[0]
