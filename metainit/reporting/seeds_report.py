"""`metainit report RUN... [--out FOLDER]`: the report of finished runs, over seeds.

Runs whose configs differ in the seed only are seeds of one experiment. Differences
are paired: the same seeds, and in each the same episodes.
"""

import os
import pathlib
import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation import intervals, metrics
from metainit.evaluation.intervals import Interval
from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import (
    figures,
    finished_runs,
    html,
    plain_text,
    tables,
    transfer_report,
)
from metainit.reporting.finished_runs import Experiments, Run
from metainit.reporting.tables import Bar, bullets, captioned, details, paragraph
from metainit.reporting.verdict import best_heads
from metainit.runtime.arguments import Parser
from metainit.runtime.cost import OURS

_EXPLAINED = bullets(
    (
        '"Ours" is the best of ours on meta-validation; heads and steps were the best '
        "there, by seed. F1 is macro-F1.",
        "Ours minus this: in points, paired over seeds and episodes. [ ] are 95 % "
        "intervals over training runs and episodes (Student's t of the seeds' means) "
        "or, of one seed, over its episodes only. p: of no difference, corrected for "
        "the number of data sets (Holm), starred below 0.05; one seed has none.",
        "Device hours: of making the initialisation, mean over seeds. Bold: better "
        "than every other row, each p below 0.05.",
    )
)


class Entry(NamedTuple):
    """One initialisation of one experiment."""

    name: str  # with the experiment's label
    init: str  # without it
    # By data set, a row of each seed, with the head that was best on meta-validation.
    rows: dict[str, list[Row]]
    # By data set and seed, how many episodes all experiments have met.
    counts: dict[str, list[int]]

    @property
    def chosen(self) -> list[Row]:
        """Lists a row for each seed; what was chosen holds for all data sets."""
        return next(iter(self.rows.values()))

    def measured(self, data_set: str, metric: str = "accuracy") -> list[np.ndarray]:
        """Lists a metric by seed, float [episodes] each."""
        pairs = zip(self.rows[data_set], self.counts[data_set], strict=True)
        return [row.measurements[metric][0, :count] for row, count in pairs]


class Compared(NamedTuple):
    """Runs of one protocol in one table."""

    differences: Sequence[str]  # a line for each setting in which the runs differ
    missing: Sequence[str]  # in words, runs without results or left out
    experiments: Experiments
    seeds: Sequence[int]  # of every experiment
    data_sets: dict[str, Evaluation]  # of every experiment, as the first run has them
    entries: Sequence[Entry]  # initialisations of all experiments
    ours: Entry  # the best of ours on meta-validation

    @property
    def unseen(self) -> list[str]:
        """Lists data sets that are not held-out classes of those in meta-train."""
        return [name for name, part in self.data_sets.items() if not part.held_out]

    def paired(self, first: Entry, second: Entry) -> dict[str, Interval]:
        """Subtracts accuracies by data set, with the p of all `unseen` corrected.

        The rest, held-out classes, is corrected by itself (Holm).
        """
        differences: dict[str, Interval] = {}
        for names in (self.unseen, self.data_sets.keys() - self.unseen):
            sides = ({x: side.measured(x) for x in names} for side in (first, second))
            differences |= intervals.compare(*sides)
        return differences

    def pooled(self, entry: Entry) -> list[np.ndarray]:
        """Averages accuracy over `unseen`, each counting the same: by seed."""
        by_seed = zip(*map(entry.measured, self.unseen), strict=True)
        return [np.mean(accuracies, 0) for accuracies in by_seed]

    def overall(self, entry: Entry) -> Interval:
        """Subtracts the pooled accuracy of an entry from that of ours."""
        sides = self.pooled(self.ours), self.pooled(entry)
        minus = [np.subtract(*pair) for pair in zip(*sides, strict=True)]
        return intervals.over_seeds(minus)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status, or raises ValueError as `compare`."""
    args = parser().parse_args(argv)
    compared = compare(args.runs)
    print(terminal(compared))
    if args.out:
        command = ["metainit", "report", *args.runs, "--out", args.out]
        print(f"report: {write(args.out, compared, shlex.join(command))}")
    return 0


def parser() -> Parser:
    """Makes the parser of `metainit report`."""
    about = "Compares finished runs, over seeds."
    example = "metainit report runs/a runs/b --out page"
    options = Parser("metainit report", about, example)
    options.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    options.add_argument("--out", metavar="FOLDER", help="where the page is written")
    return options


def compare(paths: Sequence[str]) -> Compared:
    """Compares the runs in these folders; those that do not fit are a ValueError."""
    read = [finished_runs.read(path) for path in dict.fromkeys(paths)]
    runs = [run for run in read if isinstance(run, Run)]
    missing = [run for run in read if isinstance(run, str)]
    if not runs:
        raise ValueError(f"no run is finished. {'; '.join(missing)}")
    finished_runs.check(runs)
    experiments, left_out = finished_runs.group(runs)
    # Each run has chosen its number of episodes, of one stream a seed.
    counts = {
        name: [
            min(run.data_sets[name].rows[0].measurements["accuracy"].size for run in x)
            for x in zip(*experiments.values(), strict=True)
        ]
        for name in runs[0].data_sets
    }
    entries = [
        entry for item in experiments.items() for entry in _entries(*item, counts)
    ]
    candidates = [entry for entry in entries if entry.init in OURS]
    if not candidates:
        raise ValueError(f"none of the runs has one of {', '.join(OURS)}")
    means = [np.mean([x.validation_accuracy for x in y.chosen]) for y in candidates]
    first = next(iter(experiments.values()))
    return Compared(
        differences=[*finished_runs.differences({x.path: x.config for x in runs})],
        missing=missing + left_out,
        experiments=experiments,
        seeds=[run.seed for run in first],
        data_sets=first[0].data_sets,
        entries=entries,
        ours=candidates[int(np.argmax(means))],
    )


def best(compared: Compared, data_set: str) -> Entry | None:
    """Finds the entry that is significantly better than every other one, if any is."""

    def mean(entry: Entry) -> float:
        return float(np.mean([np.mean(x) for x in entry.measured(data_set)]))

    first = max(compared.entries, key=mean)
    others = [entry for entry in compared.entries if entry is not first]
    better = [compared.paired(first, other)[data_set].different for other in others]
    return first if better and all(better) else None


def hardest(compared: Compared) -> Entry | None:
    """Finds the baseline that is hardest to beat; None where there is none."""
    baselines = (entry for entry in compared.entries if entry.init not in OURS)
    return min(baselines, key=lambda x: compared.overall(x).mean, default=None)


def ours_against_hardest(compared: Compared) -> str:
    """Compares our best with the baseline that is hardest to beat, in one sentence."""
    ours, seeds, sets = compared.ours, compared.seeds, compared.unseen
    if (baseline := hardest(compared)) is None:
        return f"{ours.name} has no baseline to be compared with in these runs."
    paired = compared.paired(ours, baseline)
    points = "; ".join(f"{tables.points(paired[x])} points on {x}" for x in sets)
    if len(seeds) == 1:
        outcome = f"In this one training run (seed {seeds[0]}) {ours.name} differs from"
    else:
        means = [paired[x].mean for x in sets if paired[x].different]
        better, worse = sum(x > 0 for x in means), sum(x < 0 for x in means)
        outcome = (
            f"Over {len(seeds)} seeds {ours.name} is significantly better on {better} "
            f"and worse on {worse} of {len(sets)} data sets than"
        )
    return f"{outcome} the baseline that is hardest to beat, {baseline.name}: {points}."


def summary(compared: Compared) -> list[str]:
    """Lists what a terminal shows, as Markdown; config differences come first."""
    sentence = paragraph(ours_against_hardest(compared))
    title = tables.heading(_title(compared))
    opening = [*_differences(compared), *_missing(compared), sentence, title]
    return [*opening, *_results(compared)]


def terminal(compared: Compared) -> str:
    """Renders the summary as plain text."""
    return plain_text.render(summary(compared))


def write(
    folder: str | os.PathLike[str], compared: Compared, command: str
) -> pathlib.Path:
    """Writes `report.md`, `report.html` and figures; returns the first's path."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(compared.experiments.values()))[0]
    title = tables.heading(f"metainit: {_title(compared)}", 1)
    page = [paragraph(ours_against_hardest(compared)), title]
    about = "[ ] are 95 % intervals, over training runs and episodes."
    if len(compared.seeds) == 1:
        about = "[ ] are 95 % intervals over the draw of episodes."
    page.append(paragraph(f"Unseen classes of {', '.join(compared.unseen)}. {about}"))
    page += [*_missing(compared), _bars(compared)]
    page += [*_differences(compared), *_results(compared, folder)]
    page += tables.again(command, f"Settings: those of {first.path}.", first.config)
    return html.write(folder, page)


def _entries(
    label: str, runs: Sequence[Run], counts: dict[str, list[int]]
) -> Iterator[Entry]:
    best = {
        name: [best_heads(run.data_sets[name].rows) for run in runs]
        for name in runs[0].data_sets
    }
    by_seed = next(iter(best.values()))
    for init in by_seed[0]:
        for run, heads in zip(runs, by_seed, strict=True):
            if init not in heads:
                raise ValueError(f"{run.path} has no results of {init}")
        rows = {name: [heads[init] for heads in x] for name, x in best.items()}
        yield Entry(f"{label}: {init}" if label else init, init, rows, counts)


def _bars(compared: Compared) -> str:
    """Draws each entry's accuracy on unseen classes."""
    return tables.bars(
        f"Accuracy on {', '.join(compared.unseen)}",
        [
            Bar(x.name, _heads(x), *intervals.over_seeds(compared.pooled(x))[:3])
            for x in compared.entries
        ],
    )


def _heads(entry: Entry) -> str:
    return ", ".join(dict.fromkeys(row.head for row in entry.chosen))


def _differences(compared: Compared) -> Iterator[str]:
    labels = [
        (x, [run.path for run in runs]) for x, runs in compared.experiments.items()
    ]
    labelled = [f"{label}: {', '.join(paths)}" for label, paths in labels if label]
    lines = bullets([*compared.differences, *labelled] or ["none"])
    yield details("Config differences", lines)


def _missing(compared: Compared) -> Iterator[str]:
    if compared.missing:
        yield from (tables.heading("Missing"), bullets(compared.missing))


def _results(compared: Compared, folder: pathlib.Path | None = None) -> Iterator[str]:
    """Yields tables by data set, and those of transfer, with figures in the folder."""
    others = [entry for entry in compared.entries if entry is not compared.ours]
    paired = {x.name: compared.paired(compared.ours, x) for x in others}
    measured = (x.measurements for y in compared.entries for x in y.chosen)
    formats = metrics.formats(measured)
    accuracy, *later = (shown.heading for shown in formats.values())
    names = accuracy, "Ours minus this", "p", *later, "Device hours"
    for name, part in compared.data_sets.items():
        rows = []
        for entry in compared.entries:
            means = [_cell(entry, name, *metric) for metric in formats.items()]
            hours = np.mean([row.cost.device_seconds for row in entry.chosen]) / 3600
            minus = tables.difference(paired.get(entry.name, {}).get(name))
            cells = (means[0], *minus, *means[1:], f"{hours:.3g}")
            rows.append((entry.name, _heads(entry), *cells))
        winner = best(compared, name)
        bold = [n for n, x in enumerate(compared.entries) if x is winner]
        about = f"{part.protocol}{_episodes(compared.entries[0], name)}."
        table = captioned(("Initialisation", "Head", *names), rows, bold=bold)
        yield details(name, paragraph(about), table)
    if len(compared.unseen) > 1:
        overall = [(x.name, *tables.difference(compared.overall(x))) for x in others]
        table = captioned(("Initialisation", "Ours minus this", "p"), overall, text=1)
        about = "All but held-out classes, each counting the same."
        yield details("All data sets", about, table)
    yield details("What the columns mean", _EXPLAINED)
    for label, runs in compared.experiments.items():
        yield from _transfer(label, runs, folder)


def _cell(entry: Entry, data_set: str, name: str, shown: metrics.Format) -> str:
    """Formats a metric over seeds; a dash where a seed has not measured it."""
    if any(name not in row.measurements for row in entry.rows[data_set]):
        return "-"
    return shown.interval(intervals.over_seeds(entry.measured(data_set, name)))


def _episodes(entry: Entry, data_set: str) -> str:
    counts = [len(accuracies) for accuracies in entry.measured(data_set)]
    few, many = min(counts), max(counts)
    return f", {few:,} episodes" if few == many else f", {few:,} to {many:,} episodes"


def _transfer(
    label: str, seeds: Sequence[Run], folder: pathlib.Path | None
) -> Iterator[str]:
    runs = [run for run in seeds if run.transfer]
    if not runs:
        return
    experiment = f" of {label}" if label else ""
    numbers = ", ".join(str(run.seed) for run in runs)
    parts = []
    if absent := ", ".join(run.path for run in seeds if not run.transfer):
        parts.append(paragraph(f"Missing: {absent} without transfer."))
    inits = set.intersection(*(set(run.costs) for run in runs))
    costs = {x: float(np.mean([run.costs[x] for run in runs])) for x in inits}
    # The same in all runs of one protocol.
    accuracies = runs[0].config["transfer.accuracies"]
    transfers, figure = [run.transfer for run in runs], f"transfer{label}.png"
    if folder is not None:
        figures.transfer(folder / figure, transfers)
    parts += transfer_report.over_seeds(transfers, costs, accuracies, figure)
    title = f"Transfer efficiency{experiment}, seed{'s' * (len(runs) > 1)} {numbers}"
    yield details(title, *parts)


def _title(compared: Compared) -> str:
    if len(compared.seeds) == 1:
        return f"Accuracy, seed {compared.seeds[0]}: {intervals.CONDITIONAL}"
    return f"Accuracy over seeds {', '.join(map(str, compared.seeds))}"
