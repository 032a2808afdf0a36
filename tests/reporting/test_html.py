"""The page holds what the Markdown does, needs no network and fits a small screen."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from markdown_it import MarkdownIt
from small_runs import CONTEXT, WINNING, evaluation
from small_transfer import FAST, transfer

from metainit.reporting import html, plain_text, tables
from metainit.reporting.run_report import write_report
from metainit.reporting.tables import Bar


def parsed(folder):
    """The page without its style; a tag that is not closed, in order, is refused."""
    page = (folder / "report.html").read_text().removeprefix("<!doctype html>")
    root = ElementTree.fromstring(re.sub(r"(<(meta|img)[^>]*)>", r"\1/>", page))
    root.find("head").remove(root.find("head/style"))
    return root


NAME = "a <b> & c|d *x* [e](f)"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(folder, evaluation(*WINNING), CONTEXT, transfer(*FAST))
    return folder


def test_the_page_has_what_the_markdown_has(written):
    page, markdown = parsed(written), (written / "report.md").read_text()
    text = "".join(page.itertext())
    for words in (
        "joint pretraining 84.0 % (+3.1",
        "optimizer sgd",
        "A note of its own",
    ):
        assert text.count(words) == markdown.count(words) > 0
    assert text.count("quick") == markdown.count("quick") + 1  # its title
    assert len([*page.iter("table")]) == markdown.count("\n| ---") > 5
    assert len([*page.iter("img")]) == 3


def test_the_first_screen_is_short_and_the_rest_is_folded(written):
    body = parsed(written).find("body")
    assert [x.tag for x in body] == [*"p h1 p div p pre".split(), *["details"] * 10]
    badge, bars = body[0][0], body.find("div/table")
    assert (badge.tag, badge.get("class"), badge.text) == (
        "strong",
        "better",
        "Better.",
    )
    drawn = [row[3].text for row in bars.find("tbody")]
    assert drawn == ["█" * 8 + "▊", "█" * 8 + "▍", "█" * 5]
    told = "".join(bars.itertext())
    assert "87.1 % [85.9, 88.3]" in told and "prototype head after 1 step" in told
    titles = [x.find("summary").text for x in body.iter("details")]
    assert titles[0] == "Heads" and titles[-2:] == ["Run it again", "Settings"]


def test_a_wide_table_scrolls_in_a_box_of_its_own(written):
    page = parsed(written)
    tables = {id(x) for x in page.iter("table")}
    boxes = [x for x in page.iter("div") if x.get("class") == "box"]
    assert tables == {id(box.find("table")) for box in boxes}
    style = (written / "report.html").read_text()
    assert re.search(r"\.box { overflow-x: auto; }", style)
    assert "prefers-color-scheme: dark" in style and "@media print" in style


def test_the_page_loads_nothing(written):
    content = (written / "report.html").read_text()
    assert not re.search(r"https?:|url\(|@import|//[a-z]", content.split("<body>")[0])
    for element in parsed(written).iter():
        assert element.tag not in ("script", "link", "iframe", "object", "base")
        assert not any(name.startswith("on") for name in element.attrib)
        for name in ("src", "href"):
            assert element.get(name, "data:").startswith("data:")
    (policy,) = re.findall(r'Security-Policy" content="(.*?)"', content)
    assert policy.startswith("default-src 'none'")


HOSTILE = (
    NAME,
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "[x]: javascript:alert(1)",
    "![x](https://example.org/x.png)",
    "&lt;script&gt; &#60;b>",
    "```<img src=x onerror=alert(1)>`",
    "`` <b>x</b> ` <i>`",
    "`a``<img src=x>`",
    "~~~ <b>",
    "\\<b> \\[x](y) \\`<i>`",
    "<!-- x",
    "<https://example.org>",
    "# > - 1. a\n\n<b>",
)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_becomes_markup_whoever_renders_it(tmp_path, name):
    line = tables.paragraph(name)
    table = tables.table((name, "n"), [(name, "1")], text=1, bold=[0])
    parts = [line, tables.paragraph(f"of {name}."), tables.heading(name)]
    parts += [tables.bullets([name]), tables.code(name), table]
    bars = tables.bars(name, [Bar(name, name, 0.5, -1.0, 2.0)])
    item = f"- {tables.thumbnail(np.zeros((2, 2, 1), np.uint8))} {line}"
    parts.append(tables.details(name, f"**Tie.** {tables.escaped(name)}", bars, item))
    html.write(tmp_path, parts)
    markup = "a", "script", "b", "i", "blockquote", "ol", "del", "em"
    page = parsed(tmp_path)
    assert not [tag for tag in markup if page.find(f".//{tag}") is not None]
    (image,) = page.iter("img")
    assert image.get("src").startswith("data:image/png")
    assert name != NAME or "".join(page.itertext()).count(name) == 14  # in the title
    assert [x.attrib for x in page.iter("td")][:2] == [{}, {"align": "right"}]
    told = " ".join(plain_text.render(parts).split())
    assert told.count(" ".join(name.split())) >= 5
    # By the rules of GitHub and others, which let HTML through.
    rendered = MarkdownIt("commonmark", {"html": True}).enable(["table"])
    body = rendered.render((tmp_path / "report.md").read_text())
    tags = set(re.findall(r"<(\w+|!--)", body))
    allowed = "h2 p ul li pre code table thead tbody tr th td details summary strong"
    assert tags <= set(allowed.split()), body
    assert body.count("<pre>") == 1 and body.count("<table>") == 2
    assert body.count("<li>") == 2 and "data:" not in body
