"""Words stand out from what is behind them, by WCAG 2.1, level AA."""

import pathlib
import re

import matplotlib.colors
import pytest
from matplotlib.text import Text
from small_runs import LOGGED, WINNING
from small_transfer import FAST

from metainit.reporting import figures, html

WORDS = 4.5  # least ratio, of words and bars
SHEET = pathlib.Path(html.__file__).with_name("page.html").read_text()
ROOTS = re.findall(r":root \{(.*?)\}", SHEET, re.DOTALL)
LIGHT, DARK, PRINT = (
    dict(re.findall(r"--(\w+): (#\w+);", ROOTS[0] + root)) for root in ("", *ROOTS[1:])
)
# What is drawn in a colour, and what is behind it.
PAIRS = [
    ("text", "page"),
    ("text", "soft"),  # code
    ("muted", "page"),
    ("#fff", "better"),
    ("#fff", "tie"),
    ("#fff", "worse"),
]


def ratio(first, second):
    """Contrast of two colours, 1 to 21, as WCAG defines it."""
    lightness = []
    for colour in (first, second):
        rgb = matplotlib.colors.to_rgb(colour)
        linear = [
            x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in rgb
        ]
        lightness.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    dark, light = sorted(lightness)
    return (light + 0.05) / (dark + 0.05)


def test_the_ratio_is_that_of_the_standard():
    assert ratio("#000", "#fff") == pytest.approx(21)
    assert ratio("#777", "#fff") == pytest.approx(4.48, abs=0.005)
    assert ratio("#f00", "#fff") == pytest.approx(4.0, abs=0.005)


@pytest.mark.parametrize("theme", [LIGHT, DARK, PRINT], ids=["light", "dark", "print"])
def test_the_page_can_be_read(theme):
    for colour, behind in PAIRS:
        contrast = ratio(theme.get(colour, colour), theme[behind])
        assert contrast >= WORDS, (colour, behind, contrast)


def test_no_colour_of_the_sheet_is_left_out():
    """Lines between rows mean nothing; all else is a pair above."""
    rules = re.sub(r":root \{.*?\}", "", SHEET, flags=re.DOTALL)
    used = set(re.findall(r"var\(--(\w+)\)", rules))
    assert used == {x for pair in PAIRS for x in pair if x in LIGHT} | {"line"}
    assert set(re.findall(r"#[0-9a-f]{3,6}\b", rules)) == {"#fff"}
    assert "opacity" not in rules and "rgb" not in rules
    assert LIGHT.keys() == DARK.keys() == PRINT.keys()


def test_figures_can_be_read(tmp_path, monkeypatch):
    """They are white in a dark page, too."""
    drawn = []
    write = figures._write

    def kept(figure, *rest):
        write(figure, *rest)
        drawn.append(figure)

    monkeypatch.setattr(figures, "_write", kept)
    curve = figures.Curve("meta-learned", "train", "20-way 1-shot", LOGGED)
    figures.learning_curve(tmp_path / "a.png", [curve], "5-way 1-shot")
    figures.adaptation(tmp_path / "b.png", WINNING)
    figures.transfer(tmp_path / "c.png", [FAST])
    for figure in drawn:
        assert matplotlib.colors.to_hex(figure.get_facecolor()) == "#ffffff"
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        assert len(texts) > 10
        for text in texts:
            assert ratio(text.get_color(), "#fff") >= WORDS, text
            assert text.get_size() >= 9, text
