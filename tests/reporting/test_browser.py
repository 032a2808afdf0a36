"""The pages in a real browser: their width and height, and that they print whole."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from small_runs import CONTEXT, WINNING, evaluation, of_seed, write
from small_transfer import FAST, transfer
from test_finetune_report import REPORT, judged

import metainit.reporting.html
from metainit.evaluation.results import Example
from metainit.reporting import finetune_report, seeds_report
from metainit.reporting.run_report import write_report

NAMES = "chromium", "chromium-browser", "google-chrome"
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
WIDTHS = 390, 768, 1280
HIGH = 4000  # pixels that a page may be on a phone before anything is unfolded
PAGES = "run", "seeds", "finetune"

pytestmark = pytest.mark.skipif(not BROWSER, reason=f"there is none of {NAMES}")


def browse(folder, *options):
    """What a browser without a window prints; it has a folder of its own."""
    arguments = ["--headless", "--disable-gpu", "--no-sandbox"]
    profile = f"--user-data-dir={folder / 'profile'}"
    command = [BROWSER, *arguments, profile, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def many_classes():
    """As much as an episode can show, with names that are long and have no space."""
    names = [f"class_{'long' * 12}_{n}" for n in range(20)]
    labels = tuple(np.repeat(range(5), 3).tolist())
    wrong = tuple((np.array(labels) + 7).tolist())
    said = {"meta-learned": wrong, "joint pretraining": wrong}
    images = np.zeros((20, 48, 48, 3), np.uint8)
    return Example(images[:5], images[5:], labels, tuple(names), said)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A page of each kind with much in it."""
    folder = tmp_path_factory.mktemp("pages")
    shown = evaluation(*WINNING, example=many_classes())
    context = CONTEXT | {"title": "metainit: folder:" + "a" * 90}
    context |= {"config": {f"field_{n}": n for n in range(200)}}
    write_report(folder / "run", shown, context, transfer(*FAST))
    runs = []
    for seed in range(3):
        parts = [of_seed(seed, dataset=f"set{n}") for n in range(4)]
        whole = of_seed(seed, dataset="several", parts=tuple(parts))
        runs.append(write(folder / f"seed{seed}", seed, whole))
    seeds_report.main([*runs, "--out", str(folder / "seeds")])
    (folder / "finetune").mkdir()
    page = finetune_report.page(REPORT, judged(), "a" * 90, "metainit predict x y")
    metainit.reporting.html.write(folder / "finetune", page)
    return folder


@pytest.fixture(scope="module")
def measured(folder):
    """Of each page, width and whether it is unfolded: widths and height, in pixels."""
    frames = []
    for page in PAGES:
        text = (folder / page / "report.html").read_text()
        for unfolded in (False, True):
            shown = text.replace("<details>", "<details open>") if unfolded else text
            frames += [
                f'<iframe data-key="{page} {width} {unfolded}" style="width:{width}px;'
                f'height:800px" srcdoc="{html.escape(shown)}"></iframe>'
                for width in WIDTHS
            ]
    script = """<script>onload = () => { const sizes = {};
    for (const frame of document.querySelectorAll('iframe')) {
      const root = frame.contentDocument.documentElement;
      sizes[frame.dataset.key] = [root.scrollWidth, root.clientWidth,
                                  frame.contentDocument.body.scrollHeight]; }
    document.body.textContent = JSON.stringify(sizes); }</script>"""
    outer = folder / "outer.html"
    outer.write_text(f"<!doctype html><body>{''.join(frames)}{script}")
    seen = browse(folder, "--dump-dom", outer.as_uri())
    return json.loads(re.search(r"<body>(\{.*?\})", seen)[1])


@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_its_window_and_is_short_on_a_phone(measured, page):
    for width in WIDTHS:
        for unfolded in (False, True):
            wide, window, _ = measured[f"{page} {width} {unfolded}"]
            assert wide == window > width - 30  # no horizontal scroll bar
        closed, opened = (measured[f"{page} {width} {x}"][2] for x in (False, True))
        assert 300 < closed < min(HIGH, opened)


def test_what_is_folded_is_printed(folder):
    """As many sheets as of the page when it is unfolded by hand."""
    path = folder / "run" / "report.html"
    unfolded = folder / "run" / "unfolded.html"
    unfolded.write_text(path.read_text().replace("<details>", "<details open>"))
    without = folder / "run" / "without.html"
    without.write_text(re.sub("::details-content {.*?}", "", path.read_text()))
    sheets = []
    for page in (path, unfolded, without):
        paper = page.with_suffix(".pdf")
        browse(folder, f"--print-to-pdf={paper}", page.as_uri())
        sheets.append(len(re.findall(rb"/Type /Page\b", paper.read_bytes())))
    assert sheets[0] == sheets[1] > sheets[2] >= 1
