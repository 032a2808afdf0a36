"""Finished runs in one table: paired, over seeds, and refused where they do not fit."""

import json
import pathlib
import re
from typing import Any

import numpy as np
import pytest
import small_transfer
from PIL import Image

from metainit.evaluation import intervals
from metainit.evaluation.results import Evaluation, Row
from metainit.experiments.configs import default
from metainit.reporting import compare, finished, paired, run_report, seeds_report
from metainit.runtime.cost import Cost

EPISODES = 100
HARD = np.random.default_rng(0).normal(0, 0.1, EPISODES)


def row(init: str, head: str, accuracy: float, validation: float, seed: int) -> Row:
    """A row with two steps, the second chosen; its mean is the accuracy exactly."""
    rng = np.random.default_rng([seed, *init.encode(), *head.encode()])
    values = HARD + rng.normal(0, 0.02, EPISODES)
    values += accuracy - values.mean()
    both = np.stack([values - 0.1, values])
    cost = Cost(1.0, 1, 1)
    measured = {"accuracy": both, "f1": both, "loss": 1 - both}
    return Row(init, head, {}, (0, 1), 1, validation, measured, cost)


def evaluation(
    seed: int, gain: float = 0.1, dataset: str = "pets", digest: str = "d"
) -> Evaluation:
    """Ours is ahead by the gain, give or take what its seed does."""
    shift = np.random.default_rng(seed).normal(0, 0.005)
    rows = (
        row("meta-learned", "prototype", 0.6 + gain + shift, 0.9, seed),
        row("meta-learned", "zero", 0.95, 0.8, seed),  # better, but not chosen
        row("random", "zero", 0.6, 0.5, seed),
    )
    protocol = f"5-way 1-shot, {EPISODES} episodes"
    return Evaluation(
        rows, dataset, protocol, "none", {}, "cpu", 1.0, 1, episodes_sha256=digest
    )


def write(
    folder: pathlib.Path,
    seed: int,
    found: Evaluation | None = None,
    at: int | None = 5,
    **changed: Any,
) -> str:
    """The files that a comparison reads, of a run with a seed; at: see `run`."""
    config = default()
    config.seed = seed
    config.transfer.steps = 100
    config.update_from_flattened_dict(changed)
    folder.mkdir(parents=True)
    settings = json.loads(json.dumps(config.to_dict()))
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "finished.json").write_text(json.dumps(finished.asked(settings)))
    paired.write(folder / "episodes.npz", found or evaluation(seed))
    runs = (
        small_transfer.run("meta-learned", "zero", at, dataset="pets"),
        small_transfer.run("random", "zero", 50, dataset="pets"),
    )
    lines = (json.dumps({**p, "head": r.head}) for r in runs for p in r.points)
    (folder / "transfer.jsonl").write_text("\n".join(lines))
    return str(folder)


def told(runs: list[str]) -> str:
    return seeds_report.terminal(compare.compare(runs))


@pytest.fixture
def seeds(tmp_path: pathlib.Path) -> list[str]:
    return [
        write(tmp_path / f"run{seed}", seed, at=(5, 20, None)[seed])
        for seed in range(3)
    ]


def test_what_is_stored_by_episode_reads_back(tmp_path: pathlib.Path) -> None:
    one = evaluation(0)
    held_out = evaluation(1, dataset="cars")
    held_out = held_out._replace(held_out=True)
    paired.write(tmp_path / "a.npz", one._replace(parts=(held_out,)))
    first, second = paired.read(tmp_path / "a.npz")
    assert (first.dataset, second.dataset) == ("pets", "cars, held-out classes")
    assert first.episodes_sha256 == "d" and first.protocol == one.protocol
    found = first.measurements["accuracy"]["meta-learned", "prototype"]
    np.testing.assert_allclose(
        found, one.rows[0].measurements["accuracy"][1], atol=1e-7
    )
    assert first.validation_accuracy["random", "zero"] == 0.5
    # Of several meta-test sets, each and not their pool.
    several = one._replace(dataset="pets, cars", parts=(one, held_out))
    paired.write(tmp_path / "b.npz", several)
    assert [x.dataset for x in paired.read(tmp_path / "b.npz")] == [
        "pets",
        "cars, held-out classes",
    ]
    (tmp_path / "b.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"b\.npz cannot be read"):
        paired.read(tmp_path / "b.npz")


def test_three_seeds_are_one_table(seeds: list[str]) -> None:
    text = told(seeds)
    assert text.startswith("Config differences\n\nseed: 0 in ")
    assert "Accuracy over seeds 0, 1, 2" in text
    (ours,) = re.findall(r"^meta-learned +prototype .*ours.*", text, re.MULTILINE)
    (line,) = re.findall(r"^random +zero .*", text, re.MULTILINE)
    tables = [
        np.stack(
            [evaluation(seed).rows[i].measurements["accuracy"][1] for seed in range(3)]
        )
        for i in (0, 2)
    ]
    wanted = intervals.compare({"pets": tables[0]}, {"pets": tables[1]})["pets"]
    mean, low, high = (100 * x for x in wanted.difference[:3])
    assert f"{mean:+.1f} [{low:.1f}, {high:.1f}]" in line
    assert wanted.different and line.endswith(f"{wanted.p:.3f}*")
    accuracy = intervals.over_seeds(tables[:1])
    assert f"{100 * accuracy.mean:.1f} [" in ours
    words = " ".join(text.split())
    assert "Holm" in text and "two thirds of Satterthwaite's and one third of" in words
    assert "meta-learned >= 42 up to 100 (2 of 3); random 50 (3 of 3)." in words
    assert text.isascii()


def test_the_page_marks_the_best_where_it_is_significant(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = []
    for seed in range(3):
        sets = (
            evaluation(seed, 0.1, "pets", "d"),
            evaluation(seed, -0.001, "sun397", "e"),  # less than chance
        )
        both = sets[0]._replace(dataset="pets, sun397", parts=sets)
        runs.append(write(tmp_path / f"run{seed}", seed, both))
    out = tmp_path / "page"
    assert run_report.main([*runs, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    page = (out / "report.md").read_text()
    first = page.splitlines()[0]
    assert first.startswith(
        "Over 3 seeds meta-learned is significantly better on 1 of 2 data sets than the"
        " baseline that is hardest to beat, random: +"
    )
    assert first in " ".join(said.split())
    of_set = page.split("\n## ")
    (pets,) = (part for part in of_set if part.startswith("pets"))
    (sun,) = (part for part in of_set if part.startswith("sun397"))
    (line,) = (line for line in pets.splitlines() if "**" in line)
    assert line.startswith("| **meta-learned** | **prototype** | **70.")
    assert "**" not in sun
    # F1 is accuracy in these tables; making each took a second.
    accuracy, f1, hours = line.split(" | ")[2:5]
    assert accuracy == f1 and hours == "**0.000278**"
    assert "## All data sets" in page and "Holm" in page
    (overall,) = re.findall(r"^\| random \| \+(.*?) \[", page, re.MULTILINE)
    episodes, transfer = page.split("## Transfer efficiency")
    pattern = re.compile(r"^\| random \| zero \|.*?\+(\S+) \[", re.MULTILINE)
    means = pattern.findall(episodes)
    assert float(overall) == pytest.approx(np.mean([float(x) for x in means]), abs=0.1)
    assert f"{runs[0]} {runs[1]} {runs[2]} --out {out}" in page
    assert "Transfer efficiency, seeds 0, 1, 2" in page
    assert pattern.findall(transfer) == ["0.0"]  # ours ends as high
    with Image.open(out / "transfer.png") as image:
        assert image.width > 500
    assert first in (out / "report.html").read_text()


def test_accuracies_fixed_beforehand_are_in_the_table(tmp_path: pathlib.Path) -> None:
    runs = [
        write(tmp_path / f"{s}", s, **{"transfer.accuracies": (0.5,)}) for s in (0, 1)
    ]
    text = told(runs)
    (table,) = (x for x in text.split("\n\n") if "fixed beforehand" in x.split("\n")[0])
    assert "50 %" in table and table.count("50 (2 of 2)") == 1
    # Runs of before there were such accuracies are reported without.
    for path in map(pathlib.Path, runs):
        config = json.loads((path / "config.json").read_text())
        del config["transfer"]["accuracies"]
        (path / "config.json").write_text(json.dumps(config))
        (path / "finished.json").write_text(json.dumps(finished.asked(config)))
    assert "fixed beforehand" not in told(runs)


def test_a_baseline_that_is_better_is_marked(tmp_path: pathlib.Path) -> None:
    runs = [
        write(tmp_path / f"run{seed}", seed, evaluation(seed, gain=-0.1))
        for seed in range(3)
    ]
    found = compare.compare(runs)
    best = compare.best(found, "pets")
    assert best is not None and best.init == "random" and found.ours.init != "random"
    assert "significantly better on 0 of 1 data sets and significantly worse on 1" in (
        seeds_report.verdict(found)
    )
    assert compare.best(compare.compare(runs[:1]), "pets") is None  # one seed


def test_one_seed_has_no_mark(seeds: list[str]) -> None:
    text = told(seeds[:1])
    assert "seed 0: conditional on this training run" in text
    assert "nothing is called significant" in text and "*" not in text
    assert text.startswith("Config differences\n\nnone")


def test_a_half_finished_run_is_missing(
    seeds: list[str], tmp_path: pathlib.Path
) -> None:
    folder = pathlib.Path(seeds[2])
    (folder / "finished.json").unlink()
    text = told(seeds)
    assert f"Missing\n\n{folder}: not finished" in text
    assert "Accuracy over seeds 0, 1\n" in text
    with pytest.raises(ValueError, match="no run is finished"):
        compare.compare(seeds[2:])
    longer = pathlib.Path(seeds[1])
    config = json.loads((longer / "config.json").read_text())
    (longer / "config.json").write_text(json.dumps({**config, "iterations": 2000}))
    assert f"{longer}: finished with other settings" in told(seeds)


def test_a_run_without_transfer_is_marked(
    seeds: list[str], tmp_path: pathlib.Path
) -> None:
    other = write(tmp_path / "other", 3, **{"transfer.steps": 0})
    text = told([*seeds, other])
    assert "Accuracy over seeds 0, 1, 2, 3" in text
    assert f"missing: {other} without transfer" in text
    assert "Transfer efficiency, seeds 0, 1, 2" in text


def test_experiments_stand_side_by_side(
    seeds: list[str], tmp_path: pathlib.Path
) -> None:
    others = [
        write(
            tmp_path / f"b{seed}",
            seed,
            evaluation(seed, gain=0.05),
            **{"inner.steps": 3},
        )
        for seed in range(3)
    ]
    text = told([*seeds, *others])
    assert "inner.steps: 10 in " in text and f"B: {others[0]}" in text
    (line,) = re.findall(r"^B: meta-learned .*", text, re.MULTILINE)
    assert "+5.0 [" in line and line.endswith("*")
    assert "Transfer efficiency of B" in text
    # Of seeds that one of them lacks, nothing is compared.
    found = compare.compare([*seeds, *others[:2]])
    assert found.seeds == (0, 1)
    assert found.missing == (
        f"{seeds[2]}: left out, since not every experiment has seed 2",
    )
    with pytest.raises(ValueError, match=r"cannot be paired: A .* has seed 0; B .* 1;"):
        compare.compare([seeds[0], others[1]])


@pytest.mark.parametrize(
    "changed, found, message",
    [
        ({"task.shot": 5}, evaluation(7), r"task\.shot: 1 in .*run0, 5 in "),
        ({"data.name": "omniglot"}, evaluation(7), r"data\.name: glyphs in .*omniglot"),
        ({"evaluate.sgd_rates": (0.1,)}, evaluation(7), r"evaluate\.sgd_rates"),
        ({"transfer.held_out": 0.3}, evaluation(7), r"transfer\.held_out: 0.2 in"),
        ({}, evaluation(7, digest="e"), "episodes_sha256 on pets: d in .*, e in"),
        ({}, evaluation(7, dataset="cars"), "cars is in .*other only; pets is in"),
        (
            {},
            evaluation(7)._replace(batch_norm="batch"),
            "batch_norm on pets: none in .*, batch in",
        ),
    ],
)
def test_other_protocols_and_data_are_refused(
    seeds: list[str],
    tmp_path: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
    changed: dict[str, Any],
    found: Evaluation,
    message: str,
) -> None:
    other = write(tmp_path / "other", 7, found, **changed)
    assert run_report.main([*seeds, other]) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert re.search(f"error: runs of different protocols or data.*{message}", said.err)


def test_fine_tunings_of_other_protocols_are_refused_beside_a_run_without(
    tmp_path: pathlib.Path,
) -> None:
    runs = [
        write(tmp_path / "none", 0, **{"transfer.steps": 0}),
        write(tmp_path / "one", 1),
        write(tmp_path / "other", 2, **{"transfer.held_out": 0.3}),
    ]
    with pytest.raises(ValueError, match=r"held_out: 0.2 in .*one, 0.3 in .*other"):
        compare.compare(runs)


def test_what_cannot_be_paired_is_refused(
    seeds: list[str], tmp_path: pathlib.Path
) -> None:
    twin = write(tmp_path / "twin", 1)
    with pytest.raises(ValueError, match="are one experiment with one seed=1"):
        compare.compare([*seeds, twin])
    (pathlib.Path(twin) / "episodes.npz").unlink()
    with pytest.raises(ValueError, match=r"no episodes.npz, so its episodes cannot be"):
        compare.compare([*seeds, twin])
    with pytest.raises(ValueError, match="is no folder of a run"):
        compare.compare([str(tmp_path)])


def test_settings_that_do_not_matter_may_differ(tmp_path: pathlib.Path) -> None:
    runs = [
        write(tmp_path / "a", 0, **{"log_every": 5}),
        write(tmp_path / "b", 1, **{"data.data_dir": "elsewhere"}),
    ]
    text = told(runs)
    assert "log_every: 5 in" in text and "Accuracy over seeds 0, 1" in text
