"""Time to threshold: what it takes to reach an accuracy fixed beforehand.

A run that never reached it is right-censored: it took longer than was measured. Leaving
it out would reward an initialisation for failing, so means are restricted ones and
medians are Kaplan and Meier's (`scipy.stats.ecdf`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

SHARES = (0.9, 0.95, 0.99)  # of the best baseline's final accuracy


class Curve(NamedTuple):
    """One run, as measured.

    Attributes:
      x: float [points], ascending: steps, epochs, images or seconds spent.
      accuracy: float [points], 0 to 1.
    """

    x: np.ndarray
    accuracy: np.ndarray


class Time(NamedTuple):
    """What one run took.

    Attributes:
      value: spent when the threshold was first met, or, where it never was, in all.
      reached: whether it was.
    """

    value: float
    reached: bool


class Summary(NamedTuple):
    """Several runs, one a seed.

    Attributes:
      reached: runs that reached the threshold.
      runs: in all.
      horizon: up to which the mean is restricted.
      mean: restricted mean, of the smaller of time and horizon; a lower bound of the
        mean time where a run did not reach.
      low, high: its 95 % interval over runs; None for one run, or where no run reached
        the threshold before a horizon that cuts others.
      median: the time within which half of the runs get there; None where they do not.
    """

    reached: int
    runs: int
    horizon: float
    mean: float
    low: float | None
    high: float | None
    median: float | None


class Thresholds(NamedTuple):
    """Accuracies to be reached, with the baseline they are taken from.

    Attributes:
      baseline: name of the best baseline.
      final: its final accuracy, mean over seeds.
      values: accuracy by share of it.
    """

    baseline: str
    final: float
    values: dict[float, float]


def from_baselines(
    final: Mapping[str, Sequence[float]], shares: Sequence[float] = SHARES
) -> Thresholds:
    """Thresholds as shares of the best baseline's final accuracy.

    Args:
      final: accuracies at the last step, one a seed, by name of the baseline; never of
        an initialisation that is to be judged by them.
      shares: above 0 to 1.

    Raises:
      ValueError: no baseline, or a share out of range.
    """
    if not final:
        raise ValueError("thresholds: no baseline to take them from")
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f"thresholds: share {share} must be above 0 and at most 1")
    means = {name: float(np.mean(values)) for name, values in final.items()}
    best = max(means, key=means.__getitem__)
    return Thresholds(best, means[best], {s: s * means[best] for s in shares})


def time_to(curve: Curve, threshold: float) -> Time:
    """The first point measured at which the threshold is met.

    Nothing is interpolated: between two measurements nobody looked, so the time is
    known up to the distance of measurements only, and is never too short.

    Args:
      curve: of one run.
      threshold: accuracy, above 0 to 1.

    Raises:
      ValueError: a threshold out of range, or a curve that is not one.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    x, accuracy = _checked(curve)
    met = np.flatnonzero(accuracy >= threshold)
    return Time(float(x[met[0]]), True) if len(met) else Time(float(x[-1]), False)


def common_horizon(groups: Sequence[Sequence[Time]]) -> float:
    """The largest horizon up to which every run of every group was watched.

    Restricted means can be compared at one horizon only.
    """
    times = [time for group in groups for time in group]
    censored = [time.value for time in times if not time.reached]
    return min(censored) if censored else max(time.value for time in times)


def summarise(times: Sequence[Time], horizon: float | None = None) -> Summary:
    """Share that reached, restricted mean with its interval, and median.

    The restricted mean is the area under the Kaplan-Meier curve up to the horizon; its
    interval is Student's, over the runs' pseudo-values (Andersen et al. 2003), which
    are min(time, horizon) where no run was given up before the horizon. It is cut at 0
    and, where not all runs got there by then, at the horizon. Runs that all are cut
    there have none: that their pseudo-values do not vary says nothing of the times.

    Args:
      times: one a run.
      horizon: None for `common_horizon` of these runs.

    Raises:
      ValueError: no runs, or a horizon beyond what any run measured.
    """
    if not times:
        raise ValueError("times: no run")
    horizon = common_horizon([times]) if horizon is None else horizon
    longest = max(time.value for time in times)
    if horizon > longest and Time(longest, False) in times:
        raise ValueError(
            f"horizon {horizon:g} lies beyond the longest run's {longest:g}, which did "
            f"not reach the threshold; use {longest:g} or less"
        )
    reached = sum(time.reached for time in times)
    mean = _restricted_mean(times, horizon)
    low: float | None = None
    high: float | None = None
    n = len(times)
    there = [time.value for time in times if time.reached and time.value <= horizon]
    if n > 1 and (len(there) == n or (there and min(there) < horizon)):
        without = [
            _restricted_mean([*times[:i], *times[i + 1 :]], horizon) for i in range(n)
        ]
        pseudo = n * mean - (n - 1) * np.array(without)
        half = scipy.stats.t.ppf(0.975, n - 1) * np.std(pseudo, ddof=1) / math.sqrt(n)
        low, high = max(0.0, mean - half), mean + half
        if len(there) < n:
            high = min(horizon, high)
    x, survival = _survival(times)
    half_there = np.flatnonzero(survival <= 0.5 + 1e-12)
    median = float(x[half_there[0]]) if len(half_there) else None
    return Summary(reached, n, horizon, mean, low, high, median)


def in_words(times: Sequence[Time]) -> str:
    """What it took, one time a seed: "50", "> 1,000", ">= 40 up to 90 (2 of 3)"."""
    if len(times) == 1:
        (time,) = times
        return ("" if time.reached else "> ") + number(time.value)
    found = summarise(times)
    return f"{mean_in_words(found)} ({found.reached} of {found.runs})"


def mean_in_words(summary: Summary, interval: bool = False) -> str:
    """The mean, and the horizon where it is restricted: "25", ">= 40 up to 90", "> 90".

    Args:
      summary: of several runs.
      interval: add the mean's, where it has one.
    """
    s, mean, horizon = summary, number(summary.mean), number(summary.horizon)
    if not s.reached:
        return f"> {horizon}"
    up_to = "" if s.reached == s.runs or mean == horizon else f" up to {horizon}"
    if s.reached < s.runs:
        mean = f">= {mean}"
    if interval and s.low is not None and s.high is not None:
        mean += f" [{number(s.low)}, {number(s.high)}]"
    return mean + up_to


def number(value: float) -> str:
    """A time, rounded to what can be read: "1,000", "12", "0.84"."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def area_over_log_steps(steps: Sequence[int], accuracy: Sequence[float]) -> float:
    """Mean accuracy over log(1 + step), by the trapezoidal rule.

    Early steps count as much as late ones; 1 for a run that is right from the start.

    Args:
      steps: ascending from 0.
      accuracy: at these steps, 0 to 1.

    Raises:
      ValueError: the steps do not ascend from 0, or there is one only.
    """
    x, y = _checked(Curve(np.asarray(steps), np.asarray(accuracy)))
    if x[0] != 0 or len(x) < 2:
        raise ValueError(f"steps must ascend from 0 to 1 or more, got {list(steps)}")
    where = np.log1p(x)
    return float(np.trapezoid(y, where) / where[-1])


def _checked(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(curve.x, np.float64)
    accuracy = np.asarray(curve.accuracy, np.float64)
    if x.ndim != 1 or not len(x) or x.shape != accuracy.shape or (np.diff(x) < 0).any():
        raise ValueError(
            f"curve: x {x.shape} and accuracy {accuracy.shape}; it needs as many of "
            "one as of the other, at least one, and x that does not fall"
        )
    return x, accuracy


def _survival(times: Sequence[Time]) -> tuple[np.ndarray, np.ndarray]:
    """Kaplan-Meier: the share still under way after each time, at those times."""
    data = scipy.stats.CensoredData(
        uncensored=[time.value for time in times if time.reached],
        right=[time.value for time in times if not time.reached],
    )
    curve = scipy.stats.ecdf(data).sf
    return curve.quantiles, curve.probabilities


def _restricted_mean(times: Sequence[Time], horizon: float) -> float:
    """Area under the survival curve, a staircase from 1, up to the horizon."""
    x, survival = _survival(times)
    inside = x < horizon
    edges = np.concatenate([[0.0], x[inside], [horizon]])
    heights = np.concatenate([[1.0], survival[inside]])
    return float(np.sum(np.diff(edges) * heights))
