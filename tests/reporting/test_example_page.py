"""The example episode on the page: right and wrong in words, and small."""

import small_runs
from small_runs import CONTEXT, WINNING, evaluation
from test_html import parsed

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
