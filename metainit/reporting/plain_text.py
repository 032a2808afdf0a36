"""Blocks of a report as plain text, in ASCII and in the columns of a terminal."""

import itertools
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from metainit.reporting.tables import (
    Block,
    Bullets,
    Code,
    Details,
    Heading,
    Table,
    Verdict,
)

WIDTH = 80  # columns of a terminal
_CELL = 30  # of them that a cell of text has, where a table is too wide
_HEAD = 8  # and a heading of numbers, at least


def render(blocks: Iterable[Block]) -> str:
    """Renders blocks as plain text in ASCII, wrapped to `WIDTH` columns."""
    parts = ("\n".join(_rendered(block)) for block in blocks)
    return "\n\n".join(part for part in parts if part)


def ending(verdict: Verdict, page: str, commands: Mapping[str, str]) -> str:
    """Ends a terminal's output in five lines: the verdict, the page, what to do."""
    lines = [_filled(verdict.in_words()), f"report: {page}"]
    return "\n".join([*lines, *(f"{what}: {x}" for what, x in commands.items())])


def _rendered(block: Block) -> Iterator[str]:
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
        case Verdict():
            yield _filled(block.in_words())
        case Details(title, blocks):
            yield render([Heading(title), *blocks])
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


def _aligned(table: Table) -> Iterator[str]:
    """Aligns columns; the first of several of text becomes titles above the others.

    In a table that is too wide, texts and headings are broken; columns of numbers that
    are too many follow below, beside those of text again.
    """
    heading, rows, text, _ = table
    if text > 1:
        heading, text = [", ".join(heading[:2]), *heading[2:]], text - 1
        rows = []
        for name, of_name in itertools.groupby(table.rows, key=lambda row: row[0]):
            rows += [(name,), *((f"  {x}", *cells) for _, x, *cells in of_name)]
    # A row of cells, each of them lines.
    lines = [[[_ascii(cell)] for cell in row] for row in (heading, *rows)]
    if _total(_widths(lines)) > WIDTH:
        numbers = _widths(lines[1:]) or [_CELL] * len(heading)
        for number, line in enumerate(lines):
            for n, [cell] in enumerate(line):
                if n < text and (n or len(line) > 1):
                    line[n] = _broken(cell, _CELL)
                elif number == 0:
                    line[n] = _broken(cell, max(numbers[n], _HEAD))
    widths = _widths(lines)
    for number, shown in enumerate(_parts(widths, text)):
        if number:
            yield ""
        formats = [f"{{:{'<' if n < text else '>'}{widths[n]}}}" for n in shown]
        for line in lines:
            cells = [line[n] for n in shown if n < len(line)]
            for row in itertools.zip_longest(*cells, fillvalue=""):
                yield "  ".join(formats[: len(row)]).format(*row).rstrip()


def _parts(widths: Sequence[int], text: int) -> list[list[int]]:
    """Parts columns so that each part fits, with the columns of text in all of them."""
    parts = [list(range(text))]
    for n in range(text, len(widths)):
        fits = _total([widths[x] for x in (*parts[-1], n)]) <= WIDTH
        if not fits and len(parts[-1]) > text:
            parts.append(list(range(text)))
        parts[-1].append(n)
    return parts


def _widths(lines: Sequence[Sequence[Sequence[str]]]) -> list[int]:
    most = max(map(len, lines), default=0)
    columns = zip(*(line for line in lines if len(line) == most), strict=True)
    return [max(len(x) for cell in column for x in cell) for column in columns]


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _broken(cell: str, width: int) -> list[str]:
    indent = " " * (len(cell) - len(cell.lstrip()))
    return textwrap.wrap(
        cell, width, subsequent_indent=indent, break_long_words=False
    ) or [cell]


def _ascii(text: str) -> str:
    return text.replace("±", "+-").replace("←", "<-")
