"""Draws episodes of any way and shot by Meta-Dataset's rule.

See Triantafillou et al. 2020 (arXiv:1903.03096), section 3.2. The fields of `Evaluate`
bound an episode. Its query has at most `max_queries` images of each class, and at most
half of the smallest class.
"""

import math

import numpy as np

from metainit.config.fields import Evaluate
from metainit.data.episodes import generator
from metainit.data.loading import Source, class_index

MAX_COUNTED = 100  # images of a class that count for the size of the support
# A class's share in the support departs from its share in the source by a factor. Its
# logarithm is between these.
LOG_WEIGHTS = math.log(0.5), math.log(2)


def describe(rule: Evaluate) -> str:
    """Names the rule and the bounds of its episodes."""
    return (
        f"variable way ({rule.min_way} to {rule.max_way}) and shot (support of "
        f"{rule.max_support} at most), Meta-Dataset's rule"
    )


def check(source: Source, rule: Evaluate, role: str) -> None:
    """Refuses bounds that contradict each other, and a source too small for them.

    Raises:
      ValueError: naming the fields or the class.
    """
    if not rule.min_way <= rule.max_way <= rule.max_support:
        raise ValueError(
            f"evaluate.min_way={rule.min_way}, evaluate.max_way={rule.max_way} and "
            f"evaluate.max_support={rule.max_support} must rise in this order"
        )
    sizes = [len(rows) for rows in class_index(source)]
    if len(sizes) < rule.min_way:
        raise ValueError(
            f"{role}: min_way={rule.min_way}, but {source.name} has {len(sizes)} "
            "classes in this role; use at most as many"
        )
    if min(sizes) < 2:
        name = source.class_names[int(np.argmin(sizes))]
        raise ValueError(
            f"{role}: class {name!r} of {source.name} has {min(sizes)} images, but an "
            "episode needs one for the support and one for the query; leave it out"
        )


def draw_rows(
    source: Source, rule: Evaluate, seed: int, index: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draws episode number `index` of the stream `seed` as rows of the source; pure.

    Returns:
      Rows int64 [n] and labels int32 [n] of the support, then of the query. Labels are
      0 to way - 1 in blocks. The query has equally many images of each class; in the
      support their number varies.
    """
    rng = generator(seed, index)
    images_of = class_index(source)
    way = rng.integers(rule.min_way, min(rule.max_way, len(images_of)), endpoint=True)
    classes = rng.choice(len(images_of), way, replace=False)
    sizes = np.array([len(images_of[label]) for label in classes])
    beta = 1 - rng.random()  # above 0, at most 1
    log_weights = rng.uniform(*LOG_WEIGHTS, way)
    queries, shots = composition(sizes, beta, log_weights, rule)
    chosen = [
        images_of[label][rng.choice(size, queries + shot, replace=False)]
        for label, size, shot in zip(classes, sizes, shots, strict=True)
    ]
    support = np.concatenate([rows[queries:] for rows in chosen])
    query = np.concatenate([rows[:queries] for rows in chosen])
    labels = np.arange(way, dtype=np.int32)
    return support, np.repeat(labels, shots), query, np.repeat(labels, queries)


def composition(
    sizes: np.ndarray, beta: float, log_weights: np.ndarray, rule: Evaluate
) -> tuple[int, np.ndarray]:
    """Computes how many images of each class an episode has from random numbers.

    Args:
      sizes: int [way], how many images each class has.
      beta: the relative size of the support, above 0 and at most 1.
      log_weights: float [way], the logarithm of the factor on each class's share.
      rule: bounds the support and the query.

    Returns:
      The number of query images of each class, and the numbers of support images, int
      [way] and at least 1.
    """
    queries = int(min(rule.max_queries, np.min(sizes // 2)))
    left = sizes - queries
    counted = np.minimum(MAX_COUNTED, left)
    support = min(rule.max_support, int(np.ceil(beta * counted).sum()))
    shares = sizes * np.exp(log_weights)
    shares = shares / shares.sum()
    shots = np.floor(shares * (support - len(sizes))).astype(int) + 1
    return queries, np.minimum(shots, left)
