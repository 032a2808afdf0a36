"""The pages as a site, by Sphinx: the same files that a code host shows.

    sphinx-build --fail-on-warning -c docs . build/site

The root is the checkout, so that links from page to page are those of the files. A
link that leads nowhere is a warning, and fails.
"""

import pathlib
import re

from sphinx.application import Sphinx

project = "metainit"
html_title = "metainit"
html_theme = "furo"
html_copy_source = False
extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "examples/*.md"]
myst_heading_anchors = 3


def add_menu(app: Sphinx, page: str, source: list[str]) -> None:
    """Makes the menu of the pages that README links to, in their order."""
    if page == root_doc:
        linked = re.findall(r"\]\(([\w/-]+\.md)\)", source[0])
        menu = "\n".join(dict.fromkeys(linked))
        source[0] += f"\n```{{toctree}}\n:hidden:\n\n{menu}\n```\n"


def add_front(app: Sphinx, error: Exception | None) -> None:
    """Has the site open at README."""
    page = '<meta http-equiv="refresh" content="0; url=README.html">'
    (pathlib.Path(app.outdir) / "index.html").write_text(page)


def setup(app: Sphinx) -> None:
    """Is called by Sphinx."""
    app.connect("source-read", add_menu)
    app.connect("build-finished", add_front)
