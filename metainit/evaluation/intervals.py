"""95 % intervals: over the episodes of one training run, or over seeds of it.

A seed trains anew and draws meta-test episodes of its own, the same for all of its
initialisations. So the means of the seeds are independent, and Student's interval of
them covers the draw of training and that of episodes (`benchmarks/coverage.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

CONDITIONAL = "conditional on this training run"
OVER_SEEDS = "over training runs and episodes"
RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean with its 95 % interval.

    Attributes:
      mean, low, high: in the unit of the table.
      p: two-sided, of a mean of 0; None for one seed, which says nothing of the next.
    """

    mean: float
    low: float
    high: float
    p: float | None


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


def over_seeds(table: np.ndarray) -> Interval:
    """Student's interval of the mean: of the seeds' means, or for one of its episodes.

    Args:
      table: float [seeds, episodes], a row for each training run.

    Raises:
      ValueError: another shape, or one seed with fewer than 2 episodes.
    """
    table = np.asarray(table, np.float64)
    if table.ndim != 2 or table.size < 2:
        raise ValueError(
            f"table: shape {table.shape}; give [seeds, episodes], of one seed at least "
            "2 episodes"
        )
    values = table[0] if len(table) == 1 else table.mean(1)
    mean, low, high = mean_interval(values)
    return Interval(mean, low, high, None if len(table) == 1 else _p(values))


def _p(values: np.ndarray) -> float:
    """That of Student's test of a mean of 0."""
    if np.ptp(values) == 0:  # where SciPy divides by 0
        return float(values[0] == 0)
    return float(scipy.stats.ttest_1samp(values, 0).pvalue)


def compare(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]
) -> dict[str, Comparison]:
    """Paired differences of two initialisations, a data set at a time.

    Args:
      first, second: float [seeds, episodes] by data set; the same seeds and episodes in
        the same order on both sides.

    Raises:
      ValueError: other data sets, seeds or episodes on one side than on the other.
    """
    shapes = [{k: np.shape(v) for k, v in side.items()} for side in (first, second)]
    if shapes[0] != shapes[1] or not first:
        raise ValueError(
            f"paired differences need the same data sets, seeds and episodes on both "
            f"sides, got {shapes[0]} against {shapes[1]}"
        )
    differences = {
        name: over_seeds(np.subtract(first[name], second[name], dtype=np.float64))
        for name in first
    }
    raw = [interval.p for interval in differences.values() if interval.p is not None]
    if not raw:
        return {name: Comparison(x, None, None) for name, x in differences.items()}
    return {
        name: Comparison(interval, float(p), bool(p < 0.05))
        for (name, interval), p in zip(differences.items(), holm(raw), strict=True)
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


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean with its 95 % Student-t interval.

    Args:
      values: float [n], n of at least 2.

    Returns:
      (mean, low, high).

    Raises:
      ValueError: another shape.
    """
    values = _vector(values)
    mean = float(np.mean(values))
    half = float(scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values))
    return mean, mean - half, mean + half


def paired_interval(
    a: np.ndarray, b: np.ndarray, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of a - b over shared episodes with its 95 % bootstrap interval.

    Episodes are resampled, so each keeps both of its values (Efron & Tibshirani,
    "An Introduction to the Bootstrap", 1993, percentile interval).

    Args:
      a, b: float [n], one value an episode, the same episodes in the same order.
      seed: of the resampling; the same seed gives the same interval.

    Returns:
      (mean difference, low, high).

    Raises:
      ValueError: different lengths, or fewer than two episodes.
    """
    a, b = _vector(a), _vector(b)
    if len(a) != len(b):
        raise ValueError(
            f"episodes: {len(a)} against {len(b)}; a paired difference needs the "
            "same episodes on both sides"
        )
    interval = scipy.stats.bootstrap(
        (a - b,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=1000,  # 1000 x n doubles at a time, whatever n is
        vectorized=True,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(np.mean(a - b)), float(interval.low), float(interval.high)


def _vector(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(
            f"values: shape {values.shape}; an interval needs one value an episode or "
            "seed, and at least 2 of them"
        )
    return values
