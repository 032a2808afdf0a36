"""`report.md`, and `report.html`: the same as one page that needs nothing else.

Pictures are put into the page. A table is stacked on a narrow screen, a line a cell, so
that nothing is ever scrolled sideways.
"""

from __future__ import annotations

import base64
import html
import os
import pathlib
from collections.abc import Iterable
from xml.etree.ElementTree import Element

import markdown
from markdown.treeprocessors import Treeprocessor

from metainit.reporting import tables
from metainit.reporting.tables import Block, Heading
from metainit.runtime import atomic

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 78rem; color: #1a1a1a;
  background: #fff; font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
body > p:first-child { font-size: 1.2rem; font-weight: 600; }
h1, h2, h3 { line-height: 1.25; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
pre { padding: .75rem; background: #f5f5f5; white-space: pre-wrap; }
table { width: 100%; border-collapse: collapse; font-size: .85rem; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid #ddd; text-align: left;
  vertical-align: top; }
th { border-bottom: 2px solid #888; overflow-wrap: normal; }
[align=right] { text-align: right; overflow-wrap: normal;
  font-variant-numeric: tabular-nums; }
@media screen and (max-width: 64rem) {
  table, tbody, tr, td { display: block; }
  thead { display: none; }
  tr { padding: .5rem 0; border-bottom: 2px solid #888; }
  td, td[align=right] { display: flex; justify-content: space-between; gap: 1rem;
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

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
</body>
</html>
"""


def write(folder: str | os.PathLike[str], blocks: Iterable[Block]) -> pathlib.Path:
    """Writes `report.md` and `report.html`, and returns the path of the former.

    The first block, the verdict, stands out; figures are files in `folder`.
    """
    folder, blocks = pathlib.Path(folder), list(blocks)
    text = tables.markdown(blocks)
    titles = (block.text for block in blocks if isinstance(block, Heading))
    # `use_align_attribute`: a style of its own would win over the sheet's.
    reader = markdown.Markdown(
        extensions=["fenced_code", "tables"],
        extension_configs={"tables": {"use_align_attribute": True}},
        output_format="html",
    )
    # The text has no HTML or links of its own.
    reader.preprocessors.deregister("html_block")
    for name in ("html", "entity", "link", "reference", "autolink", "automail"):
        reader.inlinePatterns.deregister(name)
    reader.ESCAPED_CHARS.extend("<&|")
    reader.treeprocessors.register(_Tree(reader, folder), "tree", -1)  # last
    page = _PAGE.format(
        policy=_POLICY,
        title=html.escape(next(titles, "report")),
        style=_STYLE,
        body=reader.convert(text),
    )
    atomic.write_text(folder / "report.md", text)
    atomic.write_text(folder / "report.html", page)
    return folder / "report.md"


class _Tree(Treeprocessor):
    """Puts pictures into the page, and a cell's heading beside it."""

    def __init__(self, md: markdown.Markdown, folder: pathlib.Path) -> None:
        super().__init__(md)
        self._folder = folder

    def run(self, root: Element) -> None:
        for image in root.iter("img"):
            content = (self._folder / image.attrib["src"]).read_bytes()
            encoded = base64.b64encode(content).decode()
            image.set("src", f"data:image/png;base64,{encoded}")
        for table in root.iter("table"):
            names = ["".join(head.itertext()) for head in table.iter("th")]
            for row in table.iter("tr"):
                for name, cell in zip(names, row.iter("td"), strict=False):
                    cell.set("data-label", name)
