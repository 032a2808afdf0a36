"""Finished runs in one table: paired, over seeds."""

import re

import numpy as np
import pytest
from PIL import Image
from small_runs import of_seed, three, write

from metainit.evaluation import intervals
from metainit.reporting import seeds_report


def told(runs):
    return seeds_report.terminal(seeds_report.compare(runs))


def of_parts(seed, *parts):
    return of_seed(seed, dataset="several", parts=parts)


def test_three_seeds_are_one_table(tmp_path):
    text = told(three(tmp_path))
    assert text.startswith("Config differences\n\n- seed: 0 in ")
    assert "Accuracy over seeds 0, 1, 2" in text
    (ours,) = re.findall(r"^meta-learned\n  prototype .*ours.*", text, re.MULTILINE)
    (line,) = re.findall(r"^random\n  zero .*\*$", text, re.MULTILINE)
    rows = [of_seed(seed).rows for seed in range(3)]
    of_ours, of_random = (
        np.float32([of_seed[i].measurements["accuracy"][1] for of_seed in rows])
        for i in (0, 2)
    )
    wanted = intervals.compare({"pets": of_ours}, {"pets": of_random})["pets"]
    mean, low, high = (100 * x for x in wanted[:3])
    assert f"{mean:+.1f} [{low:.1f}, {high:.1f}]" in line
    assert wanted.different and line.endswith(f"{wanted.p:.3f}*")
    accuracy = intervals.over_seeds(of_ours)
    assert f"{100 * accuracy.mean:.1f} [" in ours
    words = " ".join(text.split())
    assert "meta-learned >= 42 up to 100 (2 of 3); random 50 (3 of 3)." in words
    assert text.isascii() and "Holm" in text


def test_the_page_marks_the_best_where_it_is_significant(tmp_path, capsys):
    gains = {"pets": 0.1, "sun397": -0.001}  # the second is less than chance
    runs = []
    for seed in range(3):
        parts = [of_seed(seed, gain, name) for name, gain in gains.items()]
        runs.append(write(tmp_path / f"run{seed}", seed, of_parts(seed, *parts)))
    out = tmp_path / "page"
    assert seeds_report.main([*runs, "--out", str(out)]) == 0
    page = (out / "report.md").read_text()
    first = page.splitlines()[0]
    words = "Over 3 seeds meta-learned is significantly better on 1 and worse on 0 of 2"
    assert first.startswith(words)
    assert "hardest to beat, random: +" in first
    assert first in " ".join(capsys.readouterr().out.split())
    pets, sun = (page.split(f"\n## {name}")[1].split("\n## ")[0] for name in gains)
    (line,) = (line for line in pets.splitlines() if "**" in line)
    assert line.startswith("| **meta-learned** | **prototype** | **70.")
    assert "**" not in sun
    assert line.split(" | ")[3].startswith("**69.") and "| **0.0173** |" in line
    (overall,) = re.findall(r"^\| random \| \+(.*?) \[", page, re.MULTILINE)
    episodes, transfer = page.split("## Transfer efficiency")
    pattern = re.compile(r"^\| random \| zero \|.*?\+(\S+) \[", re.MULTILINE)
    means = pattern.findall(episodes)
    assert float(overall) == pytest.approx(np.mean([float(x) for x in means]), abs=0.1)
    assert pattern.findall(transfer) == ["0.00"]  # ours ends as high
    assert f"metainit report {runs[0]} {runs[1]} {runs[2]} --out {out}" in page
    with Image.open(out / "transfer.png") as image:
        assert image.width > 500
    assert first in (out / "report.html").read_text()


def test_held_out_classes_are_another_question(tmp_path):
    """They stand in a table of their own, but count in neither verdict nor summary."""
    runs, without = [], []
    for seed in range(3):
        sets = of_seed(seed, 0.1, "pets"), of_seed(seed, 0.004, "sun397")
        held_out = of_seed(seed, -0.3, "cars", held_out=True)
        whole, plain = of_parts(seed, *sets, held_out), of_parts(seed, *sets)
        runs.append(write(tmp_path / f"run{seed}", seed, whole))
        without.append(write(tmp_path / f"without{seed}", seed, plain))
    compared, plain_ones = map(seeds_report.compare, (runs, without))
    assert seeds_report.verdict(compared) == seeds_report.verdict(plain_ones)
    assert "of 2 data sets" in seeds_report.verdict(compared)
    (_, random), (_, other) = compared.entries, plain_ones.entries
    assert compared.overall(random) == plain_ones.overall(other)
    paired = compared.paired(compared.ours, random)
    assert paired.pop("cars, held-out classes").different
    assert paired == plain_ones.paired(plain_ones.ours, other)  # Holm's, too


def test_a_baseline_that_is_better_is_marked(tmp_path):
    runs = [write(tmp_path / f"{s}", s, of_seed(s, gain=-0.1)) for s in range(3)]
    compared = seeds_report.compare(runs)
    best = seeds_report.best(compared, "pets")
    assert best is not None and best.init == "random"
    assert compared.ours.init != "random"
    verdict = seeds_report.verdict(compared)
    assert "significantly better on 0 and worse on 1 of 1 data sets" in verdict
    one_seed = seeds_report.compare(runs[:1])
    assert seeds_report.best(one_seed, "pets") is None
    text = seeds_report.terminal(one_seed)
    assert "seed 0: conditional on this training run" in text
    assert text.startswith("Config differences\n\n- none") and "*" not in text
    ours = of_seed(0)._replace(rows=of_seed(0).rows[:2])
    assert "no baseline" in told([write(tmp_path / "alone", 0, ours)])


def test_fixed_accuracies_are_in_the_table_and_what_has_no_transfer(tmp_path):
    runs = [write(tmp_path / f"{s}", s, transfer__accuracies=[0.5]) for s in (0, 1)]
    table = told(runs).split("Until 50 %, fixed beforehand")[1]
    assert re.search(r"^random\n  zero +2 of 2 +50 ", table, re.MULTILINE)
    runs = three(tmp_path)
    other = write(tmp_path / "other", 3, transfer__steps=0)
    text = told([*runs, other])
    assert "Accuracy over seeds 0, 1, 2, 3" in text
    assert f"Missing: {other} without transfer" in " ".join(text.split())
    assert "Transfer efficiency, seeds 0, 1, 2" in text


def test_experiments_stand_side_by_side(tmp_path):
    others = [
        write(tmp_path / f"b{seed}", seed, of_seed(seed, gain=0.05), inner__steps=3)
        for seed in range(3)
    ]
    text = told([*three(tmp_path), *others])
    assert "inner.steps: 10 in " in text and f"B: {others[0]}" in " ".join(text.split())
    (line,) = re.findall(r"^B: meta-learned\n  prototype .*", text, re.MULTILINE)
    assert "+5.0 [" in line and line.endswith("*")
    assert "Transfer efficiency of B" in text
