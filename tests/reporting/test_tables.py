"""Blocks of a report as Markdown and in a terminal."""

import numpy as np
import pytest

from metainit.evaluation.intervals import Interval
from metainit.evaluation.metrics import ACCURACY
from metainit.reporting import plain_text, tables
from metainit.reporting.tables import Bullets, Code, Figure, Heading, Table

TABLE = Table(
    ("Init", "Head", "Accuracy, %"),
    [("ours", "zero", "80.1 ± 2"), ("ours", "probe", "7"), ("random", "zero", "9")],
    bold=frozenset([1]),
)


def test_a_table_on_a_page_and_in_a_terminal():
    """There, cells that repeat stand once, as titles; numbers are flush right."""
    assert tables.markdown([TABLE]).splitlines() == [
        "| Init | Head | Accuracy, % |",
        "| --- | --- | ---: |",
        "| ours | zero | 80.1 ± 2 |",
        "| **ours** | **probe** | **7** |",
        "| random | zero | 9 |",
    ]
    assert plain_text.render([TABLE]).splitlines() == [
        "Init, Head  Accuracy, %",
        "ours",
        "  zero        80.1 +- 2",
        "  probe               7",
        "random",
        "  zero                9",
    ]
    narrow = plain_text.render([TABLE.without("Init")._replace(rows=[("zero", "9")])])
    assert narrow == "Head  Accuracy, %\nzero            9"


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("a <b> & c", r"a \<b> & c"),
        ("*x* and _y_ of learning_rate", r"\*x\* and \_y\_ of learning_rate"),
        ("[a](b) at [0.1, 0.2]", r"[a\](b) at [0.1, 0.2]"),
        ("&lt; in `a_<b>`", r"\&lt; in `a_<b>`"),
        ("# no heading", r"\# no heading"),
        ("1. no list", r"1\. no list"),
        ("5-way\n\n# lines", "5-way # lines"),
    ],
)
def test_text_stays_text(text, wanted):
    assert tables.markdown([text]) == wanted + "\n"


def test_other_blocks():
    cell = tables.markdown([Table(("a|b", "c"), [("`x|y`", "1")])])
    assert cell.splitlines()[::2] == [r"| a\|b | c |", r"| \`x\|y\` | 1 |"]
    code = tables.markdown([Code("a\n```\n# b", "json")])
    assert code == "````json\na\n```\n# b\n````\n"
    blocks = [Heading("T", 1), Bullets(["a " * 60, "b"]), Figure("f", "f.png")]
    assert tables.markdown(blocks).startswith("# T\n\n- a a")
    assert tables.markdown(blocks).endswith("- b\n\n![f](f.png)\n")
    text = plain_text.render([*blocks, Code("x  y")])
    assert text.startswith("T\n\n- a a") and text.endswith("\n- b\n\nx  y")
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


def test_a_path_is_not_broken():
    path = "/somewhere/" + "with-hyphens-" * 9
    assert path in plain_text.render([f"The report is in {path} now."]).splitlines()


def test_columns_that_do_not_vary_stand_below():
    heading = "Init", "Head", "Trials", "F1"
    table = Table(heading, [("a", "zero", "4", "1"), ("b", "zero", "4", "2")])
    kept, below = tables.captioned(table)
    assert kept == Table(["Init", "F1"], [["a", "1"], ["b", "2"]], text=1)
    assert below == "In every row: Head zero, Trials 4."
    alone = table._replace(rows=table.rows[:1])
    assert tables.captioned(alone) == [alone] and tables.captioned(TABLE) == [TABLE]


def test_a_table_fits_a_terminal():
    """Long texts are broken; numbers that are too many follow below."""
    numbers = [f"{n}.0 ± 1.0" for n in range(9)]
    heading = "Init", "Head", "Setting", *(f"{n} long words" for n in range(9))
    setting = "optimizer sgd, learning_rate 0.1, schedule cosine, layer_decay 0.5"
    rows = [("ours", "zero", setting, *numbers), ("random", "a", "-", *numbers)]
    text = plain_text.render([Table(heading, rows, text=3)])
    assert max(map(len, text.splitlines())) <= plain_text.WIDTH
    for number in range(9):
        assert text.count(f" {number}.0 +- 1.0") == 2
    first, *rest = text.split("\n\n")
    assert rest and all(part.count("zero ") == 1 for part in (first, *rest))
    assert " ".join(setting.split()[:3]) in first and setting not in text
