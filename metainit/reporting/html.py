"""`report.md`, and `report.html`: the same as one page that needs nothing else.

Pictures are put into the page. A table that is too wide for a screen is scrolled in a
box of its own.
"""

import base64
import html
import io
import os
import pathlib
import string
from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import markdown
import numpy as np
from markdown.treeprocessors import Treeprocessor
from PIL import Image

from metainit.reporting import tables
from metainit.reporting.tables import (
    Bar,
    Bars,
    Block,
    Card,
    Cards,
    Details,
    Gallery,
    Heading,
    Picture,
    Verdict,
)
from metainit.runtime import atomic

_PAGE = pathlib.Path(__file__).with_name("page.html")
_THUMBNAIL = 96  # pixels
_COLOURS = 64  # of an image on a card, which has 2 kB whatever it shows
_ROW, _ACROSS = 58, 350  # of a bar with its words, in the units of its drawing


def write(folder: str | os.PathLike[str], blocks: Iterable[Block]) -> pathlib.Path:
    """Writes `report.md` and `report.html`, and returns the path of the former.

    The first block, the verdict, stands out; figures are files in `folder`.
    """
    folder, blocks = pathlib.Path(folder), list(blocks)
    text = tables.markdown(blocks)
    titles = (block.text for block in blocks if isinstance(block, Heading))
    title, body = html.escape(next(titles, "report")), _Page(folder).all_of(blocks)
    page = string.Template(_PAGE.read_text(encoding="utf-8"))
    atomic.write_text(folder / "report.md", text)
    atomic.write_text(folder / "report.html", page.substitute(title=title, body=body))
    return folder / "report.md"


class _Page:
    """Renders blocks as HTML: what Markdown can say through it, the rest as it is."""

    def __init__(self, folder: pathlib.Path) -> None:
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
        self._reader = reader

    def all_of(self, blocks: Iterable[Block]) -> str:
        return "\n".join(map(self._of, blocks))

    def _of(self, block: Block) -> str:
        match block:
            case Verdict(badge, text):
                mark = f'<strong class="{badge}">{badge.capitalize()}</strong> '
                return f'<p class="verdict">{mark * bool(badge)}{html.escape(text)}</p>'
            case Bars(title, bars):
                return _drawn(title, bars)
            case Gallery(pictures):
                return f'<div class="gallery">{"".join(map(_figure, pictures))}</div>'
            case Cards(cards):
                return f'<div class="cards">{"".join(map(_card, cards))}</div>'
            case Details(title, blocks):
                summary = f"<summary>{html.escape(title)}</summary>"
                return f"<details>{summary}\n{self.all_of(blocks)}</details>"
        return self._reader.reset().convert(tables.markdown([block]))


def _card(card: Card) -> str:
    figures = "".join(_figure(picture, _COLOURS) for picture in card.pictures)
    return f"<div><strong>{html.escape(card.title)}</strong>{figures}</div>"


def _figure(picture: Picture, colours: int = 0) -> str:
    height, width, _ = picture.image.shape
    image = Image.fromarray(np.broadcast_to(picture.image, (height, width, 3)))
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    if colours:
        image = image.quantize(colours)
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    shown = f'<img src="{_source(content.getvalue())}" alt="">'
    lines = "".join(f"<span>{html.escape(x)}</span>" for x in picture.text.split("\n"))
    mark = f' class="{picture.mark}"' if picture.mark else ""
    return f"<figure{mark}>{shown}<figcaption>{lines}</figcaption></figure>"


def _source(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _drawn(title: str, bars: Sequence[Bar]) -> str:
    """Draws bars, from 0 to 100 %, whose colours are the sheet's."""
    parts = [f"<title>{html.escape(title)}</title>"]
    for number, bar in enumerate(bars):
        top, told = number * _ROW, html.escape(tables.in_percent(bar))
        low, mean, high = (
            _ACROSS * min(max(x, 0.0), 1.0) for x in (bar.low, bar.mean, bar.high)
        )
        parts += [
            f'<text y="{top + 14}">{html.escape(bar.name)}</text>',
            f'<text class="end" x="{_ACROSS}" y="{top + 14}">{told}</text>',
            f'<rect class="all" y="{top + 20}" width="{_ACROSS}" height="12"/>',
            f'<rect class="bar" y="{top + 20}" width="{mean:.1f}" height="12"/>',
            f'<path d="M{low:.1f} {top + 26}H{high:.1f}M{low:.1f} {top + 21}v10'
            f'M{high:.1f} {top + 21}v10"/>',
            f'<text class="about" y="{top + 46}">{html.escape(bar.about)}</text>',
        ]
    size = f"0 0 {_ACROSS} {_ROW * len(bars)}"
    return f'<svg role="img" viewBox="{size}">{"".join(parts)}</svg>'


class _Tree(Treeprocessor):
    """Puts pictures into the page, and tables into boxes that scroll."""

    def __init__(self, md: markdown.Markdown, folder: pathlib.Path) -> None:
        super().__init__(md)
        self._folder = folder

    def run(self, root: Element) -> None:
        for image in root.iter("img"):
            content = (self._folder / image.attrib["src"]).read_bytes()
            image.set("src", _source(content))
        for number, child in enumerate(root):
            if child.tag == "table":
                root[number] = box = Element("div", {"class": "box", "tabindex": "0"})
                box.append(child)
