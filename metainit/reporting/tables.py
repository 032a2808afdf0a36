"""Blocks of text and tables, and how they become Markdown or a terminal's text.

Whatever a name or a setting holds is escaped; the only markup in a text is `code`.
"""

import itertools
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Interval

WIDTH = 100  # columns of a terminal


class Heading(NamedTuple):
    """A heading of level 1 to 3."""

    text: str
    level: int = 2


class Bullets(NamedTuple):
    """A list."""

    items: Sequence[str]


class Code(NamedTuple):
    """Lines that stand as they are."""

    text: str
    language: str = ""


class Figure(NamedTuple):
    """A PNG file beside the report; a terminal does not show it."""

    title: str
    file: str


class Table(NamedTuple):
    """A table."""

    heading: Sequence[str]
    rows: Sequence[Sequence[str]]  # a single cell runs on over all columns
    text: int = 2  # columns that are flush left; numbers, flush right, follow
    bold: frozenset[int] = frozenset()  # rows that stand out on a page

    def without(self, *names: str) -> "Table":
        """Leaves out the columns of these headings."""
        kept = [n for n, name in enumerate(self.heading) if name not in names]
        heading, *rows = ([x[n] for n in kept] for x in (self.heading, *self.rows))
        return Table(heading, rows, sum(n < self.text for n in kept), self.bold)


Block = str | Heading | Bullets | Code | Figure | Table


class Metric(NamedTuple):
    """How a metric is shown: its heading, a factor, and a format of the product."""

    heading: str
    scale: float
    format: str

    def mean(self, values: Any) -> str:
        """Formats the mean."""
        return f"{self.scale * np.mean(values):{self.format}}"

    def plus_minus(self, values: np.ndarray) -> str:
        """Formats the mean of float [episodes] with its 95 % interval, "87.1 ± 0.6"."""
        mean, low, _ = intervals.mean_interval(values)
        return f"{self.mean(mean)} ± {self.mean(mean - low)}"

    def interval(self, interval: Interval) -> str:
        """Formats a mean with its interval, "68.4 [65.2, 71.7]"."""
        return "{} [{}, {}]".format(*map(self.mean, interval[:3]))


# Metrics that reports show, by their names in measurements.
METRICS = {
    "accuracy": Metric("Accuracy, %", 100, ".1f"),
    "f1": Metric("F1, %", 100, ".1f"),
    "loss": Metric("Loss", 1, ".3f"),
}
ACCURACY = METRICS["accuracy"]


def words(value: Any) -> str:
    """Puts a setting into words, "optimizer sgd, learning_rate 0.1"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings(values: Mapping[str, Any]) -> Bullets:
    """Lists settings by name."""
    return Bullets([f"{name}: {words(value)}" for name, value in values.items()])


def again(command: str, about: str, config: Mapping[str, Any]) -> list[Block]:
    """Ends a report: how to run it again, and its settings."""
    settings = Code(json.dumps(config, indent=2, default=str), "json")
    run: list[Block] = [Heading("Run it again"), Code(command), about]
    return [*run, Heading("Settings"), settings]


def duration(seconds: float) -> str:
    """Writes seconds as "62 s", "34 min" or "5.2 h"."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def flops(count: float | None) -> str:
    """Writes operations as "1.2e+15", a dash where they were not counted."""
    return "-" if count is None else f"{count:.2g}"


def points(difference: Interval) -> str:
    """Formats accuracies' difference, "+3.1 [2.5, 3.7]", more finely near zero."""
    mean, low, high = (100 * x for x in difference[:3])
    places = 2 if min(abs(low), abs(high)) < 0.05 else 1
    mean = round(mean, places) + 0.0  # never "-0.0"
    return f"{mean:+.{places}f} [{low:.{places}f}, {high:.{places}f}]"


def difference(interval: Interval | None) -> tuple[str, str]:
    """Formats ours minus another and p, starred below 0.05; None is ours itself."""
    if interval is None:
        return "ours", "-"
    if interval.p is None:
        return points(interval), "-"
    return points(interval), f"{interval.p:.3f}{'*' if interval.different else ' '}"


def markdown(blocks: Iterable[Block]) -> str:
    """Renders blocks as Markdown."""
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def terminal(blocks: Iterable[Block]) -> str:
    """Renders blocks as plain text in ASCII, wrapped to `WIDTH` columns."""
    parts = ("\n".join(_terminal(block)) for block in blocks)
    return "\n\n".join(part for part in parts if part)


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {escaped(text)}"
        case Bullets(items):
            return "\n".join(f"- {_paragraph(item)}" for item in items)
        case Code(text, language):
            longest = max(map(len, re.findall("`+", text)), default=0)
            fence = "`" * max(3, longest + 1)
            return f"{fence}{language}\n{text}\n{fence}"
        case Figure(title, file):
            return f"![{title}]({file})"
        case Table(heading, rows, text, bold):
            rule = ["---"] * text + ["---:"] * (len(heading) - text)
            lines = [[escaped(cell, "|") for cell in row] for row in (heading, *rows)]
            for number in bold:
                lines[number + 1] = [f"**{cell}**" for cell in lines[number + 1]]
            lines.insert(1, rule)
            return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return _paragraph(block)


def _paragraph(text: str) -> str:
    """Escapes text; what begins like a list or a heading is none."""
    return re.sub(r"^(\d+(?=[.)]\s)|(?=[#>]|[-+]\s))", r"\1\\", escaped(text))


def escaped(text: str, also: str = "") -> str:
    """Escapes text so that, but for `code`, Markdown shows just this."""
    special = rf"[\\*<`{also}]|~(?=~)|\](?=[(\[:])|(?<!\w)_|_(?!\w)|&(?=#?\w+;)"
    # Of two or more backticks the next one need not be the end.
    code = r"((?<!`)`[^`]+`(?!`))|" if not also else ""
    return re.sub(
        code + special,
        lambda match: match[0] if code and match[1] else rf"\{match[0]}",
        " ".join(text.split()),
    )


def _terminal(block: Block) -> Iterator[str]:
    match block:
        case Heading(text, _):
            yield _ascii(text)
        case Bullets(items):
            for item in items:
                yield _filled(f"- {item}", "  ")
        case Code(text, _):
            yield text
        case Table():
            yield from _aligned(block)
        case str():
            yield _filled(block)


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        _ascii(text),
        WIDTH,
        subsequent_indent=indent,
        # A path is copied: it is not broken.
        break_on_hyphens=False,
        break_long_words=False,
    )


def _aligned(table: Table) -> list[str]:
    """Aligns columns; the first of several of text becomes titles above the others."""
    heading, rows, text, _ = table
    if text > 1:
        heading, text = [", ".join(heading[:2]), *heading[2:]], text - 1
        rows = []
        for name, of_name in itertools.groupby(table.rows, key=lambda row: row[0]):
            rows += [(name,), *((f"  {x}", *cells) for _, x, *cells in of_name)]
    lines = [[_ascii(cell) for cell in row] for row in (heading, *rows)]
    columns = zip(*(line for line in lines if len(line) > 1), strict=True)
    widths = [max(map(len, column)) for column in columns]
    cells = [f"{{:{'<' if n < text else '>'}{w}}}" for n, w in enumerate(widths)]
    return ["  ".join(cells[: len(line)]).format(*line).rstrip() for line in lines]


def _ascii(text: str) -> str:
    return text.replace("±", "+-").replace("←", "<-")
