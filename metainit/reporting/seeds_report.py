"""The report of finished runs, over seeds.

    metainit report RUN... [--out FOLDER]

Config differences come first, then accuracies, paired differences and times to
threshold; with --out also as report.md and report.html. Runs whose configs differ in
the seed only are seeds of one experiment. Differences are paired: the same seeds, and
in each the same episodes.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import pathlib
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Comparison, Interval
from metainit.reporting import (
    figures,
    finished_runs,
    html,
    tables,
    transfer_report,
)
from metainit.reporting.finished_runs import Group, PerEpisode, Run
from metainit.reporting.tables import ACCURACY, METRICS, Block, Bullets, Code, Heading
from metainit.runtime.cost import OURS


class Entry(NamedTuple):
    """One initialisation of one experiment, with its best head of each seed.

    Attributes:
      name: with the experiment's label.
      init: without it.
      heads: in words.
      validation: accuracy on meta-validation, mean over seeds.
      device_hours: of making it, mean over seeds.
      measurements: float [seeds, episodes] by metric and data set.
    """

    name: str
    init: str
    heads: str
    validation: float
    device_hours: float
    measurements: dict[str, dict[str, np.ndarray]]

    @property
    def accuracy(self) -> dict[str, np.ndarray]:
        """Float [seeds, episodes] by data set."""
        return self.measurements["accuracy"]


class Compared(NamedTuple):
    """Runs of one protocol in one table.

    Attributes:
      differences: a line for each setting in which the runs differ.
      missing: in words, runs without results or of seeds that not all experiments have.
      groups: experiments, each with its seeds.
      data_sets: of the first run, by name.
      entries: initialisations of all experiments.
      ours: the best of ours on meta-validation.
      against: ours minus each other entry, by its name and data set; see `paired`.
      overall: the same over the data sets together, each counting the same, without
        held-out classes; {} for one.
    """

    differences: tuple[str, ...]
    missing: tuple[str, ...]
    groups: tuple[Group, ...]
    data_sets: dict[str, PerEpisode]
    entries: tuple[Entry, ...]
    ours: Entry
    against: dict[str, dict[str, Comparison]]
    overall: dict[str, Interval]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every experiment."""
        return tuple(run.seed for run in self.groups[0].runs)


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="metainit report",
        description="Compares finished runs, over seeds.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument("--out", metavar="FOLDER", help="where the page is written")
    args = parser.parse_args(argv)
    try:
        compared = compare(args.runs)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(terminal(compared))
    if args.out:
        command = ["metainit", "report", *args.runs, "--out", args.out]
        print(f"report: {write(args.out, compared, shlex.join(command))}")
    return 0


def compare(paths: Sequence[str]) -> Compared:
    """Reads runs and compares them.

    Args:
      paths: folders of runs.

    Raises:
      ValueError: in one line, why the runs cannot stand in one table.
    """
    read = [finished_runs.read(path) for path in dict.fromkeys(paths)]
    runs = [run for run in read if isinstance(run, Run)]
    missing = tuple(run for run in read if isinstance(run, str))
    if not runs:
        raise ValueError(f"no run is finished. {'; '.join(missing)}")
    finished_runs.check(runs)
    groups, left_out = finished_runs.group(runs)
    entries = tuple(entry for group in groups for entry in _entries(group))
    candidates = [entry for entry in entries if entry.init in OURS]
    if not candidates:
        raise ValueError(f"none of the runs has one of {', '.join(OURS)}")
    ours = max(candidates, key=lambda entry: entry.validation)
    data_sets = runs[0].data_sets
    unseen = [name for name, part in data_sets.items() if not part.held_out]
    others = [entry for entry in entries if entry is not ours]
    return Compared(
        differences=tuple(finished_runs.differences(runs)),
        missing=(*missing, *left_out),
        groups=groups,
        data_sets=data_sets,
        entries=entries,
        ours=ours,
        against={x.name: paired(ours, x, data_sets) for x in others},
        overall={
            entry.name: intervals.over_seeds(
                [ours.accuracy[name] - entry.accuracy[name] for name in unseen]
            )
            for entry in others
            if len(unseen) > 1
        },
    )


def paired(
    first: Entry, second: Entry, data_sets: Mapping[str, PerEpisode]
) -> dict[str, Comparison]:
    """Accuracy of one entry minus that of another, by data set.

    Holm's correction is over the data sets. Held-out classes of the meta-train sets are
    another question, and corrected for by themselves.
    """
    comparisons: dict[str, Comparison] = {}
    for held_out in (False, True):
        names = [name for name, x in data_sets.items() if x.held_out == held_out]
        if names:
            comparisons |= intervals.compare(
                {name: first.accuracy[name] for name in names},
                {name: second.accuracy[name] for name in names},
            )
    return comparisons


def best(compared: Compared, data_set: str) -> Entry | None:
    """The entry that is significantly better than every other one, if one is."""
    first = max(compared.entries, key=lambda entry: entry.accuracy[data_set].mean())
    for other in compared.entries:
        if other is not first:
            comparison = paired(first, other, compared.data_sets)[data_set]
            if not comparison.different or comparison.difference.mean <= 0:
                return None
    return first if len(compared.entries) > 1 else None


def verdict(compared: Compared) -> str:
    """One sentence: our best against the baseline that is hardest to beat.

    Held-out classes of the meta-train sets do not count.
    """
    ours, seeds = compared.ours, compared.seeds
    baselines = [entry for entry in compared.entries if entry.init not in OURS]
    if not baselines:
        return f"{ours.name} has no baseline to be compared with in these runs."
    comparisons = {
        entry.name: {
            name: comparison
            for name, comparison in compared.against[entry.name].items()
            if not compared.data_sets[name].held_out
        }
        for entry in baselines
    }
    hardest = min(
        comparisons,
        key=lambda name: np.mean(
            [x.difference.mean for x in comparisons[name].values()]
        ),
    )
    points = "; ".join(
        f"{ACCURACY.interval(comparison.difference, '+')} points on {name}"
        for name, comparison in comparisons[hardest].items()
    )
    if len(seeds) == 1:
        return (
            f"In this one training run (seed {seeds[0]}) {ours.name} differs from the "
            f"baseline that is hardest to beat, {hardest}, by {points}."
        )
    means = [
        comparison.difference.mean
        for comparison in comparisons[hardest].values()
        if comparison.different
    ]
    better, worse = sum(x > 0 for x in means), sum(x < 0 for x in means)
    called = f"better on {better} of {len(comparisons[hardest])} data sets"
    if worse:
        called += f" and significantly worse on {worse}"
    return (
        f"Over {len(seeds)} seeds {ours.name} is significantly {called} than the "
        f"baseline that is hardest to beat, {hardest}: {points}."
    )


def terminal(compared: Compared) -> str:
    """Plain text in ASCII; config differences first."""
    blocks: list[Block] = [
        *_runs(compared),
        verdict(compared),
        Heading(_title(compared)),
        *_data_sets(compared),
        _explained(compared),
    ]
    for group in compared.groups:
        blocks += _transfer(group)
    return tables.terminal(blocks)


def write(
    folder: str | os.PathLike[str], compared: Compared, command: str
) -> pathlib.Path:
    """Writes `report.md`, `report.html` and figures; returns the first's path.

    Args:
      folder: made when absent.
      compared: the runs.
      command: that makes this report.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    blocks: list[Block] = [
        verdict(compared),
        _explained(compared),
        Heading(f"metainit: {_title(compared)}", 1),
        *_runs(compared),
        *_data_sets(compared),
        _columns(compared),
    ]
    for group in compared.groups:
        if runs := _with_transfer(group):
            figures.transfer(folder / _figure(group), [run.transfer for run in runs])
        blocks += _transfer(group)
    blocks += [Heading("Run it again"), Code(command)]
    blocks.append("Versions, device and command of each run stand in its own report.")
    for group in compared.groups:
        config, seed = group.runs[0].config, group.runs[0].seed
        blocks.append(Heading(f"Settings{_of(group)}, seed {seed}"))
        blocks.append(Code(json.dumps(config, indent=2), "json"))
    return html.write(folder, blocks)


def _entries(group: Group) -> Iterator[Entry]:
    """Each initialisation with the head, by seed, that was best on meta-validation."""
    parts = [next(iter(run.data_sets.values())) for run in group.runs]
    names = group.runs[0].data_sets
    for init in dict.fromkeys(init for init, _ in parts[0].validation_accuracy):
        chosen = []
        for run, part in zip(group.runs, parts, strict=True):
            scores = {k: x for k, x in part.validation_accuracy.items() if k[0] == init}
            if not scores:
                raise ValueError(f"{run.path} has no results of {init}")
            chosen.append(max(scores.items(), key=lambda score: score[1]))
        heads = Counter(head for (_, head), _ in chosen)
        yield Entry(
            name=f"{group.label}: {init}" if group.label else init,
            init=init,
            heads=", ".join(
                f"{head} ({count})" if len(heads) > 1 else head
                for head, count in heads.items()
            ),
            validation=float(np.mean([score for _, score in chosen])),
            device_hours=float(np.mean([x.device_seconds[init] for x in parts])) / 3600,
            measurements={
                metric: {
                    name: np.stack(
                        [
                            run.data_sets[name].measurements[metric][key]
                            for run, (key, _) in zip(group.runs, chosen, strict=True)
                        ]
                    )
                    for name in names
                }
                for metric in parts[0].measurements
            },
        )


def _runs(compared: Compared) -> Iterator[Block]:
    """What the runs differ in, and which are missing."""
    yield Heading("Config differences")
    yield Bullets(compared.differences or ("none",))
    if compared.groups[0].label:
        yield Bullets([f"{x.label}: {_paths(x.runs)}" for x in compared.groups])
    if compared.missing:
        yield Heading("Missing")
        yield Bullets(compared.missing)


def _data_sets(compared: Compared) -> Iterator[Block]:
    for name, part in compared.data_sets.items():

        def difference(entry: Entry, name: str = name) -> tuple[str, str]:
            return tables.difference(compared.against.get(entry.name, {}).get(name))

        columns: dict[str, tables.Cell] = {
            "Initialisation": lambda entry: entry.name,
            "Head": lambda entry: entry.heads,
            **{
                metric.heading: functools.partial(_over_seeds, key, name)
                for key, metric in METRICS.items()
            },
            "Device hours": lambda entry: f"{entry.device_hours:.3g}",
            "Ours minus this": lambda entry: difference(entry)[0],
            "p": lambda entry: difference(entry)[1],
        }
        winner = best(compared, name)
        bold = [n for n, entry in enumerate(compared.entries) if entry is winner]
        yield Heading(name)
        yield f"{part.protocol}."
        yield tables.table(columns, compared.entries, bold=bold)
    if compared.overall:
        yield Heading("All data sets")
        yield "All but held-out classes, each counting the same."
        overall: dict[str, tables.Cell] = {
            "Initialisation": lambda item: item[0],
            "Ours minus this": lambda item: ACCURACY.interval(item[1], "+"),
            "p": lambda item: "-" if item[1].p is None else f"{item[1].p:.3f}",
        }
        yield tables.table(overall, compared.overall.items(), text=1)


def _over_seeds(metric: str, data_set: str, entry: Entry) -> str:
    values = entry.measurements[metric][data_set]
    return METRICS[metric].interval(intervals.over_seeds([values]))


def _columns(compared: Compared) -> Bullets:
    return Bullets(
        [
            "Head: the one that was best on meta-validation, by seed. Accuracy, F1, "
            "Loss: on the queries, after the steps chosen there; F1 is the mean over "
            "the classes.",
            "Device hours: of making the initialisation, mean over seeds.",
            "Ours minus this: paired over seeds and episodes; p: of no difference, "
            "corrected for the number of data sets (Holm)."
            if len(compared.seeds) > 1
            else "Ours minus this: paired over episodes. There is no p for one seed.",
            "Bold: better than every other row, each p below 0.05; without bold none "
            "is.",
        ]
    )


def _explained(compared: Compared) -> str:
    about = (
        f'"Ours" is {compared.ours.name}, the best of ours on meta-validation; every '
        "head is the one that was best there, by seed. Differences in points are "
        "paired over seeds and episodes, [ ] are 95 % intervals"
    )
    if len(compared.seeds) == 1:
        return (
            f"{about}, {intervals.CONDITIONAL}: they cover the draw of episodes, not "
            "that of training, so that nothing is called significant."
        )
    return (
        f"{about} {intervals.OVER_SEEDS} (squared, two thirds of Satterthwaite's and "
        "one third of Banerjee's). p is corrected for the number of data sets (Holm); "
        "* is below 0.05."
    )


def _transfer(group: Group) -> Iterator[Block]:
    runs = _with_transfer(group)
    if not runs:
        return
    seeds = ", ".join(str(run.seed) for run in runs)
    word = "seeds" if len(runs) > 1 else "seed"
    yield Heading(f"Transfer efficiency{_of(group)}, {word} {seeds}")
    if absent := [run for run in group.runs if run not in runs]:
        yield f"Missing: {_paths(absent)} without transfer."
    costs = {
        init: float(np.mean([run.costs[init] for run in runs]))
        for init in runs[0].costs
    }
    # The same in all runs of one protocol.
    accuracies = runs[0].config["transfer.accuracies"]
    yield from transfer_report.of_seeds(
        [run.transfer for run in runs], costs, accuracies, _figure(group)
    )


def _with_transfer(group: Group) -> list[Run]:
    return [run for run in group.runs if run.transfer]


def _figure(group: Group) -> str:
    return f"transfer{group.label}.png"


def _title(compared: Compared) -> str:
    if len(compared.seeds) == 1:
        return f"Accuracy, seed {compared.seeds[0]}: {intervals.CONDITIONAL}"
    return f"Accuracy over seeds {', '.join(map(str, compared.seeds))}"


def _of(group: Group) -> str:
    return f" of {group.label}" if group.label else ""


def _paths(runs: Sequence[Run]) -> str:
    return ", ".join(str(run.path) for run in runs)
