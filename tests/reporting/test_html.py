"""The page holds what the Markdown does, needs no network and fits a small screen."""

import re
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from small_runs import CONTEXT, WINNING, evaluation
from small_transfer import FAST, transfer

from metainit.reporting import html
from metainit.reporting.run_report import write_report
from metainit.reporting.tables import Bullets, Code, Heading, Table


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
    for words in ("beats every baseline", "optimizer sgd", "A note of its own"):
        assert text.count(words) == markdown.count(words) > 0
    assert text.count("quick") == markdown.count("quick") + 1  # its title
    assert len([*page.iter("table")]) == markdown.count("\n| ---") > 4
    assert len([*page.iter("img")]) == 3 and page.find("body")[0].tag == "p"
    # On a narrow screen a cell stands beside its heading.
    assert all(cell.get("data-label") for cell in page.iter("td"))


def test_blocks_are_escaped(tmp_path):
    table = Table((NAME, "n"), [(NAME, "1")], text=1, bold=frozenset([0]))
    html.write(tmp_path, [NAME, Heading(NAME, 1), Bullets([NAME]), Code(NAME), table])
    page = parsed(tmp_path)
    assert "".join(page.itertext()).count(NAME) == 7  # in the title, too
    labels = [cell.attrib for cell in page.iter("td")]
    assert labels == [{"data-label": NAME}, {"align": "right", "data-label": "n"}]
    tags = {element.tag for element in page.iter()}
    assert "strong" in tags and not {"b", "a", "em"} & tags


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
    table = Table((name, "n"), [(name, "1")], text=1)
    blocks = [name, f"of {name}.", Heading(name), Bullets([name]), Code(name), table]
    html.write(tmp_path, blocks)
    markup = "a", "img", "script", "b", "i", "blockquote", "ol", "del"
    page = parsed(tmp_path)
    assert not [tag for tag in markup if page.find(f".//{tag}") is not None]
    # By the rules of GitHub and others, which let HTML through.
    rendered = MarkdownIt("commonmark", {"html": True}).enable(["table"])
    body = rendered.render((tmp_path / "report.md").read_text())
    tags = set(re.findall(r"<(\w+|!--)", body))
    allowed = "h2 p ul li pre code table thead tbody tr th td"
    assert tags <= set(allowed.split()), body
    assert body.count("<pre>") == 1 and body.count("<table>") == 1
