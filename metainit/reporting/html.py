"""`report.md`, and `report.html`: the same as one page that needs nothing else.

Pictures are put into the page. A table is stacked on a narrow screen, a line a cell, so
that nothing is ever scrolled sideways.
"""

import base64
import html
import os
import pathlib
import string
from collections.abc import Iterable
from xml.etree.ElementTree import Element

import markdown
from markdown.treeprocessors import Treeprocessor

from metainit.reporting import tables
from metainit.reporting.tables import Block, Heading
from metainit.runtime import atomic

_PAGE = pathlib.Path(__file__).with_name("page.html")


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
    reader.ESCAPED_CHARS.extend("<&|~")
    reader.treeprocessors.register(_Tree(reader, folder), "tree", -1)  # last
    title, body = html.escape(next(titles, "report")), reader.convert(text)
    page = string.Template(_PAGE.read_text(encoding="utf-8"))
    atomic.write_text(folder / "report.md", text)
    atomic.write_text(folder / "report.html", page.substitute(title=title, body=body))
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
