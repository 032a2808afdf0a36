"""The example episode on the page: right and wrong in words, small, from its file."""

import json
import re

import numpy as np
import pytest
import small_runs
from small_runs import CONTEXT, WINNING, evaluation, three, write
from test_html import parsed

from metainit.evaluation import example as of_evaluation
from metainit.evaluation.results import Example
from metainit.reporting import example, finished_runs, html, seeds_report, tables
from metainit.reporting.run_report import write_report
from metainit.runtime import atomic
from metainit.runtime.atomic import DamagedError


def cards(body):
    """Of each card its title, and of each picture its mark and its words."""
    (shown,) = (x for x in body.iter("div") if x.get("class") == "cards")
    return [
        (
            card.find("strong").text,
            [
                (x.get("class"), [line.text for line in x.iter("span")])
                for x in card.iter("figure")
            ],
        )
        for card in shown
    ]


WANTED = [
    ("kappa", [(None, ["to learn from"]), ("right", ["ours ✓", "other ✓"])]),
    (
        "a <b> & c",
        [
            (None, ["to learn from"]),
            ("right", ["ours ✓", "other ✗ rho"]),
            ("wrong", ["ours ✗ rho", "other ✓"]),
        ],
    ),
]


def test_queries_are_marked_for_ours_and_the_strongest_baseline(tmp_path):
    shown = evaluation(*WINNING, example=small_runs.example())
    text = write_report(tmp_path, shown, CONTEXT)
    body = parsed(tmp_path).find("body")
    assert cards(body) == WANTED
    told = "".join(body.itertext())
    assert "2 of its 3 classes" in told
    assert "ours: meta-learned, other: joint pretraining." in told
    assert not any(x.find(".//figure") is not None for x in body.iter("details"))
    report = (tmp_path / "report.md").read_text()
    assert r"- a \<b> & c: to learn from; ours ✓, other ✗ rho; ours ✗ rho" in report
    assert "✓" not in text and text.isascii()
    random = WINNING[0], WINNING[4]._replace(init="random")
    write_report(tmp_path, shown._replace(rows=random), CONTEXT)
    assert "other: random." in (tmp_path / "report.md").read_text()
    alone = shown._replace(rows=WINNING[:2])
    write_report(tmp_path, alone, CONTEXT)
    (right, wrong) = cards(parsed(tmp_path))[1][1][1:]
    assert (right, wrong) == (("right", ["ours ✓"]), ("wrong", ["ours ✗ rho"]))


def test_the_page_over_seeds_needs_no_data(tmp_path):
    """The first seed's is kept beside its results; runs before there was one go on."""
    runs = three(tmp_path)
    out = str(tmp_path / "page")
    assert seeds_report.main([*runs, "--out", out]) == 0
    assert "An episode" not in (tmp_path / "page" / "report.md").read_text()
    path = tmp_path / "run1" / finished_runs.EXAMPLE
    finished_runs.write_example(path, small_runs.example())
    assert seeds_report.main([*runs, "--out", out]) == 0
    page = parsed(tmp_path / "page")
    (folded,) = (x for x in page.iter("details") if x.find(".//figure") is not None)
    assert folded.find("summary").text == "An episode, seed 1"
    assert "other: random." in "".join(folded.itertext())
    lines = [lines for _, pictures in cards(page) for _, lines in pictures]
    assert lines[1] == ["ours ✓", "other ✗ a <b> & c"]


def test_what_is_stored_reads_back(tmp_path):
    given, path = small_runs.example(), tmp_path / "example.npz"
    finished_runs.write_example(path, given)
    read = finished_runs.read_example(path)
    for one, other in zip(read, given, strict=True):
        np.testing.assert_equal(one, other)
    assert finished_runs.read_example(tmp_path / "none") is None


@pytest.mark.parametrize(
    "changed",
    [
        {"labels": (0, 1, 2)},  # a class without an image to learn from
        {"labels": (0, 1)},
        {"said": {"meta-learned": (0, 1, 3)}},
        {"said": {"meta-learned": (0, -1, 1)}},
        {"said": {"meta-learned": (0, 1)}},
        {"query": np.zeros((3, 8, 8, 1), np.float32)},
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, changed):
    given = small_runs.example()._replace(**changed)
    if "query" in changed:
        given = given._replace(support=given.support.astype(np.float32))
    folder = write(tmp_path / "run", 0)
    finished_runs.write_example(tmp_path / "run" / finished_runs.EXAMPLE, given)
    with pytest.raises(DamagedError, match=r"example\.npz cannot be read"):
        finished_runs.read(folder)


def test_it_is_small_whatever_the_images_are(tmp_path):
    """Noise in colour cannot be compressed; of two pages each byte is the same."""
    rng = np.random.default_rng(0)
    classes, each = of_evaluation.CLASSES, of_evaluation.QUERIES
    side = of_evaluation.SIDE
    images = rng.integers(0, 256, (classes * (1 + each), side, side, 3), np.uint8)
    labels = tuple(np.repeat(range(classes), each).tolist())
    noise = Example(
        support=images[:classes],
        query=images[classes:],
        labels=labels,
        class_names=tuple("abcde"),
        said={"ours": labels, "random": labels},
    )
    blocks = [tables.Heading("a", 1), *example.blocks(noise, "ours", "random")]
    html.write(tmp_path, blocks[:1])
    empty = len((tmp_path / "report.html").read_bytes())
    html.write(tmp_path, blocks)
    first = (tmp_path / "report.html").read_bytes()
    sources = re.findall(rb'src="data:image/png;base64,', first)
    assert len(sources) == len(images) == 20
    assert 20_000 < len(first) - empty < 60_000
    html.write(tmp_path, blocks)
    assert (tmp_path / "report.html").read_bytes() == first
    path = tmp_path / "example.npz"
    finished_runs.write_example(path, noise)
    assert path.stat().st_size < 150_000
    ((about, _),) = atomic.read_arrays(path, "images")
    assert json.dumps(about).isascii()
