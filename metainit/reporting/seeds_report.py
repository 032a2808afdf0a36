"""`metainit report RUN... [--out FOLDER]`: the report of finished runs, over seeds.

Runs whose configs differ in the seed only are seeds of one experiment. Differences
are paired: the same seeds, and in each the same episodes.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Comparison, Interval
from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import (
    figures,
    finished_runs,
    html,
    run_report,
    tables,
    transfer_report,
)
from metainit.reporting.finished_runs import Group, Run
from metainit.reporting.tables import ACCURACY, METRICS, Bullets, Code, Heading, Table
from metainit.runtime.cost import OURS


class Entry(NamedTuple):
    """One initialisation of one experiment."""

    name: str  # with the experiment's label
    init: str  # without it
    # Of each seed, by data set, with the head that was best on meta-validation.
    rows: tuple[dict[str, Row], ...]

    @property
    def chosen(self) -> list[Row]:
        """A row of each seed; what was chosen is one for all data sets."""
        return [next(iter(rows.values())) for rows in self.rows]

    @property
    def validation(self) -> float:
        """Accuracy on meta-validation, mean over seeds."""
        return float(np.mean([row.validation_accuracy for row in self.chosen]))

    def measured(self, data_set: str, metric: str = "accuracy") -> np.ndarray:
        """Float [seeds, episodes]."""
        return np.stack([rows[data_set].measurements[metric][0] for rows in self.rows])


class Compared(NamedTuple):
    """Runs of one protocol in one table."""

    differences: tuple[str, ...]  # a line for each setting in which the runs differ
    missing: tuple[str, ...]  # in words, runs without results or left out
    groups: tuple[Group, ...]  # experiments, each with its seeds
    entries: tuple[Entry, ...]  # initialisations of all experiments
    ours: Entry  # the best of ours on meta-validation

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every experiment."""
        return tuple(run.seed for run in self.groups[0].runs)

    @property
    def data_sets(self) -> dict[str, Evaluation]:
        """The data sets of every experiment, those of the first run."""
        return self.groups[0].runs[0].data_sets

    @property
    def unseen(self) -> list[str]:
        """All but held-out classes of meta-train, which ask something else."""
        return [name for name, part in self.data_sets.items() if not part.held_out]

    def paired(self, first: Entry, second: Entry) -> dict[str, Comparison]:
        """Accuracy of one entry minus another's; Holm is over `unseen` and the rest."""
        comparisons: dict[str, Comparison] = {}
        for names in (self.unseen, [x for x in self.data_sets if x not in self.unseen]):
            if names:
                comparisons |= intervals.compare(
                    {name: first.measured(name) for name in names},
                    {name: second.measured(name) for name in names},
                )
        return comparisons

    def overall(self, entry: Entry) -> Interval:
        """Ours minus an entry over `unseen` together, each counting the same."""
        differences = [
            self.ours.measured(name) - entry.measured(name) for name in self.unseen
        ]
        return intervals.over_seeds(np.mean(differences, 0))


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
    """Compares the runs in these folders; those that do not fit are a ValueError."""
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
    return Compared(
        differences=tuple(finished_runs.differences(runs)),
        missing=(*missing, *left_out),
        groups=groups,
        entries=entries,
        ours=max(candidates, key=lambda entry: entry.validation),
    )


def best(compared: Compared, data_set: str) -> Entry | None:
    """Finds the entry that is significantly better than every other one, if any is."""
    first = max(compared.entries, key=lambda entry: entry.measured(data_set).mean())
    others = [entry for entry in compared.entries if entry is not first]
    comparisons = [compared.paired(first, other)[data_set] for other in others]
    better = [x.different and x.difference.mean > 0 for x in comparisons]
    return first if better and all(better) else None


def verdict(compared: Compared) -> str:
    """Compares our best with the baseline that is hardest to beat, in one sentence."""
    ours, seeds, sets = compared.ours, compared.seeds, compared.unseen
    paired = {
        entry.name: [compared.paired(ours, entry)[name] for name in sets]
        for entry in compared.entries
        if entry.init not in OURS
    }
    if not paired:
        return f"{ours.name} has no baseline to be compared with in these runs."
    hardest = min(
        paired, key=lambda name: np.mean([x.difference.mean for x in paired[name]])
    )
    points = "; ".join(
        f"{ACCURACY.signed(*comparison.difference[:3])} points on {name}"
        for name, comparison in zip(sets, paired[hardest], strict=True)
    )
    if len(seeds) == 1:
        return (
            f"In this one training run (seed {seeds[0]}) {ours.name} differs from the "
            f"baseline that is hardest to beat, {hardest}, by {points}."
        )
    means = [x.difference.mean for x in paired[hardest] if x.different]
    better, worse = sum(x > 0 for x in means), sum(x < 0 for x in means)
    called = f"significantly better on {better} of {len(sets)} data sets"
    if worse:
        called += f" and significantly worse on {worse}"
    return (
        f"Over {len(seeds)} seeds {ours.name} is {called} than the baseline that is "
        f"hardest to beat, {hardest}: {points}."
    )


def terminal(compared: Compared) -> str:
    """Renders the report as plain text in ASCII; config differences come first."""
    title = Heading(_title(compared))
    blocks = [*_runs(compared), verdict(compared), title, *_results(compared)]
    return tables.terminal(blocks)


def write(
    folder: str | os.PathLike[str], compared: Compared, command: str
) -> pathlib.Path:
    """Writes `report.md`, `report.html` and figures; returns the first's path."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings: list[tables.Block] = []
    for group in compared.groups:
        if runs := _with_transfer(group):
            figures.transfer(folder / _figure(group), [run.transfer for run in runs])
        config, seed = group.runs[0].config, group.runs[0].seed
        settings.append(Heading(f"Settings{_of(group)}, seed {seed}"))
        settings.append(Code(json.dumps(config, indent=2), "json"))
    return html.write(
        folder,
        [
            verdict(compared),
            Heading(f"metainit: {_title(compared)}", 1),
            *_runs(compared),
            *_results(compared),
            Heading("Run it again"),
            Code(command),
            "Versions, device and command of each run stand in its own report.",
            *settings,
        ],
    )


def _entries(group: Group) -> Iterator[Entry]:
    best = [
        {name: run_report.best_heads(x.rows) for name, x in run.data_sets.items()}
        for run in group.runs
    ]
    for init in next(iter(best[0].values())):
        for run, of_run in zip(group.runs, best, strict=True):
            if any(init not in heads for heads in of_run.values()):
                raise ValueError(f"{run.path} has no results of {init}")
        rows = tuple({name: x[init] for name, x in of.items()} for of in best)
        yield Entry(f"{group.label}: {init}" if group.label else init, init, rows)


def _runs(compared: Compared) -> Iterator[tables.Block]:
    yield Heading("Config differences")
    yield Bullets(compared.differences or ("none",))
    if compared.groups[0].label:
        yield Bullets([f"{x.label}: {_paths(x.runs)}" for x in compared.groups])
    if compared.missing:
        yield Heading("Missing")
        yield Bullets(compared.missing)


def _results(compared: Compared) -> Iterator[tables.Block]:
    others = [entry for entry in compared.entries if entry is not compared.ours]
    paired = {id(entry): compared.paired(compared.ours, entry) for entry in others}
    metrics = [metric.heading for metric in METRICS.values()]
    last = "Device hours", "Ours minus this", "p"
    for name, part in compared.data_sets.items():
        rows = []
        for entry in compared.entries:
            comparison = paired.get(id(entry), {}).get(name)
            rows.append((*_cells(entry, name), *tables.difference(comparison)))
        winner = best(compared, name)
        bold = [n for n, entry in enumerate(compared.entries) if entry is winner]
        yield Heading(name)
        yield f"{part.protocol}."
        heading = ("Initialisation", "Head", *metrics, *last)
        yield Table(heading, rows, bold=frozenset(bold))
    if len(compared.unseen) > 1:
        yield Heading("All data sets")
        yield "All but held-out classes, each counting the same."
        rows = []
        for entry in others:
            overall = compared.overall(entry)
            p = "-" if overall.p is None else f"{overall.p:.3f}"
            rows.append((entry.name, ACCURACY.signed(*overall[:3]), p))
        yield Table(("Initialisation", "Ours minus this", "p"), rows, text=1)
    yield _explained(compared)
    for group in compared.groups:
        yield from _transfer(group)


def _cells(entry: Entry, data_set: str) -> Iterator[str]:
    heads = Counter(row.head for row in entry.chosen)
    counted = (f"{head} ({count})" for head, count in heads.items())
    yield entry.name
    yield ", ".join(heads if len(heads) == 1 else counted)
    for name, metric in METRICS.items():
        values = entry.measured(data_set, name)
        yield metric.interval(intervals.over_seeds(values))
    seconds = np.mean([row.cost.device_seconds for row in entry.chosen])
    yield f"{seconds / 3600:.3g}"


def _explained(compared: Compared) -> Bullets:
    if len(compared.seeds) > 1:
        scope = (
            f"{intervals.OVER_SEEDS} (Student's t of the seeds' means). p: of no "
            "difference, corrected for the number of data sets (Holm); * is below 0.05."
        )
    else:
        scope = (
            f"{intervals.CONDITIONAL}: they cover the draw of episodes, not that of "
            "training, so that nothing is called significant and there is no p."
        )
    return Bullets(
        [
            f'"Ours" is {compared.ours.name}, the best of ours on meta-validation; '
            "every head is the one that was best there, by seed. Metrics are on the "
            "queries, after the steps chosen there; F1 is the mean over the classes.",
            "Ours minus this: in points, paired over seeds and episodes; [ ] are 95 % "
            f"intervals {scope}",
            "Device hours: of making the initialisation, mean over seeds.",
            "Bold: better than every other row, each p below 0.05; without bold none "
            "is.",
        ]
    )


def _transfer(group: Group) -> Iterator[tables.Block]:
    runs = _with_transfer(group)
    if not runs:
        return
    seeds = ", ".join(str(run.seed) for run in runs)
    word = "seeds" if len(runs) > 1 else "seed"
    yield Heading(f"Transfer efficiency{_of(group)}, {word} {seeds}")
    if absent := [run for run in group.runs if not run.transfer]:
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
