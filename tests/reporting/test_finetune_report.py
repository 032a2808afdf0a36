"""The page of a classifier, against a few answers made by hand."""

import base64
import html as escapes
import io
import re

import numpy as np
from PIL import Image
from test_html import NAME, parsed
from test_tables import cells

from metainit.reporting import finetune_report, html, tables
from metainit.reporting.finetune_report import Judged

NAMES = ("cat", NAME, "emu")
REPORT = {
    "init": "weights of x",
    "images": 9,
    "held_out": "0.2 of every class",
    "chosen": "ridge",
    "judged": 6,
    "held_out_also_learned": 0,
    "steps_taken": 0,
    "accuracy": 0.5,
    "low": 0.2,
    "high": 0.8,
    "calibration_error": 0.123,
    "accuracy_of_class": {"cat": 1.0, NAME: 0.0, "emu": 0.5},
    "judged_of_class": {"cat": 20, NAME: 5, "emu": 6},
    "compared": [
        {"head": x, "judged": 9, "accuracy": 0.9, "low": 0.8, "high": 1.0, "loss": 0.25}
        for x in ("ridge", "nearest mean")
    ],
    "curve": [
        {"head": f"step {x}", "accuracy": x, "low": 0.8, "high": 1.0, "loss": 0.25}
        for x in (0, 1)
    ],
}


def judged(names=NAMES):
    """Both of the second class are taken for the first, one of the third, too."""
    chances = np.full((6, len(names)), 0.01)
    labels, answers = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 0, 0, 2, 0])
    chances[np.arange(6), answers] = (0.9, 0.5, 0.7, 0.99, 0.8, 0.6)
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] + np.zeros(
        (6, 200, 100, 1), np.uint8
    )
    files = [f"{name}/{n}.png" for n, name in enumerate("abcdef")]
    return Judged(chances, labels, images, files, names)


def page(said, report=REPORT):
    """The parts that are open, and by title those that are folded."""
    opening, folded = [], {}
    for part in finetune_report.page(report, said, NAME, "metainit predict x NEW"):
        if title := re.search("<summary>(.*)</summary>", part):
            folded[escapes.unescape(title[1])] = part.split("\n\n")[1:-1]
        else:
            opening.append(part)
    return opening, folded


def test_the_first_screen_says_how_good_it_is():
    (first, title, about, bars, code), folded = page(judged())
    headline = finetune_report.headline(REPORT)
    assert first == tables.paragraph(headline) and len(headline.split()) <= 25
    assert headline.startswith("50.0 % [20.0, 80.0] of 6 held-out images ")
    found = f"told right by ridge (90.0 % cross-validated); worst, {NAME}: 0 of 5."
    assert headline.endswith(found)
    for count, told in (4, "validated); worst, emu: 3 of 6."), (0, "cross-validated)."):
        counts = {"cat": count, NAME: 4, "emu": 6 if count else 4}
        said = finetune_report.headline(REPORT | {"judged_of_class": counts})
        assert said.endswith(told)
    (_, saved, *heads) = cells(bars)
    names = [row[0] for row in (saved, *heads)]
    assert names == ["on held-out images", "ridge", "nearest mean"]
    (about_head,) = {row[1] for row in heads}
    assert about_head == "cross-validated: judged by what had not learned from it"
    assert title == f"# {tables.escaped(NAME)}" and "9 images to learn from" in about
    assert code == "```\nmetainit predict x NEW\n```"
    (table, caption) = folded["Heads"]
    assert cells(table)[1:] == [["ridge", "saved"], ["nearest mean", "-"]]
    assert "Accuracy 90.0 % [80.0, 100.0], Log loss 0.250, Images 9" in caption


def test_images_that_were_learned_from_too_are_told_below_the_headline():
    (_, warning, *_), _ = page(judged(), REPORT | {"held_out_also_learned": 5})
    told = "Do not trust this: 5 of 6 held-out images have the pixels of one that was "
    assert warning.startswith(f"**{told}") and warning.endswith("**")
    few = REPORT | {"held_out_also_learned": 5, "judged": 100}
    assert finetune_report.leaked(few).startswith("A little too good: 5 of 100 held")


def test_adapting_has_its_curve_where_it_was_tried():
    _, folded = page(judged())
    _, curve = folded["Adapting, step by step"]
    told = [(name, about, share.split()[0]) for name, about, share, _ in cells(curve)]
    assert told[1:] == [
        ("step 0", "log loss 0.250", "0.0"),
        ("step 1", "log loss 0.250", "100.0"),
    ]
    assert not [x for x in page(judged(), REPORT | {"curve": []})[1] if "step" in x]


def test_what_goes_wrong():
    _, folded = page(judged())
    (mistakes,) = folded["The 3 most confident mistakes"]
    shown = []
    for png in re.findall("base64,([^)]*)", mistakes):
        with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
            shown.append((picture.convert("RGB").getpixel((0, 0))[0], picture.size))
    assert shown == [(3, (48, 96)), (2, (48, 96)), (5, (48, 96))]
    first = mistakes.splitlines()[0].split(") ", 1)[1]
    assert first == f"{tables.escaped(NAME)}, taken for cat (99 %): d/3.png"
    cell = NAME.replace("<", "&lt;")
    (classes,) = folded["Classes, the worst first"]
    assert cells(classes)[1:] == [
        [cell, "cat (2)", "0.0", "2"],
        ["emu", "cat (1)", "50.0", "2"],
        ["cat", "-", "100.0", "2"],
    ]
    (matrix,) = folded["What was taken for what"]
    assert cells(matrix) == [
        ["Class, taken for:", "cat", cell, "emu"],
        ["cat", "2", "", ""],
        [cell, "2", "", ""],
        ["emu", "1", "", "1"],
    ]
    _, bars = folded["Calibration"]
    told = {name: (about, share[:6]) for name, about, share, _ in cells(bars)[1:]}
    assert told == {
        "said 40 to 60 %": ("2 images, said 55.0 % on average", "50.0 %"),
        "said 60 to 80 %": ("2 images, said 75.0 % on average", "50.0 %"),
        "said 80 to 100 %": ("2 images, said 94.5 % on average", "50.0 %"),
    }


def test_of_many_classes_the_frequent_mistakes_are_listed():
    names = (*NAMES, *(f"class {n}" for n in range(20)))
    _, folded = page(judged(names))
    (table,) = folded["What was taken for what"]
    name = NAME.replace("<", "&lt;")
    assert cells(table)[1:] == [[name, "cat", "2"], ["emu", "cat", "1"]]
    assert len(cells(folded["Classes, the worst first"][0])) == 1 + 3


def test_without_mistakes_none_are_shown():
    said = judged()
    right = said._replace(labels=said.chances.argmax(-1))
    assert not any("mistakes" in title for title in page(right)[1])


def test_the_page_has_small_pictures_and_nothing_of_a_network(tmp_path):
    html.write(tmp_path, finetune_report.page(REPORT, judged(), NAME, "x"))
    root = parsed(tmp_path)
    sources = [x.get("src") for x in root.iter("img")]
    assert len(sources) == 3 and all(x.startswith("data:image/png") for x in sources)
    tags = {element.tag for element in root.iter()}
    assert "img" in tags and not {"b", "a", "em", "script", "link"} & tags
    assert f"{NAME}, taken for cat" in "".join(root.itertext())
    report = (tmp_path / "report.md").read_text()
    assert "d/3.png" in report and "base64" not in report
    assert len((tmp_path / "report.html").read_text()) < 30_000
