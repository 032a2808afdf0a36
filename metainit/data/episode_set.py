"""The episodes of meta-validation and of meta-test.

Meta-validation always has the same episodes; meta-test has other ones for each seed.
They are drawn as rows of their source. Images are read when they are asked for, so that
600 episodes of a thousand images take no memory.
"""

import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from metainit.config.fields import Evaluate, Task
from metainit.core.types import Episode
from metainit.data import episodes, variable_episodes
from metainit.data.loading import Roles, Source
from metainit.runtime import atomic, digest

FILE = "manifest.npz"
VALIDATION_SEED = 1


class Manifest(NamedTuple):
    """Episodes of one data set as rows of its source."""

    dataset: str
    rule: str  # what the episodes are, e.g. "5-way 1-shot"
    sha256: str  # of all labels and of all images, or of their hashes where known
    # int32 [episodes, n]. Episodes with fewer images than the largest are filled up
    # with the row -1 and the label 0.
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray


class Sample(NamedTuple):
    """The episodes of one data set, all of one shape, with a leading axis.

    Support and query are {"image": `Gathered`, "label"}. Where episodes differ in size,
    all are filled up to the largest, with `way` classes. Then "weight", float32
    [episodes, n], is 0 for the images that fill up, and "classes", bool [episodes,
    way], masks the classes that an episode has.
    """

    manifest: Manifest
    way: int
    episodes: Episode


class Samples(NamedTuple):
    """The episodes of an evaluation: for each role one sample of each data set."""

    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    held_out: tuple[Sample, ...]


class Gathered:
    """Images [episodes, n, ...] that are read from their source when indexed."""

    def __init__(self, images: np.ndarray, rows: np.ndarray) -> None:
        """Takes images [m, ...] and rows, int [episodes, n]; -1 is a blank image."""
        self.images, self._rows = images, rows
        self.shape = (*rows.shape, *images.shape[1:])

    def __getitem__(self, place: Any) -> np.ndarray:
        """Reads the images of one episode, by an integer, or those of several."""
        rows = self._rows[place]
        images = np.asarray(self.images[np.maximum(rows, 0)])
        images[rows < 0] = 0
        return images

    def some(self, part: slice) -> "Gathered":
        """Takes some of the episodes, without reading their images."""
        return Gathered(self.images, self._rows[part])


def check(task: Task, evaluate: Evaluate, sources: Sequence[Source], role: str) -> None:
    """Refuses sources of meta-validation or meta-test that cannot give its episodes.

    Raises:
      ValueError: in one line, which field, data set or class.
    """
    if evaluate.variable:
        for source in sources:
            variable_episodes.check(source, evaluate, role)
    elif sources or role != "held_out":
        if role == "validation":
            task = validation_task(task, sources)
        episodes.check(sources, task, role, "task.")


def validation_task(task: Task, sources: Sequence[Source]) -> Task:
    """Lowers the ways of a task to the classes that each source of validation has.

    CIFAR-FS has 16 classes for validation and 20 for test. Settings for its 20-way
    episodes are therefore chosen on 16-way episodes.
    """
    classes = min((len(source.class_names) for source in sources), default=0)
    if classes < 2:  # refused by `check`
        return task
    return dataclasses.replace(task, way=min(task.way, classes))


def draw_roles(task: Task, evaluate: Evaluate, roles: Roles, seed: int) -> Samples:
    """Draws the episodes of meta-validation and, for a seed, those of meta-test."""
    sources = roles.test + roles.held_out
    # A stream that no other seed and no meta-validation has.
    testing = draw(task, evaluate, sources, 2 + (seed << 32), evaluate.episodes)
    return Samples(
        validation=draw_validation(task, evaluate, roles.validation),
        test=testing[: len(roles.test)],
        held_out=testing[len(roles.test) :],
    )


def redrawn(samples: Samples, roles: Roles) -> Samples:
    """Gives the same episodes of sources that hold the same images in another form."""

    def again(role: str) -> tuple[Sample, ...]:
        pairs = zip(getattr(roles, role), getattr(samples, role), strict=True)
        return tuple(_sample(source, sample.manifest) for source, sample in pairs)

    return Samples(*map(again, Samples._fields))


def some(sample: Sample, part: slice) -> Sample:
    """Takes some of a sample's episodes, and keeps the shape and the digest of all."""

    def cut(leaf: Any) -> Any:
        return leaf.some(part) if isinstance(leaf, Gathered) else leaf[part]

    tables, episodes = jax.tree.map(cut, (_tables(sample.manifest), sample.episodes))
    manifest = sample.manifest._replace(**tables)
    return sample._replace(manifest=manifest, episodes=episodes)


def mapped(
    sample: Sample, compute: Callable[[np.ndarray, np.ndarray], np.ndarray]
) -> Sample:
    """Replaces the images of a sample by what `compute` makes of each image once.

    Args:
      sample: the episodes.
      compute: `(images [m, ...], rows int [k]) -> [k, ...]`; its rows ascend.
    """
    tables = sample.manifest.support, sample.manifest.query
    rows = np.unique(np.concatenate([table.ravel() for table in tables]))
    rows = rows[rows >= 0]
    made = compute(sample.episodes.support["image"].images, rows)

    def part(batch: dict[str, Any], table: np.ndarray) -> dict[str, Any]:
        places = np.where(table < 0, -1, np.searchsorted(rows, table))
        return batch | {"image": Gathered(made, places)}

    return sample._replace(episodes=Episode(*map(part, sample.episodes, tables)))


def draw(
    task: Task, evaluate: Evaluate, sources: Sequence[Source], seed: int, count: int
) -> tuple[Sample, ...]:
    """Draws episodes 0 .. count - 1 of the stream `seed` of each source."""
    manifests = [draw_manifest(task, evaluate, x, seed, count) for x in sources]
    return tuple(map(_sample, sources, manifests))


def draw_validation(
    task: Task, evaluate: Evaluate, sources: Sequence[Source]
) -> tuple[Sample, ...]:
    """Draws the episodes of meta-validation, as many of each source."""
    count = -(-evaluate.validation_episodes // len(sources))
    fitting = validation_task(task, sources)
    return draw(fitting, evaluate, sources, VALIDATION_SEED, count)


def draw_manifest(
    task: Task, evaluate: Evaluate, source: Source, seed: int, count: int
) -> Manifest:
    """Draws episodes 0 .. count - 1 of the stream `seed` as rows of a source.

    They are of `task`, or of any way and shot where `evaluate.variable` asks for it.
    """
    rules = variable_episodes if evaluate.variable else episodes
    rule = evaluate if evaluate.variable else task
    drawn = (rules.draw_rows(source, rule, seed, index) for index in range(count))
    columns = zip(*drawn, strict=True)
    support, support_labels, query, query_labels = map(_table, columns, (-1, 0, -1, 0))
    known = source.images if source.hashes is None else source.hashes
    images = [known[rows[rows >= 0]] for rows in (support, query)]
    return Manifest(
        dataset=source.name,
        rule=rules.describe(rule),
        sha256=digest.sha256((images, support_labels, query_labels)),
        support=support,
        support_labels=support_labels,
        query=query,
        query_labels=query_labels,
    )


def _table(parts: Sequence[np.ndarray], filling: int) -> np.ndarray:
    """Stacks rows of unequal length, filled up to int32 [len(parts), longest]."""
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
