"""Blocks of text and tables, and how they become Markdown.

Whatever a name or a setting holds is escaped; the only markup in a text is `code`.
"""

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metainit.evaluation.intervals import Interval
from metainit.evaluation.metrics import ACCURACY

_BAR = 20  # characters of a bar that is full


class Verdict(NamedTuple):
    """How it came out, in a word and in a sentence; the first block."""

    badge: str  # "better", "tie" or "worse"; "" where nothing was compared
    text: str

    def in_words(self) -> str:
        """Both in one line."""
        return f"{self.badge.capitalize()}{'. ' * bool(self.badge)}{self.text}"


class Bar(NamedTuple):
    """A share, 0 to 1, with its interval."""

    name: str
    about: str
    mean: float
    low: float
    high: float


class Bars(NamedTuple):
    """Shares as bars, each with its interval; a terminal does not show them."""

    title: str
    bars: Sequence[Bar]


class Picture(NamedTuple):
    """An image, uint8 [h, w, 1 or 3], and what is said of it, in lines.

    Its mark is a frame beside the words: "right", "wrong", or "" for none.
    """

    image: np.ndarray
    text: str
    mark: str = ""


class Gallery(NamedTuple):
    """Pictures, which a page shows small, with their texts; elsewhere the texts."""

    pictures: Sequence[Picture]


class Card(NamedTuple):
    """Pictures that belong together, very small on a page."""

    title: str
    pictures: Sequence[Picture]


class Cards(NamedTuple):
    """Cards side by side; elsewhere what is said of the pictures."""

    cards: Sequence[Card]


class Details(NamedTuple):
    """Blocks that a page shows when it is asked to."""

    title: str
    blocks: Sequence["Block"]


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


Block = (
    str
    | Verdict
    | Bars
    | Gallery
    | Cards
    | Details
    | Heading
    | Bullets
    | Code
    | Figure
    | Table
)


def words(value: Any) -> str:
    """Puts a setting into words, "optimizer sgd, learning_rate 0.1"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def settings(values: Mapping[str, Any]) -> Bullets:
    """Lists settings by name."""
    return Bullets(
        [f"{name}: {words(value) or 'none'}" for name, value in values.items()]
    )


def again(command: str, about: str, config: Mapping[str, Any]) -> list[Block]:
    """Ends a report: how to run it again, and its settings."""
    settings = Code(json.dumps(config, indent=2, default=str), "json")
    return [
        Details("Run it again", [Code(command), about]),
        Details("Settings", [settings]),
    ]


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


def in_points(difference: Interval) -> tuple[str, str, str]:
    """Formats accuracies' difference and its limits, more finely near zero."""
    mean, low, high = (100 * x for x in difference[:3])
    places = 2 if min(abs(low), abs(high)) < 0.05 else 1
    mean = round(mean, places) + 0.0  # never "-0.0"
    return f"{mean:+.{places}f}", f"{low:.{places}f}", f"{high:.{places}f}"


def points(difference: Interval) -> str:
    """Formats accuracies' difference, "+3.1 [2.5, 3.7]"."""
    return "{} [{}, {}]".format(*in_points(difference))


def difference(interval: Interval | None) -> tuple[str, str]:
    """Formats ours minus another and p, starred below 0.05; None is ours itself."""
    if interval is None:
        return "ours", "-"
    if interval.p is None:
        return points(interval), "-"
    return points(interval), f"{interval.p:.3f}{'*' if interval.different else ' '}"


def captioned(table: Table) -> list[Block]:
    """Moves columns that are the same in every row, but the first, below the table."""
    columns = list(zip(*table.rows, strict=True))
    same = {
        name: column[0]
        for name, column in zip(table.heading[1:], columns[1:], strict=True)
        if len(column) > 1 and len(set(column)) == 1
    }
    if not same:
        return [table]
    return [table.without(*same), f"In every row: {words(same)}."]


def markdown(blocks: Iterable[Block]) -> str:
    """Renders blocks as Markdown."""
    return "\n\n".join(map(_markdown, blocks)) + "\n"


def _markdown(block: Block) -> str:
    match block:
        case Verdict(badge, text):
            mark = f"**{badge.capitalize()}.** " if badge else ""
            return mark + (escaped(text) if badge else _paragraph(text))
        case Bars(title, bars):
            return _markdown(_as_table(title, bars))
        case Gallery(pictures):
            return _markdown(Bullets([picture.text for picture in pictures]))
        case Cards(cards):
            told = [[x.text.replace("\n", ", ") for x in of.pictures] for of in cards]
            pairs = zip(cards, told, strict=True)
            return _markdown(Bullets([f"{x.title}: {'; '.join(y)}" for x, y in pairs]))
        case Details(title, blocks):
            summary = f"<summary>{html.escape(title)}</summary>"
            return f"<details>{summary}\n\n{markdown(blocks)}\n</details>"
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


def in_percent(bar: Bar) -> str:
    """Writes a share with its interval, "87.1 % [86.5, 87.7]"."""
    return "{} % [{}, {}]".format(*map(ACCURACY.mean, (bar.mean, bar.low, bar.high)))


def _as_table(title: str, bars: Sequence[Bar]) -> Table:
    rows = [
        (
            bar.name,
            bar.about,
            in_percent(bar),
            "█" * round(_BAR * min(max(bar.mean, 0), 1)) or "▏",
        )
        for bar in bars
    ]
    return Table((title, "", "[95 % interval]", ""), rows, text=4)


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
