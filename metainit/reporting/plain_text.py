"""A report's Markdown in a terminal, by `rich`: plain text in 80 columns."""

import html
import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import ClassVar

from rich import markdown
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import MarkdownContext, MarkdownElement, TextElement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

WIDTH = 80  # columns of a terminal
_TEXT = 16  # of them that a column of text has at least, where it needs as many
_HEAD = 8  # and a heading of numbers
# What reports say beyond ASCII. Names of others stay as they are.
_ASCII = str.maketrans({"±": "+-", "←": "<-"})


def render(parts: Iterable[str]) -> str:
    """Renders Markdown as plain text, in ASCII but for names that are not.

    Lines are wrapped to `WIDTH` columns; a path in a sentence, which is copied, is not
    broken.
    """
    console = Console(
        file=io.StringIO(), width=WIDTH, color_system=None, force_jupyter=False
    )
    text = _Markdown("\n\n".join(parts).translate(_ASCII))
    with console.capture() as capture:
        console.print(text, crop=False)
    lines = (line.rstrip() for line in capture.get().split("\n"))
    return re.sub("\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def ending(verdict: str, page: str, commands: Mapping[str, str]) -> str:
    """Ends a terminal's output in five lines: the verdict, the page, what to do."""
    lines = [render([verdict]), f"report: {page}"]
    return "\n".join([*lines, *(f"{what}: {x}" for what, x in commands.items())])


class _Paragraph(markdown.Paragraph):
    """Text that is broken at spaces only."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        lines = textwrap.wrap(
            self.text.plain,
            options.max_width,
            break_long_words=False,
            break_on_hyphens=False,
        )
        yield Text("\n".join(lines), no_wrap=True, overflow="ignore")


class _Item(markdown.ListItem):
    """An item of a list."""

    def render_bullet(self, console: Console, options: ConsoleOptions) -> RenderResult:
        inner = options.update(width=options.max_width - 2)
        lines = Segment.split_lines(console.render(self.elements, inner))
        for number, line in enumerate(lines):
            yield Segment("  " if number else "- ")
            yield from line
            yield Segment.line()


class _Heading(markdown.Heading):
    """A heading, flush left."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield self.text


class _Html(TextElement):
    """The title of what a page folds; nothing else is HTML."""

    def on_text(self, context: MarkdownContext, text: str | Text) -> None:
        if title := re.search("<summary>(.*)</summary>", str(text)):
            self.text.append(html.unescape(title[1]))

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield self.text


class _NoImage(markdown.ImageItem):
    """An image, which a terminal does not show."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        yield from ()


class _Table(markdown.TableElement):
    """A table; columns of numbers that are too many follow below.

    They stand beside the columns of text again, which are broken where they must be.
    """

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        assert self.header is not None and self.header.row is not None
        names = [cell.content for cell in self.header.row.cells]
        body = [] if self.body is None else self.body.rows
        rows = [[cell.content for cell in row.cells] for row in body]
        is_number = [cell.justify == "right" for cell in self.header.row.cells]
        widths = [_width(*column) for column in zip(names, *rows, strict=True)]
        for number, shown in enumerate(_parts(widths, is_number)):
            table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
            for n in shown:
                width = widths[n] if is_number[n] else None
                table.add_column(names[n], width=width, overflow="fold")
            for row in rows:
                table.add_row(*(row[n] for n in shown))
            if number:
                yield Text()
            yield table


class _Markdown(markdown.Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **markdown.Markdown.elements,
        "paragraph_open": _Paragraph,
        "list_item_open": _Item,
        "heading_open": _Heading,
        "html_block": _Html,
        "image": _NoImage,
        "table_open": _Table,
    }

    def __init__(self, markup: str) -> None:
        super().__init__(markup, hyperlinks=False)
        for line in self.parsed:
            for token in line.children or ():
                if token.type == "code_inline":  # there are no colours to tell it by
                    token.content = f"`{token.content}`"


def _width(name: Text, *cells: Text) -> int:
    """Columns that cells need, and their heading if it is broken between words."""
    least = max(map(cell_len, name.plain.split()), default=0)
    heading = max(least, min(cell_len(name.plain), _HEAD))
    return max([heading, *(cell_len(cell.plain) for cell in cells)])


def _parts(widths: Sequence[int], is_number: Sequence[bool]) -> Iterator[list[int]]:
    """Parts columns so that each part fits, with the columns of text in all of them."""
    texts = [n for n, number in enumerate(is_number) if not number]
    free = WIDTH - sum(min(widths[n], _TEXT) + 2 for n in texts)
    part, left = [*texts], free
    for n in (n for n, number in enumerate(is_number) if number):
        if widths[n] > left and len(part) > len(texts):
            yield part
            part, left = [*texts], free
        part.append(n)
        left -= widths[n] + 2
    yield part
