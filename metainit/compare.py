"""Compares finished runs, over seeds: python -m metainit.compare RUN...

Runs whose configs differ in the seed only are seeds of one experiment. Differences are
paired: the same seeds, and in each the same episodes.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metainit import finished, intervals, report_transfer, tables
from metainit.finished import Group, Run
from metainit.intervals import Comparison, Interval
from metainit.results import OURS

_WIDTH = 100


class _Row(NamedTuple):
    """One initialisation of one experiment.

    Attributes:
      name: with the experiment's label.
      init: without it.
      heads: in words.
      validation: accuracy on meta-validation, mean over seeds.
      accuracy: float [seeds, episodes] by data set.
    """

    name: str
    init: str
    heads: str
    validation: float
    accuracy: dict[str, np.ndarray]


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m metainit.compare", description=__doc__
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    try:
        print(compare(parser.parse_args(argv).runs))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def compare(paths: Sequence[str]) -> str:
    """Config differences, accuracies over seeds, paired differences, transfer.

    Args:
      paths: folders of runs.

    Returns:
      Plain text in ASCII.

    Raises:
      ValueError: in one line, why the runs cannot stand in one table.
    """
    read = [finished.read(path) for path in dict.fromkeys(paths)]
    found = [run for run in read if isinstance(run, Run)]
    missing = [run for run in read if isinstance(run, str)]
    if not found:
        raise ValueError(f"no run is finished. {'; '.join(missing)}")
    lines = ["Config differences", ""]
    lines += list(finished.differences(found)) or ["none"]
    finished.check(found)
    groups = finished.group(found)
    if groups[0].label:
        lines.append("")
        for group in groups:
            lines.append(f"{group.label}: {_paths(group.runs)}")
    if missing:
        lines += ["", "Missing", "", *missing]
    seeds = [run.seed for run in groups[0].runs]
    lines += ["", f"Accuracy over seeds {', '.join(map(str, seeds))}", ""]
    if len(seeds) == 1:
        lines[-2] = f"Accuracy, seed {seeds[0]}: {intervals.CONDITIONAL}"
    lines += _accuracies(groups)
    for group in groups:
        lines += _transfer(group)
    return "\n".join(lines)


def _accuracies(groups: Sequence[Group]) -> Iterator[str]:
    """A table for each data set: a line for each initialisation of each group."""
    sets = tuple(groups[0].runs[0].sets)
    rows = [_row(group, init) for group in groups for init in _inits(group)]
    candidates = [row for row in rows if row.init in OURS]
    if not candidates:
        raise ValueError(f"none of the runs has one of {', '.join(OURS)}")
    ours = max(candidates, key=lambda row: row.validation)
    against = {  # Holm's correction is over the data sets
        row.name: intervals.compare(ours.accuracy, row.accuracy)
        for row in rows
        if row is not ours
    }
    for name in sets:
        protocol = groups[0].runs[0].sets[name].protocol
        yield from textwrap.wrap(f"{name}, {protocol}", _WIDTH)
        table: list[tuple[str, ...]] = [
            ("initialisation", "head", "accuracy, %", "ours minus this", "p")
        ]
        for row in rows:
            mean = _interval(intervals.over_seeds([row.accuracy[name]]), "")
            if row is ours:
                difference = ("ours", "-")
            else:
                difference = _difference(against[row.name][name])
            table.append((row.name, row.heads, mean, *difference))
        yield from tables.aligned(table)
        yield ""
    yield from textwrap.wrap(_explained(groups, ours), _WIDTH)


def _row(group: Group, init: str) -> _Row:
    """With the head, for each seed, that was best on meta-validation."""
    heads, accuracies = [], []
    for run in group.runs:
        of_run = next(iter(run.sets.values())).validation_accuracy
        of_init = {head: x for (i, head), x in of_run.items() if i == init}
        if not of_init:
            raise ValueError(f"{run.path} has no results of {init}")
        heads.append(max(of_init, key=of_init.__getitem__))
        accuracies.append(of_init[heads[-1]])
    counts = Counter(heads)
    return _Row(
        f"{group.label}: {init}" if group.label else init,
        init,
        ", ".join(f"{h} ({n})" if len(counts) > 1 else h for h, n in counts.items()),
        float(np.mean(accuracies)),
        {
            name: np.stack(
                [
                    run.sets[name].accuracy[init, head]
                    for run, head in zip(group.runs, heads, strict=True)
                ]
            )
            for name in group.runs[0].sets
        },
    )


def _explained(groups: Sequence[Group], ours: _Row) -> str:
    told = (
        f'"Ours" is {ours.name}, the best of ours on meta-validation; every head is '
        "the one that was best there, by seed. Differences in points are paired over "
        "seeds and episodes, [ ] are 95 % intervals"
    )
    if len(groups[0].runs) == 1:
        return (
            f"{told}, {intervals.CONDITIONAL}: they cover the draw of episodes, not "
            "that of training, so that nothing is called significant."
        )
    return (
        f"{told} {intervals.OVER_SEEDS} (Student's t). p is corrected for the number "
        "of data sets (Holm); * is below 0.05."
    )


def _difference(found: Comparison) -> tuple[str, str]:
    told = _interval(found.difference, "+")
    if found.p is None:
        return told, "-"
    return told, f"{found.p:.3f}{'*' if found.different else ' '}"


def _interval(interval: Interval, sign: str) -> str:
    mean, low, high = (100 * x for x in (interval.mean, interval.low, interval.high))
    return f"{mean:{sign}.1f} [{low:.1f}, {high:.1f}]"


def _inits(group: Group) -> tuple[str, ...]:
    first = next(iter(group.runs[0].sets.values()))
    return tuple(dict.fromkeys(init for init, _ in first.accuracy))


def _transfer(group: Group) -> Iterator[str]:
    there = [run for run in group.runs if run.transfer]
    if not there:
        return
    title = f"Transfer efficiency{f' of {group.label}' if group.label else ''}"
    seeds = [run.transfer for run in there]
    yield from ("", f"{title}, seeds {', '.join(str(run.seed) for run in there)}", "")
    if absent := [run for run in group.runs if not run.transfer]:
        yield f"missing: {_paths(absent)} without transfer"
        yield ""
    costs = {
        init: float(np.mean([run.costs[init] for run in there]))
        for init in there[0].costs
    }
    yield from report_transfer.of_seeds(seeds, costs, _WIDTH)


def _paths(runs: Sequence[Run]) -> str:
    return ", ".join(str(run.path) for run in runs)


if __name__ == "__main__":
    sys.exit(main())
