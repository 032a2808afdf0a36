"""Cells, rows and tables, as plain text and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from metainit.evaluation import metrics
from metainit.evaluation.intervals import Comparison, Interval
from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import verdict


class Context(TypedDict):
    """What a report says about the run besides its evaluation.

    Attributes:
      title: heading of the report.
      command: shell line that repeats the run.
      seed: of the run.
      versions: of the packages, by name.
      config: nested dict of the settings.
      training: rows of `metrics.jsonl`.
      device_hours: of the whole run.
      epoch: passes over the meta-train images.
    """

    title: str
    command: str
    seed: int
    versions: Mapping[str, str]
    config: Mapping[str, Any]
    training: Sequence[Mapping[str, Any]]
    device_hours: float
    epoch: float


def measures(row: Row, plus_minus: str) -> tuple[str, ...]:
    """Steps, accuracy with interval, F1, loss, accuracy at 0 and at last steps."""
    mean, low, _ = metrics.mean_interval(verdict.chosen_accuracy(row))
    accuracy = row.measurements["accuracy"]
    at = {s: verdict.percent(accuracy[i]) for i, s in enumerate(row.steps)}
    adapts = verdict.adapts(row)
    return (
        str(row.steps[row.chosen]) if adapts else "-",
        f"{100 * mean:.1f} {plus_minus} {100 * (mean - low):.1f}",
        verdict.percent(row.measurements["f1"][row.chosen]),
        f"{np.mean(row.measurements['loss'][row.chosen]):.3f}",
        at.get(0, "-"),
        f"{at[row.steps[-1]]} ({row.steps[-1]})" if adapts else "-",
    )


def condition(context: Context) -> str:
    """What the intervals do not cover."""
    return (
        f"Conditional on this one training run (seed {context['seed']}): the intervals "
        "cover the draw of episodes, not that of training."
    )


def words(value: Any) -> str:
    """A setting in words, e.g. "optimizer sgd, learning_rate 0.1"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds as "62 s", "34 min" or "5.2 h"."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def flops(count: float | None) -> str:
    """Operations as "1.2e+15"; a dash where they were not counted."""
    return "-" if count is None else f"{count:.2g}"


def interval(found: Interval, sign: str = "") -> str:
    """In percent or points, e.g. "68.4 [65.2, 71.7]"; sign "+" shows it."""
    mean, low, high = (100 * x for x in (found.mean, found.low, found.high))
    return f"{mean:{sign}.1f} [{low:.1f}, {high:.1f}]"


def comparison(found: Comparison) -> tuple[str, str]:
    """Difference in points and p, with a mark where it is below 0.05."""
    told = interval(found.difference, "+")
    if found.p is None:
        return told, "-"
    return told, f"{found.p:.3f}{'*' if found.different else ' '}"


def indented(table: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The second column below the first, whose cells stand once, as rows of their own.

    Args:
      table: its heading first.
    """
    (first, second, *heading), *rows = table
    found: list[tuple[str, ...]] = [(f"{first}, {second}", *heading)]
    above = None
    for name, below, *cells in rows:
        if name != above:
            found.append((name,))
        above = name
        found.append((f"  {below}", *cells))
    return found


def aligned(table: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines: the first column flush left, the others flush right.

    A row of one cell runs on over the other columns.
    """
    whole = [row for row in table if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=False))
        ).rstrip()
        for row in table
    ]


def markdown(
    heading: Sequence[str], table: Iterable[Sequence[str]], text: int
) -> Iterator[str]:
    """A pipe table whose first `text` columns are flush left, the others right."""
    rule = ["---" if place < text else "---:" for place in range(len(heading))]
    for cells in (heading, rule, *table):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


PART_HEADING = ("Data set", "Initialisation", "Accuracy, %", "F1, %", "Ours minus this")


def parts(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """Each data set by initialisation, its best head as chosen on meta-validation."""
    for part in evaluation.parts:
        best = verdict.best_heads(part.rows)
        ours = verdict.our_best(part.rows)
        for row in best.values():
            mean, low, _ = metrics.mean_interval(verdict.chosen_accuracy(row))
            yield (
                part.dataset + ", held-out classes" * part.held_out,
                row.init,
                f"{100 * mean:.1f} +- {100 * (mean - low):.1f}",
                verdict.percent(row.measurements["f1"][row.chosen]),
                "-" if row is ours else verdict.points(verdict.compare(ours, row)),
            )
