"""Which images the episodes of an evaluation are made of: drawn, stored, drawn again.

An episode's images are read when they are asked for, so that 600 episodes of a thousand
images each take no memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from metainit.core.types import Episode
from metainit.data import episodes, variable_episodes
from metainit.data.episodes import EpisodeSpec
from metainit.data.loading import Source
from metainit.data.variable_episodes import VariableSpec
from metainit.runtime import numbered

FILE = "manifest.npz"
_ARRAYS = ("support", "support_labels", "query", "query_labels")


class Manifest(NamedTuple):
    """Episodes of one data set as rows of its source.

    Attributes:
      dataset: name of the source.
      rule: in words, e.g. "5-way 1-shot".
      support, query: int32 [episodes, n], rows of the source; -1 where an episode has
        fewer images than the largest.
      support_labels, query_labels: int32 [episodes, n], from 0; 0 where the row is -1.
      sha256: of all images and labels, by the hashes of the images where known.
    """

    dataset: str
    rule: str
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray
    sha256: str

    @property
    def ways(self) -> np.ndarray:
        """Classes of each episode, int [episodes]."""
        return self.query_labels.max(1) + 1

    @property
    def filled_up(self) -> bool:
        """Whether an episode has fewer images or classes than the largest."""
        rows = self.support, self.query
        return any((x < 0).any() for x in rows) or len(set(self.ways)) > 1


class Gathered:
    """Images [episodes, n, ...] that are read from their source when indexed."""

    def __init__(self, images: np.ndarray, rows: np.ndarray) -> None:
        """Args: images [m, ...]; rows int [episodes, n], -1 for an image of zeros."""
        self._images, self._rows = images, rows
        self.shape = (*rows.shape, *images.shape[1:])
        self.dtype, self.ndim = images.dtype, len(self.shape)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, place: Any) -> np.ndarray:
        """Images of one episode, by an integer, or of several, by a slice or array."""
        rows = self._rows[place]
        found = np.asarray(self._images[np.maximum(rows, 0)])
        if (rows < 0).any():
            found = np.where(rows.reshape(*rows.shape, 1, 1, 1) < 0, 0, found)
            found = found.astype(self.dtype)
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)


def draw(
    source: Source, spec: EpisodeSpec | VariableSpec, seed: int, count: int
) -> Manifest:
    """Episodes 0 .. count - 1 of the stream `seed`, always the same ones.

    Args:
      source: as `episodes.check` or `padding.check` accept it.
      spec: of fixed or of variable way and shot.
      seed: of the stream.
      count: of episodes.
    """
    of = variable_episodes if isinstance(spec, VariableSpec) else episodes
    drawn = [of.draw_rows(source, spec, seed, index) for index in range(count)]
    support, support_labels, query, query_labels = (
        _stack(part, filling)
        for part, filling in zip(zip(*drawn, strict=True), (-1, 0, -1, 0), strict=True)
    )
    found = Manifest(
        source.name,
        spec.in_words(),
        support,
        support_labels,
        query,
        query_labels,
        "",
    )
    return found._replace(sha256=_digest(source, found))


def _stack(parts: Sequence[np.ndarray], filling: int) -> np.ndarray:
    """Rows of different lengths as int32 [len(parts), longest]."""
    table = np.full((len(parts), max(map(len, parts))), filling, np.int32)
    for row, part in zip(table, parts, strict=True):
        row[: len(part)] = part
    return table


def read_episodes(source: Source, manifest: Manifest) -> Episode:
    """The episodes, with a leading axis.

    Returns:
      Support and query {"image", "label"}, as of `episodes.sample_batch`; where they
      are filled up with "weight" and "classes", as of `padding.pad`. Images are
      `Gathered`.
    """
    way = int(manifest.ways.max())

    def part(rows: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        found = {"image": Gathered(source.images, rows), "label": labels}
        if manifest.filled_up:
            found["weight"] = (rows >= 0).astype(np.float32)
            found["classes"] = np.arange(way) < manifest.ways[:, None]
        return found

    return Episode(
        part(manifest.support, manifest.support_labels),
        part(manifest.query, manifest.query_labels),
    )


def check(source: Source, manifest: Manifest, path: str) -> None:
    """Refuses episodes that are not of this source.

    Raises:
      ValueError: its images or labels are others than when they were drawn.
    """
    rows = manifest.support, manifest.query
    if (
        max(int(x.max()) for x in rows) >= len(source.images)
        or _digest(source, manifest) != manifest.sha256
    ):
        raise ValueError(
            f"evaluate.manifest={path}: its episodes of {manifest.dataset} are of "
            "other images than the data set has here; give it the same data, size and "
            "split"
        )


def _digest(source: Source, manifest: Manifest) -> str:
    digest = hashlib.sha256()
    for rows in (manifest.support, manifest.query):
        for row in rows:
            row = row[row >= 0]
            known = source.images if source.hashes is None else source.hashes
            digest.update(np.ascontiguousarray(known[row]).tobytes())
    for labels in (manifest.support_labels, manifest.query_labels):
        digest.update(labels.astype("<i4").tobytes())
    return digest.hexdigest()


def write(path: str | os.PathLike[str], manifests: Sequence[Manifest]) -> None:
    """Stores the episodes of several data sets in one file."""
    numbered.write(
        path,
        [[one.dataset, one.rule, one.sha256] for one in manifests],
        [{name: getattr(one, name) for name in _ARRAYS} for one in manifests],
    )


def read(path: str | os.PathLike[str]) -> tuple[Manifest, ...]:
    """What `write` stored.

    Raises:
      ValueError: no such file, or it is damaged.
    """
    try:
        return tuple(
            Manifest(dataset=dataset, rule=rule, sha256=sha256, **arrays)
            for (dataset, rule, sha256), arrays in numbered.read(path, _ARRAYS)
        )
    except ValueError as error:
        raise ValueError(
            f"evaluate.manifest={error}; give the {FILE} of a finished run"
        ) from None
