"""Few-shot episodes as a pure function of (sources, spec, seed, index).

Nothing is remembered between calls: a resumed run, another process or another
host that asks for the same index gets the same episode.
"""

import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metainit.sources import Roles, Source, class_index
from metainit.types import Episode


class EpisodeSpec(NamedTuple):
    """The shape of an episode.

    Attributes:
      way: classes of an episode.
      shot: support images of each class.
      queries: query images of each class.
    """

    way: int
    shot: int
    queries: int


def check(sources: Sequence[Source], spec: EpisodeSpec, role: str) -> None:
    """Refuses sources that cannot give episodes of `spec`.

    Args:
      sources: of one role.
      spec: of the episodes.
      role: what to call the sources in the error, e.g. "train".

    Raises:
      ValueError: no sources, a field of `spec` below 1, fewer classes than `way`, a
        class with fewer than shot + queries images, or images of unequal shapes.
    """
    if not sources:
        raise ValueError(f"{role}: no data; at least one source is needed")
    for field, value in spec._asdict().items():
        if value < 1:
            raise ValueError(f"{role}: {field}={value}; it must be at least 1")
    shapes = {source.name: source.images.shape[1:] for source in sources}
    if len(set(shapes.values())) > 1:
        raise ValueError(
            f"{role}: the sources' images differ in shape, {shapes}; load them with "
            "one data.size and data.channels"
        )
    for source in sources:
        if spec.way > len(source.class_names):
            raise ValueError(
                f"{role}: way={spec.way}, but {source.name} has "
                f"{len(source.class_names)} classes in this role; use at most as many"
            )
        sizes = np.bincount(source.labels, minlength=len(source.class_names))
        smallest = int(np.argmin(sizes))
        if spec.shot + spec.queries > sizes[smallest]:
            raise ValueError(
                f"{role}: shot={spec.shot} and queries={spec.queries} need "
                f"{spec.shot + spec.queries} images a class, but the smallest class of "
                f"{source.name}, {source.class_names[smallest]!r}, has "
                f"{sizes[smallest]}; lower either, or leave that class out"
            )


def check_disjoint(roles: Roles) -> None:
    """Refuses roles that share a class.

    A class is known by its source's name and its own; a rotated class ("X@90") is
    counted as the class that it was made from.

    Raises:
      ValueError: two roles overlap; names the pair and the classes.
    """
    classes = {
        role: {
            (source.name, re.sub(r"@(90|180|270)$", "", name))
            for source in sources
            for name in source.class_names
        }
        for role, sources in roles._asdict().items()
    }
    for one, other in itertools.combinations(classes, 2):
        if shared := sorted(classes[one] & classes[other]):
            names = ", ".join(f"{source}: {name}" for source, name in shared[:5])
            more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
            raise ValueError(
                f"the classes of {one} and {other} overlap: {names}{more}; every class "
                "may stand in one role only, or the result is not on unseen classes"
            )


def sample(
    sources: Sequence[Source], spec: EpisodeSpec, seed: int, index: int
) -> tuple[Episode, int]:
    """Episode number `index` of the stream `seed`.

    One source is drawn uniformly, then `way` distinct classes, then shot + queries
    distinct images of each. Labels are 0..way-1 in blocks: the images of class 0
    first, then those of class 1, in the support and in the query alike.

    Args:
      sources: of one role, as `check` accepts them.
      spec: of the episode.
      seed: of the stream, not negative.
      index: of the episode in the stream, not negative.

    Returns:
      The episode, whose support and query are {"image": uint8 [n, H, W, C],
      "label": int32 [n]} with n = way * shot and way * queries; and the position of
      its source in `sources`.
    """
    number, support, query = _draw(sources, spec, seed, index)
    images = sources[number].images
    return (
        Episode(
            {"image": images[support], "label": _labels(spec.way, spec.shot)},
            {"image": images[query], "label": _labels(spec.way, spec.queries)},
        ),
        number,
    )


def sample_batch(
    sources: Sequence[Source],
    spec: EpisodeSpec,
    seed: int,
    first_index: int,
    count: int,
) -> tuple[Episode, np.ndarray]:
    """Episodes first_index .. first_index + count - 1, stacked.

    Args:
      sources: as for `sample`.
      spec: as for `sample`.
      seed: as for `sample`.
      first_index: of the first episode.
      count: of episodes, at least 1.

    Returns:
      An `Episode` as of `sample` with a leading axis [count, ...], and int32 [count],
      the position of each episode's source in `sources`.
    """
    shape = sources[0].images.shape[1:]
    parts = []
    for each in (spec.shot, spec.queries):
        n = spec.way * each
        labels = np.broadcast_to(_labels(spec.way, each), (count, n)).copy()
        parts.append({"image": np.empty((count, n, *shape), np.uint8), "label": labels})
    numbers = np.empty(count, np.int32)
    for row in range(count):
        numbers[row], *chosen = _draw(sources, spec, seed, first_index + row)
        for part, rows in zip(parts, chosen, strict=True):
            part["image"][row] = sources[numbers[row]].images[rows]
    return Episode(*parts), numbers


def _draw(
    sources: Sequence[Source], spec: EpisodeSpec, seed: int, index: int
) -> tuple[int, np.ndarray, np.ndarray]:
    """Source, support images [way * shot] and query images [way * queries]."""
    # As a spawn key, the index cannot run into the words of a large seed.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    number = int(rng.integers(len(sources)))
    images_of = class_index(sources[number])
    need = spec.shot + spec.queries
    chosen = np.stack(
        [
            images_of[label][rng.choice(len(images_of[label]), need, replace=False)]
            for label in rng.choice(len(images_of), spec.way, replace=False)
        ]
    )
    return number, chosen[:, : spec.shot].ravel(), chosen[:, spec.shot :].ravel()


def _labels(way: int, each: int) -> np.ndarray:
    return np.repeat(np.arange(way, dtype=np.int32), each)
