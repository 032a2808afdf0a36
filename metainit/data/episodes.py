"""Few-shot episodes as a pure function of (sources, spec, seed, index).

Nothing is remembered between calls: a resumed run, another process or another
host that asks for the same index gets the same episode.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metainit.core.types import Episode
from metainit.data.loading import Source, class_index, rows

# How often a source gives an episode is in proportion to this.
WEIGHTS: dict[str, Callable[[Source], float]] = {
    "uniform": lambda source: 1.0,
    "classes": lambda source: len(source.class_names),
    "sqrt_size": lambda source: math.sqrt(len(rows(source))),
}


class EpisodeSpec(NamedTuple):
    """The shape of an episode.

    Attributes:
      way: classes of an episode; 0 for every class of its source.
      shot: support images of each class.
      queries: query images of each class.
    """

    way: int
    shot: int
    queries: int

    def in_words(self) -> str:
        """E.g. "5-way 1-shot"."""
        return f"{f'{self.way}-way' if self.way else 'all-way'} {self.shot}-shot"


def check(
    sources: Sequence[Source], spec: EpisodeSpec, role: str, section: str = ""
) -> None:
    """Refuses sources that cannot give episodes of `spec`.

    Args:
      sources: of one role.
      spec: of the episodes.
      role: what to call the sources in the error, e.g. "train".
      section: of a config that `spec` is, with a dot at its end, for the error.

    Raises:
      ValueError: no sources, a field of `spec` below 1, fewer classes than `way`, or a
        class with fewer than shot + queries images.
    """
    if not sources:
        raise ValueError(f"{role}: no data; at least one source is needed")
    for field, value in spec._asdict().items():
        if value < (field != "way"):
            raise ValueError(f"{role}: {section}{field}={value}; it must be at least 1")
    for source in sources:
        if spec.way > len(source.class_names):
            raise ValueError(
                f"{role}: {section}way={spec.way}, but {source.name} has "
                f"{len(source.class_names)} classes in this role; use at most as many"
            )
        sizes = [len(found) for found in class_index(source)]
        smallest = int(np.argmin(sizes))
        if spec.shot + spec.queries > sizes[smallest]:
            raise ValueError(
                f"{role}: {section}shot={spec.shot} and {section}queries="
                f"{spec.queries} need {spec.shot + spec.queries} images a class, but "
                f"the smallest class of {source.name}, "
                f"{source.class_names[smallest]!r}, has {sizes[smallest]}; lower "
                "either, or leave that class out"
            )


def weights(sources: Sequence[Source], rule: str) -> tuple[float, ...]:
    """How often each source is to give an episode, in shares that add up to 1.

    Args:
      sources: of one role.
      rule: a name of `WEIGHTS`.
    """
    each = [WEIGHTS[rule](source) for source in sources]
    return tuple(value / sum(each) for value in each)


def turn(shares: Sequence[float], index: int) -> int:
    """Whose turn it is at `index`, so that shares are met all along, not on average.

    Systematic: number i's n-th turn (from 0) is due at (n + 1/2) / shares[i], and turns
    are taken in the order in which they are due. Equal shares give round robin.

    Args:
      shares: positive, with sum 1.
      index: not negative.
    """
    # Turns due before t number t, give or take a half for each share.
    slack = len(shares)
    due = []
    for number, share in enumerate(shares):
        first = max(0, int((index - slack) * share - 0.5))
        last = int((index + slack + 1) * share + 0.5)
        due += [((n + 0.5) / share, number) for n in range(first, last + 1)]
    before = sum(
        max(0, int((index - slack) * share - 0.5)) for share in shares
    )  # turns that are not in `due`
    return sorted(due)[index - before][1]


def sample(
    sources: Sequence[Source],
    spec: EpisodeSpec,
    seed: int,
    index: int,
    shares: Sequence[float] | None = None,
) -> tuple[Episode, int]:
    """Episode number `index` of the stream `seed`.

    It is the `turn` of one source, of which `way` distinct classes are drawn, then
    shot + queries distinct images of each. Labels are 0..way-1 in blocks: the images of
    class 0 first, then those of class 1, in the support and in the query alike.

    Args:
      sources: of one role, as `check` accepts them.
      spec: of the episode.
      seed: of the stream, not negative.
      index: of the episode in the stream, not negative.
      shares: how often each source has its turn; equal ones by default.

    Returns:
      The episode, whose support and query are {"image": [n, H, W, C] as in the source,
      "label": int32 [n]} with n = way * shot and way * queries; and the position of
      its source in `sources`.
    """
    number = turn(shares or [1 / len(sources)] * len(sources), index)
    source = sources[number]
    support, support_labels, query, query_labels = draw_rows(source, spec, seed, index)
    return (
        Episode(
            {"image": source.images[support], "label": support_labels},
            {"image": source.images[query], "label": query_labels},
        ),
        number,
    )


def sample_batch(
    sources: Sequence[Source],
    spec: EpisodeSpec,
    seed: int,
    first_index: int,
    count: int,
    shares: Sequence[float] | None = None,
) -> tuple[Episode, np.ndarray]:
    """Episodes first_index .. first_index + count - 1, stacked.

    Args:
      sources: as for `sample`; episodes of all of them must be `alike`.
      spec, seed, shares: as for `sample`.
      first_index: of the first episode.
      count: of episodes, at least 1.

    Returns:
      An `Episode` as of `sample` with a leading axis [count, ...], and int32 [count],
      the position of each episode's source in `sources`.
    """
    images = sources[0].images
    way = spec.way or len(sources[0].class_names)
    shares = shares or [1 / len(sources)] * len(sources)
    parts = []
    for each in (spec.shot, spec.queries):
        n = way * each
        labels = np.broadcast_to(_labels(way, each), (count, n)).copy()
        made = np.empty((count, n, *images.shape[1:]), images.dtype)
        parts.append({"image": made, "label": labels})
    numbers = np.empty(count, np.int32)
    for row in range(count):
        numbers[row] = turn(shares, first_index + row)
        source = sources[numbers[row]]
        support, _, query, _ = draw_rows(source, spec, seed, first_index + row)
        for part, where in zip(parts, (support, query), strict=True):
            part["image"][row] = source.images[where]
    return Episode(*parts), numbers


def alike(sources: Sequence[Source], spec: EpisodeSpec) -> bool:
    """Whether episodes of all sources have one shape, and can be stacked."""
    shapes = {
        (source.images.shape[1:], spec.way or len(source.class_names))
        for source in sources
    }
    return len(shapes) == 1


def draw_rows(
    source: Source, spec: EpisodeSpec, seed: int, index: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Episode number `index` of one source as rows of its images.

    Args:
      source, spec, seed, index: as for `sample`.

    Returns:
      Rows int64 [way * shot] and labels int32 of the support, rows [way * queries] and
      labels of the query.
    """
    # As a spawn key, the index cannot run into the words of a large seed.
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    images_of = class_index(source)
    need = spec.shot + spec.queries
    way = spec.way or len(images_of)
    chosen = np.stack(
        [
            images_of[label][rng.choice(len(images_of[label]), need, replace=False)]
            for label in rng.choice(len(images_of), way, replace=False)
        ]
    )
    return (
        chosen[:, : spec.shot].ravel(),
        _labels(way, spec.shot),
        chosen[:, spec.shot :].ravel(),
        _labels(way, spec.queries),
    )


def _labels(way: int, each: int) -> np.ndarray:
    return np.repeat(np.arange(way, dtype=np.int32), each)
