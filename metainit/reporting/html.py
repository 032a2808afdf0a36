"""`report.md`, and `report.html`: the same as one page that needs nothing else.

Python-Markdown makes the page. Figures are put into it, and a table that is too wide
for a screen scrolls in a box of its own.
"""

import base64
import os
import pathlib
import re
import string
from collections.abc import Iterable
from xml.etree.ElementTree import Element

import markdown
from markdown.treeprocessors import Treeprocessor

from metainit.runtime import atomic

_PAGE = pathlib.Path(__file__).with_name("page.html")
_BADGES = "better", "tie", "worse"
_EMBEDDED = re.compile(r"!\[\]\(data:[^)]*\) ?")  # as `tables.thumbnail` writes it


def write(folder: str | os.PathLike[str], parts: Iterable[str]) -> pathlib.Path:
    """Writes `report.md` and `report.html`, and returns the path of the former.

    The parts are Markdown, as of `tables`; the first, the verdict, stands out. Figures
    are files in `folder`. Embedded images are on the page only.
    """
    folder, text = pathlib.Path(folder), "\n\n".join(parts) + "\n"
    body = _reader(folder).convert(text)
    heading = re.search("<h[12]>(.*?)</h[12]>", body)
    title = re.sub("<.*?>", "", heading[1]) if heading else "report"
    page = string.Template(_PAGE.read_text(encoding="utf-8"))
    atomic.write_text(folder / "report.md", _EMBEDDED.sub("", text))
    atomic.write_text(folder / "report.html", page.substitute(title=title, body=body))
    return folder / "report.md"


def _reader(folder: pathlib.Path) -> markdown.Markdown:
    # `use_align_attribute`: a style of its own would win over the sheet's.
    reader = markdown.Markdown(
        extensions=["fenced_code", "tables", "md_in_html"],
        extension_configs={"tables": {"use_align_attribute": True}},
        output_format="html",
    )
    # A report has no links, and no HTML within its lines.
    for name in ("html", "link", "reference", "autolink", "automail"):
        reader.inlinePatterns.deregister(name)
    reader.ESCAPED_CHARS.append("~")
    reader.treeprocessors.register(_Tree(reader, folder), "tree", -1)  # last
    return reader


class _Tree(Treeprocessor):
    """Marks the badge, puts figures into the page, and tables into boxes."""

    def __init__(self, md: markdown.Markdown, folder: pathlib.Path) -> None:
        super().__init__(md)
        self._folder = folder

    def run(self, root: Element) -> None:
        badge = root.find("./p/strong")
        if badge is not None and (name := (badge.text or "")[:-1].lower()) in _BADGES:
            badge.set("class", name)
        for image in root.iter("img"):
            if not image.attrib["src"].startswith("data:"):
                png = (self._folder / image.attrib["src"]).read_bytes()
                content = base64.b64encode(png).decode()
                image.set("src", f"data:image/png;base64,{content}")
        for parent in list(root.iter()):
            for number, child in enumerate(parent):
                if child.tag == "table":
                    box = Element("div", {"class": "box", "tabindex": "0"})
                    box.append(child)
                    parent[number] = box
