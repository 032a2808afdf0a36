"""95 % intervals: over the episodes of one training run, or over seeds of it.

A seed trains anew and draws its own meta-test, so seeds' means are independent, and
Student's interval covers both draws (`benchmarks/coverage.py`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

CONDITIONAL = "conditional on this training run"
RESAMPLES = 10_000

# A value for each episode by seed, float [episodes]. Seeds may differ in their number.
BySeed = Sequence[np.ndarray] | np.ndarray


class Interval(NamedTuple):
    """A mean with its 95 % interval, in the unit of the table.

    `p` is the two-sided p-value of a mean of 0. It is None for one seed, which says
    nothing about another.
    """

    mean: float
    low: float
    high: float
    p: float | None

    @property
    def different(self) -> bool:
        """Whether p is below 0.05; never for one seed, whatever its interval."""
        return self.p is not None and self.p < 0.05


def over_seeds(table: BySeed) -> Interval:
    """Gives Student's interval over seeds' means, or for one seed over its episodes.

    One seed needs 2 episodes at least.
    """
    if len(table) == 1:
        return Interval(*mean_interval(table[0]), p=None)
    means = np.array([np.mean(values, dtype=np.float64) for values in table])
    p = float(means[0] == 0)  # where nothing varies, and SciPy would divide by 0
    if np.ptp(means) > 0:
        p = float(scipy.stats.ttest_1samp(means, 0).pvalue)
    return Interval(*mean_interval(means), p=p)


def compare(
    first: Mapping[str, BySeed], second: Mapping[str, BySeed]
) -> dict[str, Interval]:
    """Subtracts two initialisations' episodes, paired, by data set.

    Holm's procedure corrects each p over the data sets. It raises ValueError where data
    sets, seeds or episodes of the sides differ.
    """
    ours, theirs = ({k: list(map(len, x[k])) for k in x} for x in (first, second))
    if ours != theirs:
        words = "paired differences need the same data sets, seeds and episodes"
        raise ValueError(f"{words} on both sides, got {ours} against {theirs}")
    differences = {}
    for name, seeds in first.items():
        sides = zip(seeds, second[name], strict=True)
        minus = [np.subtract(*pair, dtype=np.float64) for pair in sides]
        differences[name] = over_seeds(minus)
    raw = [interval.p for interval in differences.values() if interval.p is not None]
    corrected = holm(raw).tolist() if raw else [None] * len(differences)
    pairs = zip(differences.items(), corrected, strict=True)
    return {name: interval._replace(p=p) for (name, interval), p in pairs}


def holm(p: Sequence[float]) -> np.ndarray:
    """Corrects p-values, 0 to 1, for their number (Holm 1979, the step-down procedure).

    SciPy has corrections for the false discovery rate only.
    """
    raw = np.asarray(p, np.float64)
    order = np.argsort(raw)
    stepped = raw[order] * np.arange(len(raw), 0, -1)
    adjusted = np.empty(len(raw))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return adjusted


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Gives the mean of float [n], n 2 or more, and its 95 % Student-t limits."""
    values = _vector(values)
    mean = float(np.mean(values))
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values))
    return mean, mean - half, mean + half


def wilson(share: float, count: int) -> tuple[float, float]:
    """Gives the 95 % limits of a share of `count` images, 1 or more.

    Wilson, J. Am. Stat. Assoc. 22 (1927); it needs no large counts.
    """
    test = scipy.stats.binomtest(round(share * count), count)
    bounds = test.proportion_ci(method="wilson")
    return float(bounds.low), float(bounds.high)


def paired_interval(a: np.ndarray, b: np.ndarray) -> Interval:
    """Gives the mean of a - b over shared episodes and its 95 % bootstrap limits.

    Episodes, float [n] in the same order, are resampled with both of their values
    (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, percentile interval).
    The same values give the same limits.
    """
    a, b = _vector(a), _vector(b)
    if len(a) != len(b):
        words = "a paired difference needs the same episodes on both sides"
        raise ValueError(f"episodes: {len(a)} against {len(b)}; {words}")
    interval = scipy.stats.bootstrap(
        (a - b,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=1000,  # 1000 x n doubles at a time, whatever n is
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    low, high = map(float, interval)
    return Interval(float(np.mean(a - b)), low, high, p=None)


def _vector(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2:
        words = "an interval needs one value an episode or seed, at least 2 of them"
        raise ValueError(f"values: shape {values.shape}; {words}")
    return values
