"""`metainit report RUN... [--out FOLDER]`: the report of finished runs, over seeds.

Runs whose configs differ in the seed only are seeds of one experiment. Differences
are paired: the same seeds, and in each the same episodes.
"""

import argparse
import os
import pathlib
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Interval
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
from metainit.reporting.tables import METRICS, Block, Bullets, Heading, Table
from metainit.runtime.cost import OURS


class Entry(NamedTuple):
    """One initialisation of one experiment."""

    name: str  # with the experiment's label
    init: str  # without it
    # Of each seed, by data set, with the head that was best on meta-validation.
    rows: Sequence[dict[str, Row]]

    @property
    def chosen(self) -> list[Row]:
        """A row of each seed; what was chosen is one for all data sets."""
        return [next(iter(rows.values())) for rows in self.rows]

    def measured(self, data_set: str, metric: str = "accuracy") -> np.ndarray:
        """Float [seeds, episodes]."""
        return np.stack([rows[data_set].measurements[metric][0] for rows in self.rows])


class Compared(NamedTuple):
    """Runs of one protocol in one table."""

    differences: Sequence[str]  # a line for each setting in which the runs differ
    missing: Sequence[str]  # in words, runs without results or left out
    groups: Sequence[Group]  # experiments, each with its seeds
    entries: Sequence[Entry]  # initialisations of all experiments
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

    def paired(self, first: Entry, second: Entry) -> dict[str, Interval]:
        """Accuracy of one entry minus another's; Holm is over `unseen` and the rest."""
        differences: dict[str, Interval] = {}
        for names in (self.unseen, self.data_sets.keys() - self.unseen):
            sides = ({x: side.measured(x) for x in names} for side in (first, second))
            differences |= intervals.compare(*sides)
        return differences

    def overall(self, entry: Entry) -> Interval:
        """Ours minus an entry over `unseen` together, each counting the same."""
        differences = [
            self.ours.measured(name) - entry.measured(name) for name in self.unseen
        ]
        return intervals.over_seeds(np.mean(differences, 0))


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status, or raises ValueError as `compare` does."""
    about = "Compares finished runs, over seeds."
    parser = argparse.ArgumentParser(prog="metainit report", description=about)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument("--out", metavar="FOLDER", help="where the page is written")
    args = parser.parse_args(argv)
    compared = compare(args.runs)
    print(terminal(compared))
    if args.out:
        command = ["metainit", "report", *args.runs, "--out", args.out]
        print(f"report: {write(args.out, compared, shlex.join(command))}")
    return 0


def compare(paths: Sequence[str]) -> Compared:
    """Compares the runs in these folders; those that do not fit are a ValueError."""
    read = [finished_runs.read(path) for path in dict.fromkeys(paths)]
    runs = [run for run in read if isinstance(run, Run)]
    missing = [run for run in read if isinstance(run, str)]
    if not runs:
        raise ValueError(f"no run is finished. {'; '.join(missing)}")
    finished_runs.check(runs)
    groups, left_out = finished_runs.group(runs)
    entries = [entry for group in groups for entry in _entries(group)]
    candidates = [entry for entry in entries if entry.init in OURS]
    if not candidates:
        raise ValueError(f"none of the runs has one of {', '.join(OURS)}")

    def validation_accuracy(entry: Entry) -> float:
        return float(np.mean([row.validation_accuracy for row in entry.chosen]))

    return Compared(
        differences=[*finished_runs.differences({x.path: x.config for x in runs})],
        missing=missing + left_out,
        groups=groups,
        entries=entries,
        ours=max(candidates, key=validation_accuracy),
    )


def best(compared: Compared, data_set: str) -> Entry | None:
    """Finds the entry that is significantly better than every other one, if any is."""
    first = max(compared.entries, key=lambda entry: entry.measured(data_set).mean())
    others = [entry for entry in compared.entries if entry is not first]
    better = [compared.paired(first, other)[data_set].different for other in others]
    return first if better and all(better) else None


def verdict(compared: Compared) -> str:
    """Compares our best with the baseline that is hardest to beat, in one sentence."""
    ours, seeds, sets = compared.ours, compared.seeds, compared.unseen
    baselines = [entry for entry in compared.entries if entry.init not in OURS]
    if not baselines:
        return f"{ours.name} has no baseline to be compared with in these runs."
    hardest = min(baselines, key=lambda entry: compared.overall(entry).mean)
    paired = compared.paired(ours, hardest)
    points = "; ".join(f"{tables.points(paired[x])} points on {x}" for x in sets)
    baseline = f"the baseline that is hardest to beat, {hardest.name}"
    if len(seeds) == 1:
        run = f"In this one training run (seed {seeds[0]})"
        return f"{run} {ours.name} differs from {baseline}, by {points}."
    means = [paired[x].mean for x in sets if paired[x].different]
    better, worse = sum(x > 0 for x in means), sum(x < 0 for x in means)
    called = f"significantly better on {better} of {len(sets)} data sets"
    called += f" and significantly worse on {worse}" if worse else ""
    return f"Over {len(seeds)} seeds {ours.name} is {called} than {baseline}: {points}."


def terminal(compared: Compared) -> str:
    """Renders the report as plain text in ASCII; config differences come first."""
    title = Heading(_title(compared))
    blocks = *_runs(compared), verdict(compared), title, *_results(compared)
    return tables.terminal(blocks)


def write(
    folder: str | os.PathLike[str], compared: Compared, command: str
) -> pathlib.Path:
    """Writes `report.md`, `report.html` and figures; returns the first's path."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first, *_ = compared.groups[0].runs
    page = [
        verdict(compared),
        Heading(f"metainit: {_title(compared)}", 1),
        *_runs(compared),
        *_results(compared, folder),
        *tables.again(command, f"Settings are those of {first.path}.", first.config),
    ]
    return html.write(folder, page)


def _entries(group: Group) -> Iterator[Entry]:
    best = [
        {name: run_report.best_heads(x.rows) for name, x in run.data_sets.items()}
        for run in group.runs
    ]
    for init in next(iter(best[0].values())):
        for run, heads_by_data_set in zip(group.runs, best, strict=True):
            if any(init not in heads for heads in heads_by_data_set.values()):
                raise ValueError(f"{run.path} has no results of {init}")
        rows = [{x: heads[init] for x, heads in of_seed.items()} for of_seed in best]
        yield Entry(f"{group.label}: {init}" if group.label else init, init, rows)


def _runs(compared: Compared) -> Iterator[Block]:
    yield Heading("Config differences")
    yield Bullets(compared.differences or ("none",))
    if compared.groups[0].label:
        yield Bullets([f"{x.label}: {_paths(x.runs)}" for x in compared.groups])
    if compared.missing:
        yield from (Heading("Missing"), Bullets(compared.missing))


def _results(compared: Compared, folder: pathlib.Path | None = None) -> Iterator[Block]:
    """Yields tables by data set, and those of transfer, with figures in the folder."""
    others = [entry for entry in compared.entries if entry is not compared.ours]
    paired = {x.name: compared.paired(compared.ours, x) for x in others}
    metrics = [metric.heading for metric in METRICS.values()]
    last = "Device hours", "Ours minus this", "p"
    for name, part in compared.data_sets.items():
        rows: list[Sequence[str]] = [
            (*_cells(x, name), *tables.difference(paired.get(x.name, {}).get(name)))
            for x in compared.entries
        ]
        winner = best(compared, name)
        bold = frozenset(n for n, x in enumerate(compared.entries) if x is winner)
        yield Heading(name)
        yield f"{part.protocol}."
        yield Table(("Initialisation", "Head", *metrics, *last), rows, bold=bold)
    if len(compared.unseen) > 1:
        yield Heading("All data sets")
        yield "All but held-out classes, each counting the same."
        rows = [(x.name, *tables.difference(compared.overall(x))) for x in others]
        yield Table(("Initialisation", "Ours minus this", "p"), rows, text=1)
    yield _explained(compared)
    for group in compared.groups:
        yield from _transfer(group, folder)


def _cells(entry: Entry, data_set: str) -> Iterator[str]:
    heads = Counter(row.head for row in entry.chosen)
    counted = (f"{head} ({count})" for head, count in heads.items())
    yield entry.name
    yield ", ".join(heads if len(heads) == 1 else counted)
    for name, metric in METRICS.items():
        yield metric.interval(intervals.over_seeds(entry.measured(data_set, name)))
    seconds = np.mean([row.cost.device_seconds for row in entry.chosen])
    yield f"{seconds / 3600:.3g}"


def _explained(compared: Compared) -> Bullets:
    scope = f"{intervals.CONDITIONAL}, on the draw of episodes only: there is no p."
    if len(compared.seeds) > 1:
        scope = (
            f"{intervals.OVER_SEEDS} (Student's t of the seeds' means). p: of no "
            "difference, corrected for the number of data sets (Holm); * is below 0.05."
        )
    return Bullets(
        [
            f'"Ours" is {compared.ours.name}, the best of ours on meta-validation; '
            "heads and steps were the best there, by seed. F1 is macro-F1.",
            "Ours minus this: in points, paired over seeds and episodes; [ ] are 95 % "
            f"intervals {scope}",
            "Device hours: of making the initialisation, mean over seeds. Bold: better "
            "than every other row, each p below 0.05.",
        ]
    )


def _transfer(group: Group, folder: pathlib.Path | None) -> Iterator[Block]:
    runs = [run for run in group.runs if run.transfer]
    if not runs:
        return
    of = f" of {group.label}" if group.label else ""
    seeds = f"seed{'s' * (len(runs) > 1)} {', '.join(str(run.seed) for run in runs)}"
    yield Heading(f"Transfer efficiency{of}, {seeds}")
    if absent := [run for run in group.runs if not run.transfer]:
        yield f"Missing: {_paths(absent)} without transfer."
    costs = {x: float(np.mean([run.costs[x] for run in runs])) for x in runs[0].costs}
    # The same in all runs of one protocol.
    accuracies = runs[0].config["transfer.accuracies"]
    transfers, figure = [run.transfer for run in runs], f"transfer{group.label}.png"
    if folder is not None:
        figures.transfer(folder / figure, transfers)
    yield from transfer_report.of_seeds(transfers, costs, accuracies, figure)


def _title(compared: Compared) -> str:
    if len(compared.seeds) == 1:
        return f"Accuracy, seed {compared.seeds[0]}: {intervals.CONDITIONAL}"
    return f"Accuracy over seeds {', '.join(map(str, compared.seeds))}"


def _paths(runs: Sequence[Run]) -> str:
    return ", ".join(str(run.path) for run in runs)
