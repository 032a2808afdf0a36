"""How kept tables of claims are laid out: a report's Markdown as text of 80 columns.

The layout is fixed, so that a table that is made again equals the one that is kept.
"""

import html
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence

from markdown_it import MarkdownIt
from markdown_it.token import Token

_WIDTH = 80  # columns
_CELL = 30  # of them that a cell of text has, where a table is too wide
_HEAD = 8  # and a heading of numbers, at least
_ASCII = str.maketrans({"±": "+-", "←": "<-"})


def render(parts: Iterable[str]) -> str:
    """Lays out Markdown as `metainit.reporting.tables` makes it."""
    parser = MarkdownIt("commonmark").enable("table")
    return "\n\n".join(filter(None, _blocks(iter(parser.parse("\n\n".join(parts))))))


def _blocks(tokens: Iterator[Token]) -> Iterator[str]:
    for token in tokens:
        if token.type == "html_block":
            title = re.search("<summary>(.*)</summary>", token.content)
            yield html.unescape(title[1]) if title else ""
        elif token.type == "heading_open":
            yield _plain(next(tokens))
        elif token.type == "paragraph_open":
            yield _filled(_plain(next(tokens)))
        elif token.type == "bullet_list_open":
            inside = itertools.takewhile(
                lambda x: x.type != "bullet_list_close", tokens
            )
            items = [_plain(x) for x in inside if x.type == "inline"]
            yield "\n".join(_filled(f"- {item}", "  ") for item in items)
        elif token.type == "table_open":
            inside = itertools.takewhile(lambda x: x.type != "table_close", tokens)
            yield "\n".join(_aligned(*_cells(inside)))


def _plain(inline: Token) -> str:
    """The text of a line, in which code keeps its backticks, without images."""
    marks = {"text": "{}", "code_inline": "`{}`"}
    children = inline.children or []
    text = "".join(marks.get(x.type, "").format(x.content) for x in children)
    return text.translate(_ASCII)


def _cells(tokens: Iterable[Token]) -> tuple[list[list[str]], int]:
    """Cells of a table by row, and how many of its columns are flush left."""
    rows: list[list[str]] = []
    left = 0
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "th_open":
            left += "right" not in str(token.attrs.get("style", ""))
        elif token.type == "inline":
            rows[-1].append(_plain(token))
    for column, name in enumerate(rows[0]):
        if name == "p":  # a star hangs over
            for row in rows[1:]:
                row[column] += " " * (row[column][-1].isdigit())
    return rows, left


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        subsequent_indent=indent,
        # A path is copied: it is not broken.
        break_on_hyphens=False,
        break_long_words=False,
    )


def _aligned(rows: Sequence[list[str]], text: int) -> Iterator[str]:
    """Aligns columns; the first of several of text becomes titles above the others.

    In a table that is too wide, texts and headings are broken; columns of numbers that
    are too many follow below, beside those of text again.
    """
    heading, *body = rows
    if text > 1:
        heading, text = [", ".join(heading[:2]), *heading[2:]], text - 1
        body, grouped = [], itertools.groupby(body, key=lambda row: row[0])
        for title, group in grouped:
            body += [[title], *([f"  {x}", *cells] for _, x, *cells in group)]
    # A row of cells, each of them lines.
    lines = [[[cell] for cell in row] for row in (heading, *body)]
    if _total(_widths(lines)) > _WIDTH:
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
        fits = _total([widths[x] for x in (*parts[-1], n)]) <= _WIDTH
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
