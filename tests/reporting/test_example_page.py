"""The example episode on the page: right and wrong in words, and small."""

import small_runs
from small_runs import CONTEXT, WINNING, evaluation
from test_html import parsed

from metainit.reporting.run_report import write_report


def classes(body):
    """Of each class its name, and what is said beside each of its pictures."""
    return [
        (item.text.strip(" :"), [x.tail.strip(" ;") for x in item.iter("img")])
        for item in body.find("ul")
    ]


WANTED = [
    ("kappa", ["to learn from", "ours ✓, other ✓"]),
    ("a <b> & c", ["to learn from", "ours ✓, other ✗ rho", "ours ✗ rho, other ✓"]),
]


def test_queries_are_marked_for_ours_and_the_strongest_baseline(tmp_path):
    shown = evaluation(*WINNING, example=small_runs.example())
    text = write_report(tmp_path, shown, CONTEXT)
    body = parsed(tmp_path).find("body")
    assert classes(body) == WANTED
    told = "".join(body.itertext())
    assert "2 of its 3 classes" in told
    assert "ours: meta-learned, other: joint pretraining." in told
    assert len(body.findall("./ul/li/img")) == 5
    report = (tmp_path / "report.md").read_text()
    assert "- a &lt;b> & c: to learn from; ours ✓, other ✗ rho; ours ✗ rho" in report
    assert "data:image" not in report
    assert "✓" not in text and text.isascii()
    random = WINNING[0], WINNING[4]._replace(init="random")
    write_report(tmp_path, shown._replace(rows=random), CONTEXT)
    assert "other: random." in (tmp_path / "report.md").read_text()
    alone = shown._replace(rows=WINNING[:2])
    write_report(tmp_path, alone, CONTEXT)
    assert classes(parsed(tmp_path).find("body"))[1][1][1:] == ["ours ✓", "ours ✗ rho"]
