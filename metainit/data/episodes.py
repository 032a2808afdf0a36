"""Draws few-shot episodes, a pure function of sources, task, seed and index.

Nothing is remembered between calls. A resumed run and another process therefore get the
same episode for an index.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from metainit.config.fields import Task
from metainit.core.types import Episode
from metainit.data.loading import Source, class_index, rows

# A source gives episodes in proportion to one of these.
WEIGHTS: dict[str, Callable[[Source], float]] = {
    "uniform": lambda source: 1.0,
    "classes": lambda source: len(source.class_names),
    "sqrt_size": lambda source: math.sqrt(len(rows(source))),
}


def generator(seed: int, *purpose: int) -> np.random.Generator:
    """Makes the generator of one purpose of a seed."""
    # A purpose that is a spawn key cannot coincide with the words of a large seed.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=purpose))


def describe(task: Task) -> str:
    """Describes a task as "5-way 1-shot"."""
    return f"{f'{task.way}-way' if task.way else 'all-way'} {task.shot}-shot"


def check(sources: Sequence[Source], task: Task, role: str, section: str = "") -> None:
    """Refuses sources of one role that cannot give episodes of `task`.

    Args:
      sources: the sources of the role.
      task: the shape of an episode.
      role: names the sources in errors.
      section: names the task's part of a config in errors, as "task.".

    Raises:
      ValueError: no sources, fewer classes than `way`, or a class with too few images.
    """
    if not sources:
        raise ValueError(f"{role}: no data; at least one source is needed")
    for source in sources:
        if not source.class_names:
            raise ValueError(f"{role}: {source.name} has no class in this role")
        if task.way > len(source.class_names):
            raise ValueError(
                f"{role}: {section}way={task.way}, but {source.name} has "
                f"{len(source.class_names)} classes in this role; use at most as many"
            )
        sizes = [len(rows) for rows in class_index(source)]
        smallest = int(np.argmin(sizes))
        if task.shot + task.queries > sizes[smallest]:
            raise ValueError(
                f"{role}: {section}shot={task.shot} and {section}queries="
                f"{task.queries} need {task.shot + task.queries} images a class, but "
                f"the smallest class of {source.name}, "
                f"{source.class_names[smallest]!r}, has {sizes[smallest]}; lower "
                "either, or leave that class out"
            )


def weights(sources: Sequence[Source], rule: str) -> tuple[float, ...]:
    """Computes how often each source gives an episode, in shares that add up to 1."""
    sizes = [WEIGHTS[rule](source) for source in sources]
    return tuple(size / sum(sizes) for size in sizes)


def turns(shares: Sequence[float], first: int, count: int) -> list[int]:
    """Lists whose turns `first` to `first + count - 1` are, in proportion to `shares`.

    The n-th turn of number i, where n counts from 0, is due at (n + 1/2) / shares[i].
    Turns are taken in the order in which they are due, so that any stretch of them has
    about the right shares. Equal shares give round robin.
    """
    # About t turns are due before t: each share adds or takes away half a turn.
    slack = len(shares)
    due, before = [], 0  # the turns near these, and how many turns precede them
    for number, share in enumerate(shares):
        low = max(0, int((first - slack) * share - 0.5))
        high = int((first + count + slack) * share + 0.5)
        due += [((n + 0.5) / share, number) for n in range(low, high + 1)]
        before += low
    return [number for _, number in sorted(due)[first - before :][:count]]


def sample_batch(
    sources: Sequence[Source],
    task: Task,
    seed: int,
    first_index: int,
    count: int,
    shares: Sequence[float] | None = None,
) -> Episode:
    """Stacks episodes first_index .. first_index + count - 1 of the stream `seed`.

    Each episode is of one source, by `turns`. Its `way` classes are distinct, and so
    are the shot + queries images of each class. Labels are 0 to way - 1 in blocks:
    support and query have the images of class 0 first, then those of class 1.

    Returns:
      Support and query as {"image": [count, n, H, W, C] as in the source, "label":
      int32 [count, n]} with n = way * shot and way * queries.
    """
    shares = shares or [1 / len(sources)] * len(sources)
    indices = range(first_index, first_index + count)
    owners = [sources[number] for number in turns(shares, first_index, count)]
    pairs = zip(owners, indices, strict=True)
    drawn = [draw_rows(source, task, seed, index) for source, index in pairs]
    supports, support_labels, queries, query_labels = zip(*drawn, strict=True)

    def part(rows: Sequence[np.ndarray], labels: Sequence[np.ndarray]) -> dict:
        images = [x.images[chosen] for x, chosen in zip(owners, rows, strict=True)]
        return {"image": np.stack(images), "label": np.stack(labels)}

    return Episode(part(supports, support_labels), part(queries, query_labels))


def alike(sources: Sequence[Source], task: Task) -> bool:
    """Says whether the episodes of all sources have one shape and can be stacked."""
    ways = {task.way or len(source.class_names) for source in sources}
    return len(ways) == len({source.images.shape[1:] for source in sources}) == 1


def draw_rows(
    source: Source, task: Task, seed: int, index: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws episode number `index` of the stream `seed` as rows of one source.

    Returns:
      Rows int64 [way * shot] and labels int32 of the support, rows [way * queries] and
      labels of the query.
    """
    rng = generator(seed, index)
    images_of = class_index(source)
    way, images = task.way or len(images_of), task.shot + task.queries
    classes = [images_of[x] for x in rng.choice(len(images_of), way, replace=False)]
    chosen = np.stack([rng.choice(rows, images, replace=False) for rows in classes])
    labels = np.arange(way, dtype=np.int32)
    return (
        chosen[:, : task.shot].ravel(),
        np.repeat(labels, task.shot),
        chosen[:, task.shot :].ravel(),
        np.repeat(labels, task.queries),
    )
