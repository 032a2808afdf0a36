"""Tables of fine-tunings over one seed or several, narrow enough for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Comparison
from metainit.reporting import tables
from metainit.transfer import summary, time_to_threshold
from metainit.transfer.results import FineTuning
from metainit.transfer.summary import SHARE, UNITS, DataSet, Line

Table = list[tuple[str, ...]]
_HEADING = ("initialisation", "head")


def of_seeds(
    seeds: Sequence[Sequence[FineTuning]], accuracies: Sequence[float]
) -> Iterator[tuple[str, list[tuple[str, Table]]]]:
    """The name of each data set with its tables, each with its title.

    A table's first two columns are initialisation and head.

    Args:
      seeds: the fine-tunings of each.
      accuracies: to be reached, fixed beforehand.
    """
    sets = summary.by_data_set(seeds, accuracies)
    ours = summary.our_line(seeds)
    against = summary.against(sets, ours) if ours and len(seeds) > 1 else {}
    for one in sets:
        found = [("Accuracy, %", _accuracy(one, against))]
        shares = {f"{s:.0%}": s for s in one.lines[0].times}
        if shares:
            title = "Steps to a share of the best baseline's final accuracy"
            found.append((title, _steps(one, shares, "times")))
        if accuracies:
            fixed = {f"{100 * value:g} %": value for value in accuracies}
            title = "Steps to an accuracy that was fixed beforehand"
            found.append((title, _steps(one, fixed, "absolute")))
        if shares and len(seeds) > 1:
            found.append((f"Until {SHARE:.0%}, mean [95 %] over seeds", _effort(one)))
        yield one.name, found


def explained(seeds: int) -> str:
    """What the tables of so many seeds say."""
    told = (
        "Accuracy after 0 and all steps, macro-F1 after all, and area, the mean of "
        "accuracy over log(1 + step). Then the steps until a threshold was reached; "
        "> N: not within N steps. Rates were chosen in trials on other images."
    )
    if seeds > 1:
        told += (
            " Means over seeds, [ ] are 95 % intervals over seeds (Student's t). Ours "
            "minus this: of accuracy at the end, paired by seed; p is corrected for "
            "the number of data sets (Holm), * is below 0.05. (2 of 3): seeds that "
            "reached it; where one did not, all count up to N, the shortest time that "
            "such a one was watched for, so that a mean with >= is a least. Median: "
            "Kaplan and Meier's, of steps; - where fewer than half got there."
        )
    return told


def _accuracy(
    one: DataSet, against: Mapping[tuple[str, str], Mapping[str, Comparison]]
) -> Table:
    """Accuracies, F1 and area; means over seeds."""
    differences = ("ours minus this", "p") if against else ()
    table: Table = [(*_HEADING, "0 steps", "end", "F1", "area", *differences)]
    for line in one.lines:
        cells = [
            f"{100 * np.mean(line.start):.1f}",
            _mean(line.final),
            f"{100 * np.mean(line.f1):.1f}",
            _mean(line.area),
        ]
        if of_line := against.get((line.init, line.head)):
            cells += tables.comparison(of_line[one.name])
        elif against:
            cells += ("ours", "-")
        table.append((line.init, line.head, *cells))
    return table


def _mean(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{100 * values[0]:.1f}"
    return tables.interval(intervals.over_seeds([values[:, None]], same_episodes=False))


def _steps(one: DataSet, levels: Mapping[str, float], field: str) -> Table:
    """Steps to several thresholds, by the name of their column."""
    table: Table = [(*_HEADING, *levels)]
    for line in one.lines:
        times = getattr(line, field)
        cells = (time_to_threshold.in_words(times[x]["steps"]) for x in levels.values())
        table.append((line.init, line.head, *cells))
    return table


def _effort(one: DataSet) -> Table:
    """What it took to reach `SHARE`, in every unit but images."""
    units = [unit for unit in UNITS if unit != "images"]
    table: Table = [(*_HEADING, "reached", "median", *units)]
    for line in one.lines:
        table.append((line.init, line.head, *_spent(line, units)))
    return table


def _spent(line: Line, units: Sequence[str]) -> Iterator[str]:
    found = {
        unit: time_to_threshold.summarise(line.times[SHARE][unit]) for unit in units
    }
    steps = found["steps"]
    yield f"{steps.reached} of {steps.runs}"
    yield "-" if steps.median is None else time_to_threshold.number(steps.median)
    for unit in units:  # epochs are steps in another measure, interval included
        yield time_to_threshold.mean_in_words(found[unit], interval=unit != "epochs")
