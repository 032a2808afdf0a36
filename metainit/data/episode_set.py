"""The episodes of meta-validation, always the same, and of meta-test, each seed's own.

They are drawn as rows of their source; an episode's images are read when they are
asked for, so that 600 episodes of a thousand images take no memory.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from metainit.config.fields import Experiment, Task
from metainit.core.types import Episode
from metainit.data import episodes, variable_episodes
from metainit.data.loading import Roles, Source
from metainit.runtime import atomic, digest

FILE = "manifest.npz"
VALIDATION_SEED = 1


class Manifest(NamedTuple):
    """Episodes of one data set as rows of its source."""

    dataset: str
    rule: str  # in words, e.g. "5-way 1-shot"
    sha256: str  # of all images and labels, by the hashes of the images where known
    # int32 [episodes, n], where an episode has fewer images than the largest filled up
    # with -1, and with the label 0.
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray


class Sample(NamedTuple):
    """Episodes of one data set, all of one shape, with a leading axis.

    Support and query are {"image": `Gathered`, "label"}. Where episodes differ in size
    they are filled up to the largest, of `way` classes, with images of no "weight",
    float32 [episodes, n], and without some "classes", bool [episodes, way].
    """

    manifest: Manifest
    way: int
    episodes: Episode


class Samples(NamedTuple):
    """The episodes of an evaluation by role, a sample for each data set."""

    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    held_out: tuple[Sample, ...]


class Gathered:
    """Images [episodes, n, ...] that are read from their source when indexed."""

    def __init__(self, images: np.ndarray, rows: np.ndarray) -> None:
        """Takes images [m, ...] and rows int [episodes, n], -1 for one of zeros."""
        self.images, self._rows = images, rows
        self.shape = (*rows.shape, *images.shape[1:])

    def __getitem__(self, place: Any) -> np.ndarray:
        """Reads one episode's images, by an integer, or several's."""
        rows = self._rows[place]
        images = np.asarray(self.images[np.maximum(rows, 0)])
        images[rows < 0] = 0
        return images

    def some(self, part: slice) -> "Gathered":
        """Takes some episodes, whose images are not read yet."""
        return Gathered(self.images, self._rows[part])


def check(config: Experiment, sources: Sequence[Source], role: str) -> None:
    """Refuses sources of a role that cannot give its episodes, but for meta-training.

    Raises:
      ValueError: in one line, which field, data set or class.
    """
    if config.evaluate.variable:
        for source in sources:
            variable_episodes.check(source, config.evaluate, role)
    elif sources or role != "held_out":
        task = validation_task(config, sources) if role == "validation" else None
        episodes.check(sources, task or config.task, role, "task.")


def validation_task(config: Experiment, sources: Sequence[Source]) -> Task:
    """The task that is chosen on: of as many ways as each source has classes for.

    CIFAR-FS has 16 classes to validate on and 20 to test on, so that 20-way episodes of
    the latter are chosen for on 16-way ones, all of these alike.
    """
    classes = min((len(source.class_names) for source in sources), default=0)
    if classes < 2:  # refused by `check`
        return config.task
    return dataclasses.replace(config.task, way=min(config.task.way, classes))


def of_roles(config: Experiment, roles: Roles) -> Samples:
    """Draws the episodes of meta-validation and meta-test."""
    sources, count = roles.test + roles.held_out, config.evaluate.episodes
    # No other seed's stream, nor that of meta-validation.
    testing = draw(config, sources, 2 + (config.seed << 32), count)
    return Samples(
        validation=draw_validation(config, roles.validation),
        test=testing[: len(roles.test)],
        held_out=testing[len(roles.test) :],
    )


def of_other_images(samples: Samples, roles: Roles) -> Samples:
    """The same episodes of sources whose rows are the same images, in another form."""

    def again(role: str) -> tuple[Sample, ...]:
        pairs = zip(getattr(roles, role), getattr(samples, role), strict=True)
        return tuple(_sample(source, sample.manifest) for source, sample in pairs)

    return Samples(*map(again, Samples._fields))


def some(sample: Sample, part: slice) -> Sample:
    """Takes some of a sample's episodes, whose shape and digest stay those of all."""

    def cut(leaf: Any) -> Any:
        return leaf.some(part) if isinstance(leaf, Gathered) else leaf[part]

    tables, episodes = jax.tree.map(cut, (_tables(sample.manifest), sample.episodes))
    manifest = sample.manifest._replace(**tables)
    return sample._replace(manifest=manifest, episodes=episodes)


def mapped(
    sample: Sample, of_images: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Sample:
    """Puts what is computed of an image in its place, once for each that is there.

    `of_images` is `(images [m, ...], rows int [k]) -> [k, ...]`, of rows that ascend.
    """
    tables = sample.manifest.support, sample.manifest.query
    rows = np.unique(np.concatenate([table.ravel() for table in tables]))
    rows = rows[rows >= 0]
    made = of_images(sample.episodes.support["image"].images, rows)

    def part(batch: dict[str, Any], table: np.ndarray) -> dict[str, Any]:
        places = np.where(table < 0, -1, np.searchsorted(rows, table))
        return batch | {"image": Gathered(made, places)}

    return sample._replace(episodes=Episode(*map(part, sample.episodes, tables)))


def draw(
    config: Experiment, sources: Sequence[Source], seed: int, count: int
) -> tuple[Sample, ...]:
    """Draws episodes 0 .. count - 1 of the stream `seed` of each source."""
    manifests = [draw_manifest(config, source, seed, count) for source in sources]
    return tuple(map(_sample, sources, manifests))


def draw_validation(
    config: Experiment, sources: Sequence[Source]
) -> tuple[Sample, ...]:
    """Draws the episodes that everything is chosen on: as many of each source."""
    count = -(-config.evaluate.validation_episodes // len(sources))
    task = validation_task(config, sources)
    config = dataclasses.replace(config, task=task)
    return draw(config, sources, VALIDATION_SEED, count)


def draw_manifest(
    config: Experiment, source: Source, seed: int, count: int
) -> Manifest:
    """Draws episodes 0 .. count - 1 of the stream `seed`, as rows of a source."""
    variable = config.evaluate.variable
    rules = variable_episodes if variable else episodes
    rule = config.evaluate if variable else config.task
    each = (rules.draw_rows(source, rule, seed, index) for index in range(count))
    drawn = zip(*each, strict=True)
    support, support_labels, query, query_labels = map(_table, drawn, (-1, 0, -1, 0))
    known = source.images if source.hashes is None else source.hashes
    images = [known[rows[rows >= 0]] for rows in (support, query)]
    return Manifest(
        dataset=source.name,
        rule=rules.in_words(rule),
        sha256=digest.sha256((images, support_labels, query_labels)),
        support=support,
        support_labels=support_labels,
        query=query,
        query_labels=query_labels,
    )


def _table(parts: Sequence[np.ndarray], filling: int) -> np.ndarray:
    """Fills rows up to int32 [len(parts), longest]."""
    columns = itertools.zip_longest(*parts, fillvalue=filling)
    return np.array(list(columns), np.int32).T.copy()


def _sample(source: Source, manifest: Manifest) -> Sample:
    ways = manifest.query_labels.max(1) + 1
    way, rows = int(ways.max()), (manifest.support, manifest.query)
    filled_up = min(ways) < way or any((x < 0).any() for x in rows)

    def part(rows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        batch = {"image": Gathered(source.images, rows), "label": labels}
        if filled_up:
            batch["weight"] = (rows >= 0).astype(np.float32)
            batch["classes"] = np.arange(way) < ways[:, None]
        return batch

    support = part(manifest.support, manifest.support_labels)
    query = part(manifest.query, manifest.query_labels)
    return Sample(manifest, way, Episode(support, query))


def write(path: str | os.PathLike[str], manifests: Sequence[Manifest]) -> None:
    """Stores the episodes of several data sets in one file."""
    atomic.write_arrays(
        path,
        [manifest[:3] for manifest in manifests],
        [_tables(manifest) for manifest in manifests],
    )


def _tables(manifest: Manifest) -> dict[str, np.ndarray]:
    return dict(zip(Manifest._fields[3:], manifest[3:], strict=True))
