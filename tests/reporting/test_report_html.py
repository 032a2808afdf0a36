"""The page holds what the Markdown does, needs no network and fits a small screen."""

import html.parser
import pathlib
import re

import pytest
from small_transfer import run, transfer
from test_report import CONTEXT, WINNING, evaluation

from metainit.reporting import html as report_html
from metainit.reporting.run_report import write_report


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text outside of style."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # everything is closed, in order

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("report")
    runs = [
        run("meta-learned", "zero", 5, dataset="a <b> & c"),
        run("random", "zero", 50, dataset="a <b> & c"),
    ]
    write_report(folder, evaluation(*WINNING), CONTEXT, transfer(*runs))
    return folder


def test_the_page_has_the_content_of_the_markdown(written: pathlib.Path) -> None:
    page = Page((written / "report.html").read_text())
    assert page.open == []
    markdown = (written / "report.md").read_text()
    told = re.sub(r"\s", "", page.text)
    for line in markdown.splitlines():
        if re.match(r"!\[|\| --|```", line):
            continue
        plain = re.sub(r"^(#+|-) |^\| | \|$", "", line)
        for cell in re.split(r" \| ", plain):
            words = re.sub(r"\*\*|\s|`", "", cell)
            assert words in told, line
    tables = len(re.findall(r"^\| ---", markdown, re.MULTILINE))
    assert [tag for tag, _ in page.tags].count("table") == tables >= 5
    assert [tag for tag, _ in page.tags].count("img") == 3
    assert "a <b> & c" in page.text
    # The verdict comes first.
    body = page.tags[[tag for tag, _ in page.tags].index("body") + 1]
    assert body == ("p", {"class": "verdict"})


def test_the_page_loads_nothing(written: pathlib.Path) -> None:
    content = (written / "report.html").read_text()
    assert not re.search(r"https?:|url\(|@import|//[a-z]", content.split("<body>")[0])
    for tag, attributes in Page(content).tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    (policy,) = re.findall(r'Security-Policy" content="(.*?)"', content)
    assert policy.startswith("default-src 'none'")


def test_the_page_is_never_scrolled_sideways(written: pathlib.Path) -> None:
    """Static: checked in Chromium at 320 to 1280 pixels when it was made."""
    content = (written / "report.html").read_text()
    assert 'name="viewport" content="width=device-width, initial-scale=1"' in content
    style = content.split("<style>")[1].split("</style>")[0]
    narrow = style.split("@media screen and (max-width: 64rem) {")[1]
    assert "table, tbody, tr, td { display: block; }" in narrow
    assert "content: attr(data-label)" in narrow
    assert "white-space: pre-wrap" in style and "max-width: 100%" in style
    assert "overflow-wrap: anywhere" in style and "@media print" in style
    # Printed in Chromium, too: a sheet on its side holds the results, words whole.
    assert "@page { size: landscape;" in style
    assert "td { overflow-wrap: break-word; }" in style.split("@media print")[1]
    cells = [attributes for tag, attributes in Page(content).tags if tag == "td"]
    assert cells and all(cell.get("data-label") for cell in cells)


def test_a_cell_may_hold_a_bar(tmp_path: pathlib.Path) -> None:
    lines = ["verdict", "| a | b |", "| --- | ---: |", "| x \\| y | **1** |"]
    page = report_html.page(lines, tmp_path)
    assert "<span>x | y</span>" in page and "<strong>1</strong>" in page
    assert '<td class="number" data-label="b">' in page
