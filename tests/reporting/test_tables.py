"""Parts of a report as Markdown and in a terminal."""

import re

import numpy as np
import pytest

from metainit.evaluation.intervals import Interval
from metainit.evaluation.metrics import ACCURACY
from metainit.reporting import plain_text, tables

TABLE = (
    ("Init", "Head", "Accuracy, %"),
    [("ours", "zero", "80.1 ± 2"), ("ours", "probe", "7"), ("random", "zero", "9")],
)


def cells(table):
    """The cells of a Markdown table by row, of which the heading is the first."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[:1] + lines[2:]]
    return [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in row] for row in rows]


def test_a_table_on_a_page_and_in_a_terminal():
    """In a terminal numbers are flush right, too."""
    table = tables.table(*TABLE, bold=[1])
    assert table.splitlines() == [
        "| Init | Head | Accuracy, % |",
        "| --- | --- | ---: |",
        "| ours | zero | 80.1 ± 2 |",
        "| **ours** | **probe** | **7** |",
        "| random | zero | 9 |",
    ]
    assert plain_text.render([table]).splitlines() == [
        "               Accuracy,",
        "Init    Head           %",
        "ours    zero   80.1 +- 2",
        "ours    probe          7",
        "random  zero           9",
    ]
    assert cells(tables.table(*TABLE, without=["Init"]))[0] == ["Head", "Accuracy, %"]


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("a <b> & c", "a &lt;b> & c"),
        ("*x* and _y_ of learning_rate", r"\*x\* and \_y\_ of learning_rate"),
        ("[a](b) at [0.1, 0.2]", r"[a\](b) at [0.1, 0.2]"),
        ("&lt; in `a_(b)`", "&amp;lt; in `a_(b)`"),
        ("&lt; in `a_<b>`", r"&amp;lt; in \`a\_&lt;b>\`"),
        ("# no heading", r"\# no heading"),
        ("1. no list", r"1\. no list"),
        ("5-way\n\n# lines", "5-way # lines"),
    ],
)
def test_text_stays_text(text, wanted):
    assert tables.paragraph(text) == wanted
    assert plain_text.render([wanted]) == " ".join(text.split())


def test_other_parts():
    cell = tables.table(("a|b", "c"), [("`x|y`", "1")])
    assert cell.splitlines()[::2] == [r"| a\|b | c |", r"| \`x\|y\` | 1 |"]
    assert tables.code("a\n```\n# b", "json") == "````json\na\n```\n# b\n````"
    parts = [tables.heading("T", 1), tables.bullets(["a " * 60, "b"])]
    parts.append(tables.figure("f", "f.png"))
    assert parts[0] == "# T" and parts[1].startswith("- a a")
    assert parts[1].endswith("\n- b") and parts[2] == "![f](f.png)"
    text = plain_text.render([*parts, tables.details("D <d>", tables.code("x  y"))])
    assert text.startswith("T\n\n- a a")
    assert text.endswith("\n- b\n\nD <d>\n\n x  y")
    assert max(map(len, text.splitlines())) <= plain_text.WIDTH


def test_numbers_in_words():
    durations = ["62 s", "30 min", "5.2 h"]
    assert list(map(tables.duration, (62.4, 1800, 18720))) == durations
    assert (tables.flops(1.23e15), tables.flops(None)) == ("1.2e+15", "-")
    setting = {"optimizer": "sgd", "rates": [0.1, 1.0], "n": np.float32(2)}
    assert tables.words(setting) == "optimizer sgd, rates 0.1, 1, n 2.0"
    percent = ACCURACY
    assert percent.plus_minus(np.array([0.4, 0.6])) == "50.0 ± 127.1"  # t is 12.71
    interval = Interval(0.031, 0.025, 0.037, 0.01)
    assert percent.interval(interval) == "3.1 [2.5, 3.7]"
    near_zero = interval._replace(mean=-0.0, low=-0.0004, high=0.01, p=None)
    assert tables.difference(near_zero) == ("+0.00 [-0.04, 1.00]", "-")
    assert tables.difference(interval) == ("+3.1 [2.5, 3.7]", "0.010*")
    assert tables.difference(None) == ("ours", "-")


def test_a_bar_is_as_long_as_its_share():
    shares = [tables.Bar("a", "b", x, -1.0, 2.0) for x in (-0.5, 0.5, 0.51, 1.5)]
    heading, *rows = cells(tables.bars("Accuracy", shares))
    assert heading[0] == "Accuracy" and rows[1][2] == "50.0 % [-100.0, 200.0]"
    half, full = "█" * 5, "█" * 10
    assert [row[3] for row in rows] == ["▏", half, f"{half}▏", full]


def test_a_path_is_not_broken():
    path = "/somewhere/" + "with-hyphens-" * 9
    told = f"The report is in {path} now."
    assert path in plain_text.render([told]).splitlines()
    assert f"  {path}" in plain_text.render([tables.bullets([told])]).splitlines()


def test_columns_that_do_not_vary_stand_below():
    heading = "Init", "Head", "Trials", "F1"
    rows = [("a", "zero", "4", "1"), ("b", "zero", "4", "2")]
    table, below = tables.captioned(heading, rows).split("\n\n")
    assert cells(table) == [["Init", "F1"], ["a", "1"], ["b", "2"]]
    assert table.splitlines()[1] == "| --- | ---: |"
    assert below == "In every row: Head zero, Trials 4."
    assert tables.captioned(heading, rows[:1]) == tables.table(heading, rows[:1])
    assert tables.captioned(*TABLE) == tables.table(*TABLE)


def test_a_table_fits_a_terminal():
    """Long texts are broken; numbers that are too many follow below."""
    numbers = [f"{n}.0 ± 1.0" for n in range(9)]
    heading = "Init", "Head", "Setting", *(f"{n} long words" for n in range(9))
    setting = "optimizer sgd, learning_rate 0.1, schedule cosine, layer_decay 0.5"
    rows = [("ours", "zero", setting, *numbers), ("random", "a", "-", *numbers)]
    text = plain_text.render([tables.table(heading, rows, text=3)])
    assert max(map(len, text.splitlines())) <= plain_text.WIDTH
    for number in range(9):
        assert text.count(f" {number}.0 +- 1.0") == 2
    first, *rest = text.split("\n\n")
    assert rest and all(part.count("zero ") == 1 for part in (first, *rest))
    assert " ".join(setting.split()[:2]) in first and setting not in text
    words = re.sub(r"[\d.+-]+ ", "", " ".join(first.split()))
    assert all(word.strip("0.15") in words for word in setting.split())
    assert plain_text.render([tables.table(("Init", "n"), [], text=1)]) == "Init  n"
