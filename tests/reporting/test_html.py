"""The page holds what the Markdown does, needs no network and fits a small screen."""

import re
from html.parser import HTMLParser

import pytest
from small_runs import CONTEXT, WINNING, evaluation
from small_transfer import run, transfer

from metainit.reporting import html
from metainit.reporting.run_report import write_report
from metainit.reporting.tables import Bullets, Code, Heading, Table


class Page(HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag  # everything is closed, in order

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data


NAME = "a <b> & c|d *x* [e](f)"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    runs = [run(init, "zero", 5) for init in ("meta-learned", "random")]
    write_report(folder, evaluation(*WINNING), CONTEXT, transfer(*runs))
    return folder


def test_the_page_has_what_the_markdown_has(written):
    page = Page((written / "report.html").read_text())
    text, markdown = page.text, (written / "report.md").read_text()
    for words in ("beats every baseline", "optimizer sgd", "A note of its own"):
        assert text.count(words) == markdown.count(words) > 0
    assert text.count("quick") == markdown.count("quick") + 1  # its title
    tags = [tag for tag, _ in page.tags]
    assert tags.count("table") == markdown.count("\n| ---") > 4 and page.open == []
    assert tags.count("img") == 3 and tags[tags.index("body") + 1] == "p"  # the verdict
    # On a narrow screen a cell stands beside its heading.
    assert all(x.get("data-label") for tag, x in page.tags if tag == "td")


def test_blocks_are_escaped(tmp_path):
    table = Table((NAME, "n"), [(NAME, "1")], text=1, bold=frozenset([0]))
    html.write(tmp_path, [NAME, Heading(NAME, 1), Bullets([NAME]), Code(NAME), table])
    page = Page((tmp_path / "report.html").read_text())
    assert page.text.count(NAME) == 7  # in the title, too
    labels = [attributes for tag, attributes in page.tags if tag == "td"]
    assert labels == [{"data-label": NAME}, {"align": "right", "data-label": "n"}]
    tags = {tag for tag, _ in page.tags}
    assert page.open == [] and "strong" in tags and not {"b", "a", "em"} & tags


def test_the_page_loads_nothing(written):
    content = (written / "report.html").read_text()
    assert not re.search(r"https?:|url\(|@import|//[a-z]", content.split("<body>")[0])
    for tag, attributes in Page(content).tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    (policy,) = re.findall(r'Security-Policy" content="(.*?)"', content)
    assert policy.startswith("default-src 'none'")
