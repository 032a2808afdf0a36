"""Time to threshold: what it takes to reach an accuracy fixed beforehand.

A run that never reached it is right-censored: means are restricted ones and medians
are Kaplan and Meier's (`scipy.stats.ecdf`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Comparison, mean_interval
from metainit.transfer.results import FineTuning

SHARES = (0.9, 0.95, 0.99)  # of the best baseline's final accuracy
SHARE = 0.95  # the threshold that verdict and break-even are about
# A row's field for what is spent, by its name in words.
UNITS = {"steps": "step", "epochs": "epoch", "device seconds": "device_seconds"}


class Time(NamedTuple):
    """What a run took until it first met a threshold or, where it never did, in all."""

    value: float
    reached: bool


Times = dict[str, tuple[Time, ...]]  # by unit, one a seed


class Summary(NamedTuple):
    """Several runs, one a seed, of which some reached the threshold.

    Attributes:
      horizon: up to which every run was watched.
      mean: of the smaller of time and horizon; a lower bound where a run did not reach.
      low, high: its 95 % interval over runs, None where it has none.
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
    """Accuracies by share of the best baseline's final one, mean over seeds."""

    baseline: str
    final: float
    values: dict[float, float]


class Line(NamedTuple):
    """One initialisation with one head on one data set, a value for each seed.

    Attributes:
      start, final, f1, area: float [seeds]: accuracy before and after, final macro-F1,
        area under accuracy over log-steps; 0 to 1.
      times: to each threshold, by share; {} where there is no threshold.
      absolute: to each accuracy that was fixed beforehand, by it.
    """

    init: str
    head: str
    settings: tuple[dict[str, object], ...]
    start: np.ndarray
    final: np.ndarray
    f1: np.ndarray
    area: np.ndarray
    times: dict[float, Times]
    absolute: dict[float, Times]


class DataSet(NamedTuple):
    """All lines of one data set, one an initialisation and head.

    Attributes:
      thresholds: None where no baseline got above 0.
      horizon: up to which the longest run was watched, by unit; a head in closed form
        that is not good enough stays so at least until then.
    """

    name: str
    thresholds: Thresholds | None
    horizon: dict[str, float]
    lines: tuple[Line, ...]


def from_baselines(final: Mapping[str, Sequence[float]]) -> Thresholds | None:
    """Takes `SHARES` of the best baseline's final accuracy, where that is above 0.

    `final` has accuracies at the last step, one a seed, by name of the baseline; never
    of an initialisation that is to be judged by them.
    """
    means = {name: float(np.mean(values)) for name, values in final.items()}
    best = max(means, key=means.__getitem__, default="")
    if not means.get(best):
        return None
    return Thresholds(best, means[best], {s: s * means[best] for s in SHARES})


def time_to(x: Any, accuracy: Any, threshold: float) -> Time:
    """Finds the first point measured at which the accuracy, 0 to 1, is met.

    Nothing is interpolated, so the time is never too short. `x`, float [points]
    ascending, is what was spent: steps, epochs, images or seconds. A ValueError says
    that the threshold is out of range, or the curve is none.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, got {threshold}")
    x, accuracy = _checked(x, accuracy)
    met = np.flatnonzero(accuracy >= threshold)
    return Time(float(x[met[0]]), True) if len(met) else Time(float(x[-1]), False)


def area_over_log_steps(steps: Sequence[int], accuracy: Sequence[float]) -> float:
    """Averages accuracy over log(1 + step) from step 0, by the trapezoidal rule.

    Early steps count as much as late ones; 1 for a run that is right from the start.
    """
    x, y = _checked(steps, accuracy)
    if x[0] != 0:
        raise ValueError(f"steps must ascend from 0, got {list(steps)}")
    where = np.log1p(x)
    return float(np.trapezoid(y, where) / where[-1]) if len(x) > 1 else float(y[0])


def _checked(x: Any, accuracy: Any) -> tuple[np.ndarray, np.ndarray]:
    x, accuracy = np.asarray(x, np.float64), np.asarray(accuracy, np.float64)
    if x.ndim != 1 or not len(x) or x.shape != accuracy.shape or (np.diff(x) < 0).any():
        raise ValueError(
            f"curve: x {x.shape} and accuracy {accuracy.shape}; it needs as many of "
            "one as of the other, at least one, and x that does not fall"
        )
    return x, accuracy


def summarise(times: Sequence[Time]) -> Summary:
    """Gives the share that reached, the restricted mean with interval, and the median.

    The horizon is the shortest time of a run that did not reach the threshold, else the
    longest. The interval is Student's, cut at 0 and, where not all runs got there by
    then, at the horizon; runs that all are cut there have none.
    """
    if not times:
        raise ValueError("times: no run")
    unreached = [time.value for time in times if not time.reached]
    horizon = min(unreached) if unreached else max(time.value for time in times)
    values = np.array([min(time.value, horizon) for time in times])
    there = [time.value for time in times if time.reached and time.value <= horizon]
    low: float | None = None
    high: float | None = None
    mean, n = float(values.mean()), len(times)
    if n > 1 and (len(there) == n or (there and min(there) < horizon)):
        _, low, high = mean_interval(values)
        low = max(0.0, low)
        high = high if len(there) == n else min(horizon, high)
    censored = scipy.stats.CensoredData(
        uncensored=[time.value for time in times if time.reached], right=unreached
    )
    survival = scipy.stats.ecdf(censored).sf
    half_there = np.flatnonzero(survival.probabilities <= 0.5 + 1e-12)
    median = float(survival.quantiles[half_there[0]]) if len(half_there) else None
    return Summary(len(times) - len(unreached), n, horizon, mean, low, high, median)


def in_words(times: Sequence[Time]) -> str:
    """Words a time for each seed: "50", "> 1,000", ">= 40 up to 90 (2 of 3)"."""
    if len(times) == 1:
        (time,) = times
        return ("" if time.reached else "> ") + number(time.value)
    summary = summarise(times)
    return f"{mean_in_words(summary)} ({summary.reached} of {summary.runs})"


def mean_in_words(summary: Summary, interval: bool = False) -> str:
    """Words the mean, and the horizon it is restricted to: "25", ">= 40 up to 90"."""
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
    """Rounds a time to what can be read: "1,000", "12", "0.84"."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def by_data_set(
    seeds: Sequence[Sequence[FineTuning]], accuracies: Sequence[float] = ()
) -> tuple[DataSet, ...]:
    """Takes thresholds from the best baseline, and the times each line took to them.

    `accuracies`, above 0 to 1, were fixed beforehand. A ValueError says where seeds
    differ in data sets, initialisations or heads.
    """
    tables = [{(r.dataset, r.init, r.head): r for r in runs} for runs in seeds]
    for table in tables:
        if differing := sorted(table.keys() ^ tables[0].keys()):
            raise ValueError(
                "fine-tunings of one seed lack those of another: "
                + "; ".join(", ".join(key) for key in differing[:5])
            )
    lines: dict[str, list[list[FineTuning]]] = {}
    for key in tables[0]:
        lines.setdefault(key[0], []).append([table[key] for table in tables])
    return tuple(_data_set(name, runs, accuracies) for name, runs in lines.items())


def _data_set(
    name: str, lines: Sequence[Sequence[FineTuning]], accuracies: Sequence[float]
) -> DataSet:
    """Gathers one data set from the runs of each of its lines, one a seed."""
    final = {
        f"{runs[0].init}, {runs[0].head}": [run.points[-1]["accuracy"] for run in runs]
        for runs in lines
        if not runs[0].ours
    }
    thresholds = from_baselines(final)
    every = [run for runs in lines for run in runs]
    watched = [run for run in every if not run.in_closed_form] or every
    horizon = {
        unit: float(max(run.points[-1][field] for run in watched))
        for unit, field in UNITS.items()
    }

    def time(run: FineTuning, unit: str, value: float) -> Time:
        time = time_to(*curve(run.points, UNITS[unit]), value)
        if run.in_closed_form and not time.reached:
            return Time(horizon[unit], False)  # it stays, however long one waits
        return time

    def times_to(runs: Sequence[FineTuning], value: float) -> Times:
        return {unit: tuple(time(run, unit, value) for run in runs) for unit in UNITS}

    def line(runs: Sequence[FineTuning]) -> Line:
        shares = thresholds.values if thresholds else {}
        return Line(
            init=runs[0].init,
            head=runs[0].head,
            settings=tuple(run.setting for run in runs),
            start=np.array([run.points[0]["accuracy"] for run in runs], np.float64),
            final=np.array([run.points[-1]["accuracy"] for run in runs], np.float64),
            f1=np.array([run.points[-1]["f1"] for run in runs], np.float64),
            area=np.array([area_over_log_steps(*curve(run.points)) for run in runs]),
            times={share: times_to(runs, value) for share, value in shares.items()},
            absolute={value: times_to(runs, value) for value in accuracies},
        )

    return DataSet(name, thresholds, horizon, tuple(map(line, lines)))


def curve(
    points: Sequence[Mapping[str, Any]], field: str = "step"
) -> tuple[list[Any], list[float]]:
    """Gives what was spent up to each point, in `field`, and the accuracies."""
    return [point[field] for point in points], [point["accuracy"] for point in points]


def line_of(data_set: DataSet, init: str, head: str) -> Line:
    (line,) = (x for x in data_set.lines if (x.init, x.head) == (init, head))
    return line


def _on_validation(
    seeds: Sequence[Sequence[FineTuning]],
) -> dict[tuple[str, str], float]:
    """Averages accuracy on meta-validation, by initialisation and head."""
    accuracy: dict[tuple[str, str], list[float]] = {}
    for run in (run for runs in seeds for run in runs):
        accuracy.setdefault((run.init, run.head), []).append(run.validation_accuracy)
    return {line: float(np.mean(values)) for line, values in accuracy.items()}


def best_heads(seeds: Sequence[Sequence[FineTuning]]) -> dict[str, str]:
    """Gives the head of each initialisation that did best on meta-validation."""
    means = _on_validation(seeds)
    return {
        init: max((h for i, h in means if i == init), key=lambda h: means[init, h])
        for init in dict.fromkeys(init for init, _ in means)
    }


def our_line(seeds: Sequence[Sequence[FineTuning]]) -> tuple[str, str] | None:
    """Gives our best initialisation with its best head, both on meta-validation."""
    of_ours = {run.init for run in seeds[0] if run.ours}
    ours = (line for line in best_heads(seeds).items() if line[0] in of_ours)
    return max(ours, key=_on_validation(seeds).__getitem__, default=None)


def against(
    sets: Sequence[DataSet], ours: tuple[str, str]
) -> dict[tuple[str, str], dict[str, Comparison]]:
    """Compares the final accuracy of ours with each other line's, paired by seed.

    The differences are by initialisation and head, and by data set; two seeds at least.
    """

    def final(init: str, head: str) -> dict[str, np.ndarray]:  # each [seeds, 1]
        return {x.name: line_of(x, init, head).final[:, None] for x in sets}

    return {
        line: intervals.compare(final(*ours), final(*line))
        for line in ((line.init, line.head) for line in sets[0].lines)
        if line != ours
    }
