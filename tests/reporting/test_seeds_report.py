"""Finished runs in one table: paired, over seeds."""

import re

import numpy as np
import pytest
from small_runs import of_seed, three, write
from test_html import parsed

from metainit.evaluation import intervals
from metainit.evaluation.metrics import ACCURACY
from metainit.reporting import seeds_report, tables
from metainit.runtime import atomic


def told(runs):
    return seeds_report.terminal(seeds_report.compare(runs))


def several(folder, **gains):
    """Three seeds of a run with gains by data set, of which "cars" is held out."""
    runs = []
    for seed in range(3):
        parts = (of_seed(seed, x, y, held_out=y == "cars") for y, x in gains.items())
        whole = of_seed(seed, dataset="several", parts=tuple(parts))
        runs.append(write(folder / f"run{seed}", seed, whole))
    return runs


def test_three_seeds_are_one_table_and_what_has_no_transfer_is_named(tmp_path):
    runs = three(tmp_path)
    text = told(runs)
    assert text.startswith("Config differences\n\n- seed: 0 in")
    assert "Accuracy over seeds 0, 1, 2" in text
    (ours,) = re.findall(r"^meta-learned +prototype .*ours.*", text, re.MULTILINE)
    (line,) = re.findall(r"^random +zero .*\*$", text, re.MULTILINE)
    of_ours, of_random = (
        np.float32([of_seed(x).rows[i].measurements["accuracy"][1] for x in range(3)])
        for i in (0, 2)
    )
    wanted = intervals.compare({"pets": of_ours}, {"pets": of_random})["pets"]
    assert wanted.different and line.endswith(f"{wanted.p:.3f}*")
    assert tables.points(wanted) in line
    assert ACCURACY.interval(intervals.over_seeds(of_ours)) in ours
    told_of_steps = "meta-learned >= 42 up to 100 (2 of 3); random 50 (3 of 3)."
    assert told_of_steps in " ".join(text.split()) and text.isascii()
    assert "Against random, meta-learned has no break-even" in text
    other = write(tmp_path / "other", 3, transfer__steps=0)
    text = told([*runs, other])
    assert "Accuracy over seeds 0, 1, 2, 3" in text
    assert f"Missing: {other} without transfer" in " ".join(text.split())
    assert "Transfer efficiency, seeds 0, 1, 2" in text


def test_what_another_kind_of_device_made_has_no_break_even(tmp_path):
    runs = three(tmp_path)
    file = tmp_path / "run1" / "transfer.jsonl"
    rows = atomic.read_rows(file)
    elsewhere = {"init_device_seconds": None}
    atomic.write_rows(
        file, [x | elsewhere if x["init"] == "meta-learned" else x for x in rows]
    )
    text = told(runs)
    assert "Transfer efficiency, seeds 0, 1, 2" in text and "Against" not in text


def test_the_page_marks_the_best_where_it_is_significant(tmp_path, capsys):
    runs = several(tmp_path, pets=0.1, sun397=-0.001)  # the second: less than chance
    out = tmp_path / "page"
    assert seeds_report.main([*runs, "--out", str(out)]) == 0
    page = (out / "report.md").read_text()
    first = page.splitlines()[0]
    better = "Over 3 seeds meta-learned is significantly better on 1 and worse on 0 of"
    assert first.startswith(better) and "hardest to beat, random: +" in first
    assert first in " ".join(capsys.readouterr().out.split())
    (bold,) = (line for line in page.splitlines() if "**" in line)
    assert bold.startswith("| **meta-learned** | **prototype** | **70.")
    assert bold.split(" | ")[5].startswith("**69.")
    assert page.count("In every row: Device hours 0.0173.") == 2
    titles = (page.index(f"<summary>{name}</summary>") for name in ("pets", "sun397"))
    assert next(titles) < page.index(bold) < next(titles)
    (overall,) = re.findall(r"^\| random \| \+(.*?) \[", page, re.MULTILINE)
    pattern = r"^\| random \| zero \|.*?\+(\S+) \["
    means = [float(x) for x in re.findall(pattern, page, re.MULTILINE)]
    assert len(means) == 2
    assert float(overall) == pytest.approx(np.mean(means), abs=0.1)
    transfer = page.split("Transfer efficiency")[1]
    assert re.search(r"^\| random \|.*\| \+0\.00? \[", transfer, re.MULTILINE)
    assert "In every row: Head zero, " in transfer
    assert f"metainit report {runs[0]} {runs[1]} {runs[2]} --out {out}" in page
    assert (out / "transfer.png").exists()
    # Bars are of both data sets together; all else that is long is folded.
    assert "Unseen classes of pets, sun397. [ ] are 95 % intervals, over" in page
    (bar,) = re.findall(r"^\| meta-learned \| prototype \| (\S+) % \[", page, re.M)
    of_ours = [of_seed(x, gain).rows[0] for x in range(3) for gain in (0.1, -0.001)]
    reached = [row.measurements["accuracy"][1].mean() for row in of_ours]
    assert float(bar) == pytest.approx(100 * np.mean(reached), abs=0.051)
    body = parsed(out).find("body")
    assert [x.tag for x in body] == ["p", "h1", "p", "div", *["details"] * 8]
    assert first in (out / "report.html").read_text()


def cut(measured, count):
    """The first episodes of an evaluation, as a run has them that needs no more."""
    rows = [
        row._replace(
            measurements={name: x[:, :count] for name, x in row.measurements.items()}
        )
        for row in measured.rows
    ]
    return measured._replace(rows=tuple(rows), episodes=count)


def test_each_seed_has_its_number_of_episodes(tmp_path):
    counts = 20, 60, 33
    runs = [write(tmp_path / f"{s}", s, cut(of_seed(s), counts[s])) for s in range(3)]
    compared = seeds_report.compare(runs)
    assert "5-way 1-shot, 20 to 60 episodes." in told(runs)

    def by_hand(counts):
        minus = []
        for seed, count in enumerate(counts):
            ours, random = (
                np.float32(of_seed(seed).rows[i].measurements["accuracy"][1, :count])
                for i in (0, 2)
            )
            minus.append(np.mean(ours - random))
        return intervals.over_seeds(np.array(minus)[:, None])

    (_, random) = compared.entries
    found = compared.paired(compared.ours, random)["pets"]
    assert found == pytest.approx(by_hand(counts), abs=1e-6)
    assert compared.overall(random) == pytest.approx(found)
    # Two experiments: of each seed the episodes that both have met.
    more = [
        write(tmp_path / f"more{s}", s, cut(of_seed(s), 30), inner__steps=5)
        for s in range(3)
    ]
    both = seeds_report.compare([*runs, *more])
    (_, random, *_) = both.entries
    found = both.paired(both.ours, random)["pets"]
    assert found == pytest.approx(by_hand((20, 30, 30)), abs=1e-6)
    assert {len(x) for entry in both.entries for x in entry.measured("pets")} == {
        20,
        30,
    }


def test_held_out_classes_are_another_question(tmp_path):
    """They stand in a table of their own, but count in neither verdict nor summary."""
    runs = several(tmp_path / "all", pets=0.1, sun397=0.004, cars=-0.3)
    without = several(tmp_path / "without", pets=0.1, sun397=0.004)
    compared, plain_ones = map(seeds_report.compare, (runs, without))
    assert seeds_report.ours_against_hardest(
        compared
    ) == seeds_report.ours_against_hardest(plain_ones)
    assert "of 2 data sets" in seeds_report.ours_against_hardest(compared)
    (_, random), (_, other) = compared.entries, plain_ones.entries
    assert compared.overall(random) == plain_ones.overall(other)
    paired = compared.paired(compared.ours, random)
    assert paired.pop("cars, held-out classes").different
    assert paired == plain_ones.paired(plain_ones.ours, other)  # Holm's, too


def test_a_baseline_that_is_better_is_marked(tmp_path):
    runs = [write(tmp_path / f"{s}", s, of_seed(s, gain=-0.1)) for s in range(3)]
    compared = seeds_report.compare(runs)
    assert seeds_report.best(compared, "pets").init == "random"
    verdict = seeds_report.ours_against_hardest(compared)
    assert "significantly better on 0 and worse on 1 of 1 data sets" in verdict
    one_seed = seeds_report.compare(runs[:1])
    assert seeds_report.best(one_seed, "pets") is None
    text = seeds_report.terminal(one_seed)
    assert "seed 0: conditional on this training run" in text
    assert text.startswith("Config differences\n\n- none") and "*" not in text
    ours = of_seed(0)._replace(rows=of_seed(0).rows[:2])
    assert "no baseline" in told([write(tmp_path / "alone", 0, ours)])


def test_experiments_stand_side_by_side_on_the_seeds_that_all_have(tmp_path):
    runs = three(tmp_path)
    for s in range(2):
        runs.append(write(tmp_path / f"b{s}", s, of_seed(s, gain=0.05), inner__steps=3))
    compared = seeds_report.compare(runs)
    (missing,) = compared.missing
    assert missing == f"{runs[2]}: left out, since not every experiment has seed 2"
    assert compared.differences[0].startswith(f"inner.steps: 10 in {runs[0]}, ")
    assert [run.path for run in compared.experiments["B"]] == runs[3:]
    text = seeds_report.terminal(compared)
    # What is too wide follows below.
    line, _ = re.findall(r"^B: meta-learned +prototype .*", text, re.MULTILINE)
    assert "+5.0 [" in line and line.endswith("*")
    assert "Transfer efficiency of B" in text and "Accuracy over seeds 0, 1\n" in text


def test_runs_of_other_versions_show_the_metrics_that_they_have(tmp_path):
    def of(seed, change):
        measured = of_seed(seed)
        rows = [x._replace(measurements=change(x.measurements)) for x in measured.rows]
        return write(tmp_path / f"run{seed}", seed, measured._replace(rows=rows))

    without_f1 = of(0, lambda x: {name: x[name] for name in ("accuracy", "loss")})
    with_another = of(1, lambda x: x | {"ece": x["loss"]})
    for run, columns in (
        (without_f1, "Accuracy, % Ours minus this Loss"),
        (with_another, "Accuracy, % Ours minus this F1, % Loss ece"),
    ):
        headings = re.findall("Initialisation +Head +(.*)", told([run]))
        assert " ".join(" ".join(headings).split()) == columns
    # Together neither is said of all seeds.
    assert "F1, % -, ece -" in told([without_f1, with_another])
