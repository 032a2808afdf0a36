"""Time to threshold: the cost of reaching an accuracy that was fixed beforehand.

A run that never reached it is right-censored: means are restricted ones and medians
are Kaplan and Meier's (`scipy.stats.ecdf`).
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Interval, mean_interval
from metainit.transfer.results import FineTuning, Record

SHARES = (0.9, 0.95, 0.99)  # of the best baseline's final accuracy
CLOSED_FORM = "logistic regression"
SHARE = 0.95  # the threshold of the report's first sentence and of break-even
# A record's field for what is spent, by its name in reports.
UNITS = {"steps": "step", "epochs": "epoch", "device seconds": "device_seconds"}

Line = tuple[str, str]  # an initialisation and a head


class Time(NamedTuple):
    """The cost until a run first met a threshold, or in all where it never did."""

    value: float
    reached: bool


class Summary(NamedTuple):
    """Times of several runs, one a seed, some of which reached the threshold.

    Attributes:
      horizon: the time up to which every run was watched.
      mean: mean over runs of the smaller of time and horizon. It is a lower bound where
        a run did not reach the threshold.
      interval: the mean's 95 % interval over runs, None where it has none.
      median: the time within which half of the runs get there; None where they do not.
    """

    reached: int
    runs: int
    horizon: float
    mean: float
    interval: tuple[float, float] | None
    median: float | None


class DataSet(NamedTuple):
    """All fine-tunings on one data set.

    Attributes:
      runs: the runs of each line, one a seed.
      baseline: the baseline's line with the highest final accuracy, mean over seeds;
        None where none is above 0.
      thresholds: accuracies by their share of that; {} without a baseline.
      horizon: the time, by unit, up to which the longest run was watched. A head in
        closed form that is below a threshold is so at least until then.
    """

    name: str
    runs: dict[Line, tuple[FineTuning, ...]]
    baseline: Line | None
    thresholds: dict[float, float]
    horizon: dict[str, float]

    def last(self, line: Line, field: str = "accuracy") -> np.ndarray:
        """Gives a field of a line's last points, float64 [seeds]."""
        return np.array([run.points[-1][field] for run in self.runs[line]], float)

    @property
    def before_steps(self) -> float | None:
        """The share of the best baseline's final accuracy that needs no step.

        Logistic regression on the same features has it; None where it was not fitted.
        """
        if self.baseline is None:
            return None
        line = self.baseline[0], CLOSED_FORM
        final = self.last(self.baseline).mean()
        return float(self.last(line).mean() / final) if line in self.runs else None

    def times(self, line: Line, accuracy: float) -> dict[str, tuple[Time, ...]]:
        """Gives the times that a line took to an accuracy: by unit, one a seed."""

        def time(run: FineTuning, unit: str) -> Time:
            time = time_to(accuracy, run.points, UNITS[unit])
            if run.in_closed_form and not time.reached:
                # Its accuracy stays, however long one waits.
                return Time(self.horizon[unit], False)
            return time

        return {unit: tuple(time(x, unit) for x in self.runs[line]) for unit in UNITS}


class Efficiency(NamedTuple):
    """All fine-tunings, of one seed or several.

    Attributes:
      heads: the best head of each initialisation on meta-validation.
      ours: our best initialisation with its head, by meta-validation; None without any.
    """

    data_sets: tuple[DataSet, ...]
    heads: dict[str, str]
    ours: Line | None


def efficiency(seeds: Sequence[Sequence[FineTuning]]) -> Efficiency:
    """Gathers fine-tunings, and finds thresholds, heads and the best of ours.

    A ValueError says where seeds differ in data sets, initialisations or heads.
    """
    tables = [{(run.dataset, run.init, run.head): run for run in x} for x in seeds]
    for table in tables:
        if differing := sorted(table.keys() ^ tables[0].keys()):
            lacking = "; ".join(", ".join(key) for key in differing[:5])
            raise ValueError(f"one seed lacks fine-tunings of another: {lacking}")
    data_sets: dict[str, dict[Line, tuple[FineTuning, ...]]] = {}
    for name, init, head in tables[0]:
        runs = tuple(table[name, init, head] for table in tables)
        data_sets.setdefault(name, {})[init, head] = runs
    validation: dict[Line, list[float]] = {}
    for run in itertools.chain(*seeds):
        validation.setdefault((run.init, run.head), []).append(run.validation_accuracy)
    quality = {line: float(np.mean(values)) for line, values in validation.items()}
    lines = [
        max((line for line in quality if line[0] == init), key=quality.__getitem__)
        for init in dict.fromkeys(init for init, _ in quality)
    ]
    our_inits = {run.init for run in seeds[0] if run.ours}
    ours = [line for line in lines if line[0] in our_inits]
    return Efficiency(
        tuple(_data_set(name, runs) for name, runs in data_sets.items()),
        dict(lines),
        max(ours, key=quality.__getitem__, default=None),
    )


def _data_set(name: str, runs: dict[Line, tuple[FineTuning, ...]]) -> DataSet:
    every = list(itertools.chain(*runs.values()))
    watched = [run for run in every if not run.in_closed_form] or every
    horizon = {
        unit: float(max(run.points[-1][field] for run in watched))
        for unit, field in UNITS.items()
    }
    data_set = DataSet(name, runs, None, {}, horizon)
    baselines = [line for line, (first, *_) in runs.items() if not first.ours]
    final = {line: float(data_set.last(line).mean()) for line in baselines}
    best = max(final, key=final.__getitem__, default=None)
    if best is None or not final[best]:
        return data_set
    thresholds = {share: share * final[best] for share in SHARES}
    return data_set._replace(baseline=best, thresholds=thresholds)


def against(efficiency: Efficiency) -> dict[Line, dict[str, Interval]]:
    """Compares the final accuracy of ours with each other line's, paired by seed.

    The differences are by line and data set; {} for one seed, or without ours.
    """
    data_sets, ours = efficiency.data_sets, efficiency.ours
    if ours is None or len(data_sets[0].runs[ours]) == 1:
        return {}

    def final(line: Line) -> dict[str, np.ndarray]:  # each [seeds, 1]
        return {x.name: x.last(line)[:, None] for x in data_sets}

    others = [line for line in data_sets[0].runs if line != ours]
    return {line: intervals.compare(final(ours), final(line)) for line in others}


def time_to(threshold: float, points: Sequence[Record], field: str = "step") -> Time:
    """Finds the first point at which the accuracy, 0 to 1, meets the threshold.

    Nothing is interpolated, so the time is never too short. The field is what was
    spent. A ValueError says that it falls.
    """
    spent, accuracy = _curve(points, field)
    met = np.flatnonzero(accuracy >= threshold)
    return Time(float(spent[met[0] if len(met) else -1]), len(met) > 0)


def area_over_log_steps(points: Sequence[Record]) -> float:
    """Averages accuracy over log(1 + step) from step 0, by the trapezoidal rule.

    Early steps count as much as late ones; 1 for a run that is right from the start.
    """
    steps, accuracy = _curve(points, "step")
    if steps[0] != 0:
        raise ValueError(f"steps must ascend from 0, got {steps}")
    where = np.log1p(steps)
    area = np.trapezoid(accuracy, where) / where[-1] if len(where) > 1 else accuracy[0]
    return float(area)


def _curve(points: Sequence[Record], field: str) -> np.ndarray:
    """Gives what was spent up to each point, and accuracies: float64 [2, points]."""
    curve = np.array([(x[field], x["accuracy"]) for x in points], np.float64).T
    if (np.diff(curve[0]) < 0).any():
        raise ValueError(f"{field} must not fall from point to point, got {curve[0]}")
    return curve


def summarise(times: Sequence[Time]) -> Summary:
    """Counts the runs that reached, and gives the restricted mean and the median.

    The horizon is the shortest time of a run that did not reach the threshold, else the
    longest. The interval is Student's. It is cut at 0 and, where not all runs got there
    by then, at the horizon. Where that cuts all runs there is no interval.
    """
    reached = [time.value for time in times if time.reached]
    unreached = [time.value for time in times if not time.reached]
    horizon = min(unreached) if unreached else max(reached)
    values = np.minimum([time.value for time in times], horizon)
    there = [value for value in reached if value <= horizon]
    all_there = len(there) == len(times)
    interval = None
    if len(times) > 1 and (all_there or min(there, default=horizon) < horizon):
        _, low, high = mean_interval(values)
        interval = max(0.0, low), high if all_there else min(horizon, high)
    censored = scipy.stats.CensoredData(uncensored=reached, right=unreached)
    survival = scipy.stats.ecdf(censored).sf
    half = np.flatnonzero(survival.probabilities <= 0.5 + 1e-12)
    return Summary(
        reached=len(reached),
        runs=len(times),
        horizon=horizon,
        mean=float(values.mean()),
        interval=interval,
        median=float(survival.quantiles[half[0]]) if len(half) else None,
    )


def restricted_mean(times: Sequence[Time], interval: bool = False) -> str:
    """Writes the mean and the horizon it is restricted to: "25", ">= 40 up to 90"."""
    s = summarise(times)
    mean, horizon = number(s.mean), number(s.horizon)
    if not s.reached:
        return f"> {horizon}"
    up_to = "" if s.reached == s.runs or mean == horizon else f" up to {horizon}"
    if s.reached < s.runs:
        mean = f">= {mean}"
    if interval and s.interval is not None:
        mean += f" [{', '.join(map(number, s.interval))}]"
    return mean + up_to


def number(value: float) -> str:
    """Rounds a time to what can be read: "1,000", "12", "0.84"."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"
