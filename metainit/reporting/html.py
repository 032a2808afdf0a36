"""`report.html`: the Markdown of `report.md` as one page that needs nothing else.

Read is only what the report writes: headings, paragraphs, lists, pipe tables, fences,
images and bold. Pictures are put into the page. A table is stacked on a narrow screen,
a line a cell, so that nothing is ever scrolled sideways.
"""

from __future__ import annotations

import base64
import html
import os
import pathlib
import re
from collections.abc import Iterator, Sequence

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 78rem; color: #1a1a1a;
  background: #fff; font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
.verdict { font-size: 1.2rem; font-weight: 600; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
pre { padding: .75rem; background: #f5f5f5; white-space: pre-wrap; }
table { width: 100%; border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; }
th { border-bottom: 2px solid #888; overflow-wrap: normal; }
.number { text-align: right; overflow-wrap: normal;
  font-variant-numeric: tabular-nums; }
@media screen and (max-width: 64rem) {
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  tr { padding: .5rem 0; border-bottom: 2px solid #888; }
  td, td.number { display: flex; justify-content: space-between; gap: 1rem;
    text-align: right; overflow-wrap: anywhere; }
  td::before { content: attr(data-label); color: #555; text-align: left; }
}
@page { size: landscape; margin: 12mm; }
@media print { body { max-width: none; font-size: 9pt; } table { font-size: 7pt; }
  td { overflow-wrap: break-word; }
  h2, h3 { break-after: avoid; } tr, img { break-inside: avoid; } }
"""

# Even if a line of the report ever held an address, a browser would not follow it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(lines: Sequence[str], folder: str | os.PathLike[str]) -> str:
    """The report as HTML; its first line, the verdict, stands out.

    Args:
      lines: of Markdown, as `report_markdown.lines` gives them.
      folder: where the PNG files lie that the lines name.

    Returns:
      A whole page without scripts, links or addresses.
    """
    title = next((line[2:] for line in lines if line.startswith("# ")), "report")
    head = (
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{html.escape(title)}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
    )
    verdict = f'<p class="verdict">{_inline(lines[0])}</p>'
    body = _blocks(lines[1:], pathlib.Path(folder))
    return "\n".join((*head, verdict, *body, "</body>", "</html>", ""))


def _blocks(lines: Sequence[str], folder: pathlib.Path) -> Iterator[str]:
    place = 0
    while place < len(lines):
        line, first = lines[place], place
        if line.startswith("```"):
            place = lines.index("```", first + 1) + 1
            code = "\n".join(lines[first + 1 : place - 1])
            yield f"<pre><code>{html.escape(code)}</code></pre>"
        elif line.startswith("| "):
            place = _while(lines, first, "| ")
            yield from _table(lines[first:place])
        elif line.startswith("- "):
            place = _while(lines, first, "- ")
            items = (f"<li>{_inline(item[2:])}</li>" for item in lines[first:place])
            yield from ("<ul>", *items, "</ul>")
        else:
            place += 1
            if heading := re.fullmatch(r"(#{1,3}) (.*)", line):
                level = len(heading[1])
                yield f"<h{level}>{_inline(heading[2])}</h{level}>"
            elif image := re.fullmatch(r"!\[(.*)\]\((.*)\)", line):
                content = base64.b64encode((folder / image[2]).read_bytes()).decode()
                source = f"data:image/png;base64,{content}"
                yield f'<img alt="{html.escape(image[1])}" src="{source}">'
            elif line:
                yield f"<p>{_inline(line)}</p>"


def _while(lines: Sequence[str], place: int, mark: str) -> int:
    """The place of the first line from `place` on that does not begin with `mark`."""
    while place < len(lines) and lines[place].startswith(mark):
        place += 1
    return place


def _table(lines: Sequence[str]) -> Iterator[str]:
    heading, rule, *rows = (re.split(r" (?<!\\)\| ", line[2:-2]) for line in lines)
    kinds = [' class="number"' if mark.endswith(":") else "" for mark in rule]
    yield "<table>"
    cells = zip(heading, kinds, strict=True)
    names = "".join(f"<th{kind}>{_inline(name)}</th>" for name, kind in cells)
    yield f"<thead><tr>{names}</tr></thead>"
    yield "<tbody>"
    for row in rows:
        cells_of_row = zip(row, kinds, heading, strict=True)
        yield "".join(
            (
                "<tr>",
                *(
                    f'<td{kind} data-label="{html.escape(name)}">'
                    f"<span>{_inline(cell)}</span></td>"
                    for cell, kind, name in cells_of_row
                ),
                "</tr>",
            )
        )
    yield "</tbody>"
    yield "</table>"


def _inline(text: str) -> str:
    escaped = html.escape(text.replace("\\|", "|"))
    escaped = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escaped)
    return re.sub(r"`(.+?)`", r"<code>\1</code>", escaped)
