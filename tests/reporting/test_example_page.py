"""The example episode on the page: right and wrong in words, and small."""

import re

import numpy as np
import small_runs
from small_runs import CONTEXT, WINNING, evaluation
from test_html import parsed

from metainit.evaluation import example as of_evaluation
from metainit.evaluation.results import Example
from metainit.reporting import example, html, tables
from metainit.reporting.run_report import write_report


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
