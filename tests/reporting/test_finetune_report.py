"""The page of a classifier, against a few answers made by hand."""

import numpy as np
from test_html import NAME, parsed

from metainit.reporting import finetune_report, html, tables
from metainit.reporting.finetune_report import Judged
from metainit.reporting.tables import Bars, Details, Gallery, Verdict

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


def blocks(said, report=REPORT):
    made = finetune_report.blocks(report, said, NAME, "metainit predict x NEW")
    opening, folded = [], {}
    for block in made:
        if isinstance(block, Details):
            folded[block.title] = block.blocks
        else:
            opening.append(block)
    return opening, folded


def test_the_first_screen_says_how_good_it_is():
    (verdict, title, about, bars, code), folded = blocks(judged())
    assert isinstance(verdict, Verdict) and len(verdict.text.split()) <= 25
    assert verdict.text.startswith("50.0 % [20.0, 80.0] of 6 held-out images ")
    found = f"told right by ridge (90.0 % cross-validated); worst, {NAME}: 0 of 5."
    assert verdict.text.endswith(found)
    for count, told in (4, "validated); worst, emu: 3 of 6."), (0, "cross-validated)."):
        counts = {"cat": count, NAME: 4, "emu": 6 if count else 4}
        said = finetune_report.verdict(REPORT | {"judged_of_class": counts})
        assert said.text.endswith(told)
    assert [bar.name for bar in bars.bars] == [
        "on held-out images",
        "ridge",
        "nearest mean",
    ]
    (about_head,) = {bar.about for bar in bars.bars[1:]}
    assert about_head == "cross-validated: judged by what had not learned from it"
    assert title.text == NAME and "9 images to learn from" in about
    assert code.text == "metainit predict x NEW"
    (table, caption) = folded["Heads"]
    assert table.rows == [["ridge", "saved"], ["nearest mean", "-"]]
    assert "Accuracy 90.0 % [80.0, 100.0], Log loss 0.250, Images 9" in caption


def test_images_that_were_learned_from_too_are_told_below_the_headline():
    (_, warning, *_), _ = blocks(judged(), REPORT | {"held_out_also_learned": 5})
    told = "Do not trust this: 5 of 6 held-out images have the pixels of one that was "
    assert isinstance(warning, Verdict) and warning.text.startswith(told)
    few = REPORT | {"held_out_also_learned": 5, "judged": 100}
    assert finetune_report.leaked(few).startswith("A little too good: 5 of 100 held")


def test_adapting_has_its_curve_where_it_was_tried():
    _, folded = blocks(judged())
    _, curve = folded["Adapting, step by step"]
    told = [(bar.name, bar.about, bar.mean) for bar in curve.bars]
    assert told == [("step 0", "log loss 0.250", 0), ("step 1", "log loss 0.250", 1)]
    assert not [x for x in blocks(judged(), REPORT | {"curve": []})[1] if "step" in x]


def test_what_goes_wrong():
    _, folded = blocks(judged())
    (gallery,) = folded["The 3 most confident mistakes"]
    assert isinstance(gallery, Gallery)
    assert [picture.image[0, 0, 0] for picture in gallery.pictures] == [3, 2, 5]
    assert gallery.pictures[0].text == f"{NAME}, taken for cat (99 %): d/3.png"
    (classes,) = folded["Classes, the worst first"]
    assert classes.rows == [
        (NAME, "cat (2)", "0.0", "2"),
        ("emu", "cat (1)", "50.0", "2"),
        ("cat", "-", "100.0", "2"),
    ]
    (matrix,) = folded["What was taken for what"]
    assert matrix.heading == ("Class, taken for:", *NAMES)
    assert matrix.rows == [
        ("cat", "2", "", ""),
        (NAME, "2", "", ""),
        ("emu", "1", "", "1"),
    ]
    _, bars = folded["Calibration"]
    assert isinstance(bars, Bars)
    told = {bar.name: (bar.about, bar.mean) for bar in bars.bars}
    assert told == {
        "said 40 to 60 %": ("2 images, said 55.0 % on average", 0.5),
        "said 60 to 80 %": ("2 images, said 75.0 % on average", 0.5),
        "said 80 to 100 %": ("2 images, said 94.5 % on average", 0.5),
    }


def test_of_many_classes_the_frequent_mistakes_are_listed():
    names = (*NAMES, *(f"class {n}" for n in range(20)))
    (table,) = blocks(judged(names))[1]["What was taken for what"]
    assert table.rows == [(NAME, "cat", "2"), ("emu", "cat", "1")]
    assert len(blocks(judged(names))[1]["Classes, the worst first"][0].rows) == 3


def test_without_mistakes_none_are_shown():
    said = judged()
    right = said._replace(labels=said.chances.argmax(-1))
    assert not any("mistakes" in title for title in blocks(right)[1])


def test_the_page_has_small_pictures_and_nothing_of_a_network(tmp_path):
    made = list(finetune_report.blocks(REPORT, judged(), NAME, "x"))
    html.write(tmp_path, made)
    page = parsed(tmp_path)
    sources = [x.get("src") for x in page.iter("img")]
    assert len(sources) == 3 and all(x.startswith("data:image/png") for x in sources)
    tags = {element.tag for element in page.iter()}
    assert "figure" in tags and not {"b", "a", "em", "script", "link"} & tags
    assert f"{NAME}, taken for cat" in "".join(page.itertext())
    assert "d/3.png" in tables.markdown(made)
    assert len((tmp_path / "report.html").read_text()) < 30_000
