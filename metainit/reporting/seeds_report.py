"""The report of finished runs, over seeds: as text and as Markdown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Sequence

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Comparison, Interval
from metainit.reporting import compare, tables, transfer_report, transfer_tables
from metainit.reporting.compare import Compared, Entry
from metainit.reporting.finished import Group, Run
from metainit.runtime.cost import OURS

_WIDTH = 100
_HEADING = (
    "initialisation",
    "head",
    "accuracy, %",
    "F1, %",
    "device hours",
    "ours minus this",
    "p",
)


def verdict(found: Compared) -> str:
    """One sentence: our best against the baseline that is hardest to beat."""
    ours, sets = found.ours, tuple(found.protocols)
    baselines = [entry for entry in found.entries if entry.init not in OURS]
    if not baselines:
        return f"{ours.name} has no baseline to be compared with in these runs."

    def mean(entry: Entry) -> float:
        against = found.against[entry.name]
        return float(np.mean([against[name].difference.mean for name in sets]))

    hardest = min(baselines, key=mean)
    against = found.against[hardest.name]
    told = "; ".join(
        f"{_difference(against[name].difference)} points on {name}" for name in sets
    )
    if len(found.seeds) == 1:
        return (
            f"In this one training run (seed {found.seeds[0]}) {ours.name} differs "
            f"from the baseline that is hardest to beat, {hardest.name}, by {told}."
        )
    better, worse = (
        [n for n in sets if against[n].different and sign * _mean(against[n]) > 0]
        for sign in (1, -1)
    )
    called = f"significantly better on {len(better)} of {len(sets)} data sets"
    if worse:
        called += f" and significantly worse on {len(worse)}"
    return (
        f"Over {len(found.seeds)} seeds {ours.name} is {called} than the baseline that "
        f"is hardest to beat, {hardest.name}: {told}."
    )


def terminal(found: Compared) -> str:
    """Plain text in ASCII; config differences first."""
    return "\n".join(_terminal(found))


def _terminal(found: Compared) -> Iterator[str]:
    yield from ("Config differences", "", *(found.differences or ("none",)))
    if found.groups[0].label:
        yield ""
        yield from (f"{group.label}: {_paths(group.runs)}" for group in found.groups)
    if found.missing:
        yield from ("", "Missing", "", *found.missing)
    yield ""
    yield from textwrap.wrap(verdict(found), _WIDTH)
    yield from ("", _title(found), "")
    for name, protocol in found.protocols.items():
        yield from textwrap.wrap(f"{name}, {protocol}", _WIDTH)
        yield from tables.aligned([_HEADING, *_rows(found, name)])
        yield ""
    if found.overall:
        yield "all data sets but held-out classes, each counting the same"
        yield from tables.aligned(_overall(found))
        yield ""
    yield from textwrap.wrap(_explained(found), _WIDTH)
    for group in found.groups:
        there = with_transfer(group)
        if not there:
            continue
        yield from ("", _transfer_title(group, there), "")
        if absent := [run for run in group.runs if run not in there]:
            yield from (f"missing: {_paths(absent)} without transfer", "")
        seeds = [run.transfer for run in there]
        accuracies = _accuracies(there)
        yield from transfer_report.of_seeds(seeds, _costs(there), accuracies, _WIDTH)


def lines(found: Compared, command: str, drawn: dict[str, str]) -> Iterator[str]:
    """Lines of Markdown, the verdict first.

    Args:
      found: of the runs.
      command: that makes this report.
      drawn: file name of the transfer curves, by label of the group.
    """
    yield from (verdict(found), "", _explained(found), "")
    yield from (f"# metainit: {_title(found)}", "", "## Config differences", "")
    yield from (f"- {line}" for line in found.differences or ("none",))
    yield ""
    if found.groups[0].label:
        yield from (f"- {group.label}: {_paths(group.runs)}" for group in found.groups)
        yield ""
    if found.missing:
        yield from ("## Missing", "", *(f"- {line}" for line in found.missing), "")
    for name, protocol in found.protocols.items():
        yield from (f"## {name}", "", f"{protocol}.", "")
        winner, rows = compare.best(found, name), []
        for entry, cells in zip(found.entries, _rows(found, name), strict=True):
            bold = winner is entry
            rows.append(tuple(f"**{cell}**" for cell in cells) if bold else cells)
        yield from tables.markdown(_HEADING, rows, text=2)
        yield ""
    if found.overall:
        yield from ("## All data sets", "")
        yield "All but held-out classes, each counting the same."
        yield ""
        heading, *rows = _overall(found)
        yield from tables.markdown(heading, rows, text=1)
        yield ""
    yield from _columns(found)
    for group in found.groups:
        yield from _transfer(group, drawn)
    yield from ("## Run it again", "", "```", command, "```", "")
    yield "Versions, device and command of each run stand in its own `report.md`."
    for group in found.groups:
        first = group.runs[0]
        yield from ("", f"## Settings{_of(group)}, seed {first.seed}", "", "```json")
        yield json.dumps(first.config, indent=2)
        yield from ("```", "")


def with_transfer(group: Group) -> tuple[Run, ...]:
    """The runs that were fine-tuned."""
    return tuple(run for run in group.runs if run.transfer)


def _columns(found: Compared) -> Iterator[str]:
    yield (
        "- Head: the one that was best on meta-validation, by seed. Accuracy, F1: on "
        "the queries, after the steps chosen there; F1 is the mean over the classes."
    )
    yield "- Device hours: of making the initialisation, mean over seeds."
    yield (
        "- Ours minus this: paired over seeds and episodes; p: of no difference, "
        "corrected for the number of data sets (Holm)."
        if len(found.seeds) > 1
        else "- Ours minus this: paired over episodes. There is no p for one seed."
    )
    yield (
        "- Bold: better than every other row, each p below 0.05; without bold none is."
    )
    yield ""


def _transfer(group: Group, drawn: dict[str, str]) -> Iterator[str]:
    there = with_transfer(group)
    if not there:
        return
    seeds, costs = [run.transfer for run in there], _costs(there)
    yield from (f"## {_transfer_title(group, there)}", "")
    if absent := [run for run in group.runs if run not in there]:
        yield from (f"Missing: {_paths(absent)} without transfer.", "")
    for sentence in transfer_report.sentences(seeds, costs):
        yield from (sentence, "")
    if figure := drawn.get(group.label):
        yield from (f"![Accuracy against fine-tuning step]({figure})", "")
    for name, made in transfer_tables.of_seeds(seeds, _accuracies(there)):
        yield from (f"### {name}", "")
        for title, (heading, *rows) in made:
            yield from (f"{title}:", "")
            yield from tables.markdown(heading, rows, text=2)
            yield ""
    yield from (transfer_tables.explained(len(seeds)), "")


def _title(found: Compared) -> str:
    if len(found.seeds) == 1:
        return f"Accuracy, seed {found.seeds[0]}: {intervals.CONDITIONAL}"
    return f"Accuracy over seeds {', '.join(map(str, found.seeds))}"


def _transfer_title(group: Group, there: Sequence[Run]) -> str:
    seeds = ", ".join(str(run.seed) for run in there)
    word = "seeds" if len(there) > 1 else "seed"
    return f"Transfer efficiency{_of(group)}, {word} {seeds}"


def _of(group: Group) -> str:
    return f" of {group.label}" if group.label else ""


def _rows(found: Compared, dataset: str) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for entry in found.entries:
        difference = ("ours", "-")
        if entry is not found.ours:
            difference = tables.comparison(found.against[entry.name][dataset])
        accuracy, f1 = (
            tables.interval(intervals.over_seeds([of[dataset]]))
            for of in (entry.accuracy, entry.measurements["f1"])
        )
        hours = f"{entry.device_hours:.3g}"
        rows.append((entry.name, entry.heads, accuracy, f1, hours, *difference))
    return rows


def _overall(found: Compared) -> list[tuple[str, ...]]:
    table: list[tuple[str, ...]] = [("initialisation", "ours minus this", "p")]
    for name, interval in found.overall.items():
        p = "-" if interval.p is None else f"{interval.p:.3f}"
        table.append((name, _difference(interval), p))
    return table


def _explained(found: Compared) -> str:
    told = (
        f'"Ours" is {found.ours.name}, the best of ours on meta-validation; every head '
        "is the one that was best there, by seed. Differences in points are paired "
        "over seeds and episodes, [ ] are 95 % intervals"
    )
    if len(found.seeds) == 1:
        return (
            f"{told}, {intervals.CONDITIONAL}: they cover the draw of episodes, not "
            "that of training, so that nothing is called significant."
        )
    return (
        f"{told} {intervals.OVER_SEEDS} (squared, two thirds of Satterthwaite's and "
        "one third of Banerjee's). p is corrected for the number of data sets (Holm); "
        "* is below 0.05."
    )


def _mean(found: Comparison) -> float:
    return found.difference.mean


def _difference(interval: Interval) -> str:
    return tables.interval(interval, "+")


def _costs(there: Sequence[Run]) -> dict[str, float]:
    return {
        init: float(np.mean([run.costs[init] for run in there]))
        for init in there[0].costs
    }


def _accuracies(there: Sequence[Run]) -> tuple[float, ...]:
    """To be reached, the same in all runs of one protocol."""
    return tuple(there[0].config.get("transfer.accuracies", ()))


def _paths(runs: Sequence[Run]) -> str:
    return ", ".join(str(run.path) for run in runs)
