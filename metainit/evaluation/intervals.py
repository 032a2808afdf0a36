"""Intervals over training seeds and episodes, and which differences are real.

The accuracy of seed s on episode e is modelled as

    accuracy[s, e] = mean + seed[s] + episode[e] + rest[s, e]

with all three parts random. Where every seed met the same episodes, which pairing asks
for, the episodes' own difficulty is common to all seeds: an interval from the spread of
the seeds' means alone does not know of it, and covers far too seldom (see
`benchmarks/coverage.py`). A bootstrap over few seeds does so too.

Where such sources of error are independent, Satterthwaite's interval (1946: one t, the
degrees of freedom weighted) covers too seldom with few seeds, 92 % at worst with 3, and
Banerjee's (1961: sum of t^2 error^2, each t of its own degrees) too often, 97.7 % at
worst. The squared half width here is two thirds of the former's and one third of the
latter's: 93.8 to 96.3 % with 3 seeds, 94.7 to 95.6 % with 5, whatever share of the
error is whose (integrated over the errors' distributions). With one source all three
are Student's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
from scipy.special import stdtrit  # the quantile of Student's t

CONDITIONAL = "conditional on this training run"
OVER_SEEDS = "over training runs and episodes"


class Interval(NamedTuple):
    """A mean with its 95 % interval.

    Attributes:
      mean, low, high: in the unit of the table.
      seeds: training runs it rests on.
      p: two-sided, of a mean of 0; None for one seed, which says nothing of the next.
      scope: what the interval covers, `CONDITIONAL` or `OVER_SEEDS`.
    """

    mean: float
    low: float
    high: float
    seeds: int
    p: float | None
    scope: str


class Comparison(NamedTuple):
    """One data set's paired difference of two initialisations.

    Attributes:
      difference: first minus second.
      p: after Holm's correction over the data sets; None for one seed.
      different: whether p is below 0.05; None for one seed, whatever its interval.
    """

    difference: Interval
    p: float | None
    different: bool | None


def over_seeds(tables: Sequence[np.ndarray], same_episodes: bool = True) -> Interval:
    """Interval of the mean over data sets, each counting the same.

    The data sets are those that were asked about, not a sample of data sets.

    Args:
      tables: one a data set, float [seeds, episodes], as many seeds in each. Row s of
        every table is of the same training run.
      same_episodes: whether column e is the same episode for all seeds of a data set,
        or every seed drew its own. Then one column, a number a seed, is enough for
        Student's interval over seeds.

    Returns:
      For one seed, Student's interval over its episodes, `CONDITIONAL`.

    Raises:
      ValueError: no table, tables that differ in seeds, or fewer than 2 episodes
        where these matter.
    """
    tables = [np.asarray(table, np.float64) for table in tables]
    seeds = len(tables[0]) if tables else 0
    few = 2 if seeds < 2 or same_episodes else 1
    for table in tables or [np.empty(0)]:
        if table.ndim != 2 or len(table) != seeds or not seeds or table.shape[1] < few:
            raise ValueError(
                f"tables: shapes {[table.shape for table in tables]}; give [seeds, "
                "episodes] for each data set, the same seeds in all and at least "
                f"{few} episodes"
            )
    means = np.mean([table.mean(1) for table in tables], 0)  # [seeds]
    mean = float(means.mean())
    # Squared standard errors of the mean, each with its degrees of freedom.
    errors: list[tuple[float, int]] = []
    if seeds > 1:
        errors.append((means.var(ddof=1) / seeds, seeds - 1))
    if seeds == 1 or same_episodes:
        for table in tables:
            n = table.shape[1]
            error = table.mean(0).var(ddof=1) / n
            if seeds > 1:  # what is one run's own is in the seeds' error already
                error -= _rest(table).var(ddof=n + seeds - 1) / (seeds * n)
            errors.append((max(error, 0) / len(tables) ** 2, n - 1))

    total = sum(error for error, _ in errors)
    common = total**2 / (sum(e**2 / n for e, n in errors) or 1)  # degrees of freedom

    def half(p: float) -> float:
        if not total:
            return 0.0
        satterthwaite = stdtrit(common, p / 2) ** 2 * total
        banerjee = sum(stdtrit(n, p / 2) ** 2 * e for e, n in errors)
        return math.sqrt((2 * satterthwaite + banerjee) / 3)

    scope = CONDITIONAL if seeds == 1 else OVER_SEEDS
    low, high = mean - half(0.05), mean + half(0.05)
    p = None if seeds == 1 else _p(half, abs(mean))
    return Interval(mean, low, high, seeds, p, scope)


def _rest(table: np.ndarray) -> np.ndarray:
    """What neither the seed nor the episode explains, [seeds, episodes]."""
    return table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()


def _p(half: Callable[[float], float], distance: float) -> float:
    """The p at which an interval of half width `half(p)` ends at `distance`."""
    if not half(0.05):
        return float(distance == 0)
    at = lambda log_p: half(math.exp(log_p)) - distance  # noqa: E731
    smallest = -60.0  # where the quantiles are still finite
    if at(smallest) <= 0:
        return 0.0
    return math.exp(scipy.optimize.brentq(at, smallest, 0.0))


def compare(
    first: Mapping[str, np.ndarray],
    second: Mapping[str, np.ndarray],
    same_episodes: bool = True,
) -> dict[str, Comparison]:
    """Paired differences of two initialisations, a data set at a time.

    Args:
      first, second: float [seeds, episodes] by data set; the same seeds and episodes in
        the same order on both sides.
      same_episodes: as for `over_seeds`.

    Raises:
      ValueError: other data sets, seeds or episodes on one side than on the other.
    """
    shapes = [{k: np.shape(v) for k, v in side.items()} for side in (first, second)]
    if shapes[0] != shapes[1] or not first:
        raise ValueError(
            f"paired differences need the same data sets, seeds and episodes on both "
            f"sides, got {shapes[0]} against {shapes[1]}"
        )
    found = {
        name: over_seeds(
            [np.subtract(first[name], second[name], dtype=np.float64)], same_episodes
        )
        for name in first
    }
    raw = [interval.p for interval in found.values() if interval.p is not None]
    if len(raw) < len(found):
        return {name: Comparison(x, None, None) for name, x in found.items()}
    return {
        name: Comparison(interval, float(p), bool(p < 0.05))
        for (name, interval), p in zip(found.items(), holm(raw), strict=True)
    }


def holm(p: Sequence[float]) -> np.ndarray:
    """p-values corrected for their number (Holm 1979, the step-down procedure).

    SciPy has corrections for the false discovery rate only.

    Args:
      p: raw p-values, 0 to 1, in any order.

    Returns:
      float64, in the same order; those below a level are significant together at it.
    """
    raw = np.asarray(p, np.float64)
    order = np.argsort(raw)
    stepped = raw[order] * np.arange(len(raw), 0, -1)
    adjusted = np.empty(len(raw))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted
