"""Parts of a report, as Markdown: tables, lists, pictures, and numbers in words.

A report is a list of such parts. Every function here escapes the text that it is
given, so that no name becomes markup; the only markup in a text is `code`.
"""

import base64
import html
import io
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from metainit.evaluation.intervals import Interval
from metainit.evaluation.metrics import ACCURACY

_BAR, _EIGHTHS = 10, "▏▎▍▌▋▊▉"  # characters of a bar that is full, and parts of one
_THUMBNAIL = 96  # pixels
_COLOURS = 64  # of a thumbnail, which then has few kB whatever it shows


class Bar(NamedTuple):
    """A share, 0 to 1, with its interval."""

    name: str
    about: str
    mean: float
    low: float
    high: float


def escaped(text: str, code: bool = True) -> str:
    """Escapes text so that Markdown shows just this, as one line.

    With `code`, words between two backticks become code.
    """
    special = r"[\\*`|]|~(?=~)|\](?=[(\[:])|(?<!\w)_|_(?!\w)|<|&(?=#?\w)"
    # Of two or more backticks the next one need not be the end.
    pattern = (r"(?<!`)`[^`<&|]+`(?!`)|" if code else "") + special
    entities = {"<": "&lt;", "&": "&amp;"}  # which HTML parsers respect, too

    def replaced(match: re.Match[str]) -> str:
        found = match[0]
        return found if len(found) > 1 else entities.get(found, rf"\{found}")

    return re.sub(pattern, replaced, " ".join(text.split()))


def paragraph(text: str) -> str:
    """Escapes text, which is no list or heading however it begins."""
    return re.sub(r"^(\d+(?=[.)]\s)|(?=[#>]|[-+][-\s]))", r"\1\\", escaped(text))


def heading(text: str, level: int = 2) -> str:
    """Makes a heading of level 1 to 3."""
    return f"{'#' * level} {escaped(text)}"


def bullets(items: Sequence[str]) -> str:
    """Makes a list."""
    return "\n".join(f"- {paragraph(item)}" for item in items)


def code(text: str, language: str = "") -> str:
    """Shows lines as they are."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def details(title: str, *parts: str) -> str:
    """Folds Markdown under a title; a page shows it when it is asked to."""
    summary = f"<summary>{html.escape(title)}</summary>"
    return "\n\n".join([f'<details markdown="1">{summary}', *parts, "</details>"])


def figure(title: str, file: str) -> str:
    """Shows a PNG file beside the report; a terminal leaves it out."""
    return f"![{escaped(title)}]({file})"


def thumbnail(image: np.ndarray) -> str:
    """Shows an image, uint8 [h, w, 1 or 3], small; only a page has it."""
    height, width, _ = image.shape
    picture = Image.fromarray(np.broadcast_to(image, (height, width, 3)))
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
    content = io.BytesIO()
    picture.quantize(_COLOURS).save(content, format="PNG", optimize=True)
    return f"![](data:image/png;base64,{base64.b64encode(content.getvalue()).decode()})"


def table(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    text: int = 2,
    bold: Collection[int] = (),
    without: Collection[str] = (),
) -> str:
    """Makes a table.

    Args:
      names: the headings of the columns.
      rows: cells, as many in each row as there are names.
      text: how many columns are flush left; those of numbers follow, flush right.
      bold: numbers of the rows that stand out.
      without: headings of columns that are left out.
    """
    kept = [n for n, name in enumerate(names) if name not in without]
    lines = [[escaped(row[n], code=False) for n in kept] for row in (names, *rows)]
    for number in bold:
        lines[number + 1] = [f"**{cell}**" for cell in lines[number + 1]]
    lines.insert(1, ["---" if n < text else "---:" for n in kept])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def captioned(
    names: Sequence[str],
    rows: Sequence[Sequence[str]],
    text: int = 2,
    bold: Collection[int] = (),
    without: Collection[str] = (),
) -> str:
    """Makes a table as `table` does, without columns that say the same in every row.

    These stand in a sentence below. The first column stays.
    """
    same = {
        name: cells[0]
        for name, *cells in zip(names[1:], *(row[1:] for row in rows), strict=True)
        if name not in without and len(cells) > 1 and len(set(cells)) == 1
    }
    made = table(names, rows, text, bold, {*without, *same})
    sentence = paragraph(f"In every row: {words(same)}.")
    return f"{made}\n\n{sentence}" if same else made


def bars(title: str, shares: Sequence[Bar]) -> str:
    """Draws shares as bars, each with its interval in numbers."""
    rows = []
    for name, about, mean, low, high in shares:
        full, rest = divmod(round(8 * _BAR * min(max(mean, 0), 1)), 8)
        drawn = "█" * full + _EIGHTHS[rest - 1 : rest]
        rows.append((name, about, in_percent(mean, low, high), drawn or _EIGHTHS[0]))
    return table((title, "", "[95 % interval]", ""), rows, text=4)


def settings(values: Mapping[str, Any]) -> str:
    """Lists settings by name."""
    return bullets(
        [f"{name}: {words(value) or 'none'}" for name, value in values.items()]
    )


def again(command: str, about: str, config: Mapping[str, Any]) -> list[str]:
    """Ends a report: how to run it again, and its settings."""
    fields = json.dumps(config, indent=2, default=str)
    return [
        details("Run it again", code(command), paragraph(about)),
        details("Settings", code(fields, "json")),
    ]


def words(value: Any) -> str:
    """Puts a setting into words, "optimizer sgd, learning_rate 0.1"."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(words(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


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


def in_percent(mean: float, low: float, high: float) -> str:
    """Writes a share with its interval, "87.1 % [86.5, 87.7]"."""
    return "{} % [{}, {}]".format(*map(ACCURACY.mean, (mean, low, high)))


def in_points(difference: Interval) -> tuple[str, str, str]:
    """Formats a difference of accuracies and its limits, more finely near zero."""
    mean, low, high = (100 * x for x in difference[:3])
    places = 2 if min(abs(low), abs(high)) < 0.05 else 1
    mean = round(mean, places) + 0.0  # never "-0.0"
    return f"{mean:+.{places}f}", f"{low:.{places}f}", f"{high:.{places}f}"


def points(difference: Interval) -> str:
    """Formats a difference of accuracies, "+3.1 [2.5, 3.7]"."""
    return "{} [{}, {}]".format(*in_points(difference))


def difference(interval: Interval | None) -> tuple[str, str]:
    """Formats ours minus another and p, starred below 0.05; None is ours itself."""
    if interval is None:
        return "ours", "-"
    if interval.p is None:
        return points(interval), "-"
    return points(interval), f"{interval.p:.3f}{'*' * interval.different}"
