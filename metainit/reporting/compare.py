"""Finished runs side by side, over seeds: what their report is made of.

Runs whose configs differ in the seed only are seeds of one experiment. Differences are
paired: the same seeds, and in each the same episodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation import intervals, metrics
from metainit.evaluation.intervals import Comparison, Interval
from metainit.reporting import finished
from metainit.reporting.finished import Group, Run
from metainit.runtime.cost import OURS


class Entry(NamedTuple):
    """One initialisation of one experiment.

    Attributes:
      name: with the experiment's label.
      init: without it.
      heads: in words.
      validation: accuracy on meta-validation, mean over seeds.
      device_hours: of making it, mean over seeds.
      measurements: float [seeds, episodes], by metric, then by data set.
    """

    name: str
    init: str
    heads: str
    validation: float
    device_hours: float
    measurements: dict[str, dict[str, np.ndarray]]

    @property
    def accuracy(self) -> dict[str, np.ndarray]:
        """By data set, float [seeds, episodes]."""
        return self.measurements["accuracy"]


class Compared(NamedTuple):
    """Runs of one protocol in one table.

    Attributes:
      differences: a line for each setting in which the runs differ.
      missing: in words, runs without results or of seeds that not all experiments have.
      groups: experiments, each with its seeds.
      seeds: of every experiment.
      protocols: in words, by data set.
      entries: initialisations of all experiments.
      ours: the best of ours on meta-validation.
      against: ours minus each other entry, by its name and data set.
      overall: the same over the data sets together, each counting the same; {} for one.
    """

    differences: tuple[str, ...]
    missing: tuple[str, ...]
    groups: tuple[Group, ...]
    seeds: tuple[int, ...]
    protocols: dict[str, str]
    entries: tuple[Entry, ...]
    ours: Entry
    against: dict[str, dict[str, Comparison]]
    overall: dict[str, Interval]


def compare(paths: Sequence[str]) -> Compared:
    """Reads runs and compares them.

    Args:
      paths: folders of runs.

    Raises:
      ValueError: in one line, why the runs cannot stand in one table.
    """
    read = [finished.read(path) for path in dict.fromkeys(paths)]
    found = [run for run in read if isinstance(run, Run)]
    missing = tuple(run for run in read if isinstance(run, str))
    if not found:
        raise ValueError(f"no run is finished. {'; '.join(missing)}")
    finished.check(found)
    groups, left_out = finished.group(found)
    entries = tuple(_entry(group, init) for group in groups for init in _inits(group))
    candidates = [entry for entry in entries if entry.init in OURS]
    if not candidates:
        raise ValueError(f"none of the runs has one of {', '.join(OURS)}")
    ours = max(candidates, key=lambda entry: entry.validation)
    others = [entry for entry in entries if entry is not ours]
    protocols = {name: one.protocol for name, one in found[0].sets.items()}
    # Held-out classes are of the meta-train sets, another question.
    outside = [name for name, told in protocols.items() if "held-out" not in told]
    return Compared(
        differences=tuple(finished.differences(found)),
        missing=(*missing, *left_out),
        groups=groups,
        seeds=tuple(run.seed for run in groups[0].runs),
        protocols=protocols,
        entries=entries,
        ours=ours,
        # Holm's correction is over the data sets.
        against={
            entry.name: intervals.compare(ours.accuracy, entry.accuracy)
            for entry in others
        },
        overall={
            entry.name: intervals.over_seeds(
                [ours.accuracy[name] - entry.accuracy[name] for name in outside]
            )
            for entry in others
            if len(outside) > 1
        },
    )


def best(compared: Compared, dataset: str) -> Entry | None:
    """The entry that is significantly better than every other one, if one is."""
    first = max(compared.entries, key=lambda entry: entry.accuracy[dataset].mean())
    for other in compared.entries:
        if other is first:
            continue
        found = intervals.compare(first.accuracy, other.accuracy)[dataset]
        if not found.different or found.difference.mean <= 0:
            return None
    return first if len(compared.entries) > 1 else None


def _entry(group: Group, init: str) -> Entry:
    """With the head, for each seed, that was best on meta-validation."""
    heads, accuracies, seconds = [], [], []
    for run in group.runs:
        first = next(iter(run.sets.values()))
        of_init = {
            head: x for (i, head), x in first.validation_accuracy.items() if i == init
        }
        if not of_init:
            raise ValueError(f"{run.path} has no results of {init}")
        heads.append(max(of_init, key=of_init.__getitem__))
        accuracies.append(of_init[heads[-1]])
        seconds.append(first.device_seconds[init])
    counts = Counter(heads)
    measurements = {
        metric: {
            name: np.stack(
                [
                    run.sets[name].measurements[metric][init, head]
                    for run, head in zip(group.runs, heads, strict=True)
                ]
            )
            for name in group.runs[0].sets
        }
        for metric in metrics.METRICS
    }
    return Entry(
        name=f"{group.label}: {init}" if group.label else init,
        init=init,
        heads=", ".join(
            f"{h} ({n})" if len(counts) > 1 else h for h, n in counts.items()
        ),
        validation=float(np.mean(accuracies)),
        device_hours=float(np.mean(seconds)) / 3600,
        measurements=measurements,
    )


def _inits(group: Group) -> tuple[str, ...]:
    first = next(iter(group.runs[0].sets.values()))
    return tuple(dict.fromkeys(init for init, _ in first.validation_accuracy))
