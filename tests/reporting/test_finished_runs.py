"""Finished runs as they are stored, and refused where they do not fit together."""

import json
import pathlib
import re

import numpy as np
import pytest
from small_transfer import run
from test_run_report import evaluation as of_rows
from test_run_report import row

from metainit.__main__ import main
from metainit.reporting import finished_runs, seeds_report


def evaluation(seed, gain=0.1, dataset="pets", digest=""):
    """Ours is ahead by the gain, give or take what its seed does."""
    shift = np.random.default_rng(seed).normal(0, 0.005)
    rows = (
        row("meta-learned", "prototype", 0.6 + gain + shift, 0.9, seed=seed),
        row("meta-learned", "zero", 0.95, 0.8, seed=seed),  # better, but not chosen
        row("random", "zero", 0.6, 0.5, seed=seed),
    )
    digest = digest or f"{dataset}{seed}"
    return of_rows(*rows)._replace(dataset=dataset, episodes_sha256=digest)


SAME = "episodes_sha256 on pets: pets0 in .*of seed 0, pets0 in .*of seed 7"
BATCH = evaluation(7)._replace(batch_norm="batch")


def write(folder, seed, measured=None, at=5, **changed):
    """The files that a comparison reads, of a run with a seed; at: see `run`.

    Further keywords change its settings, "__" for a dot.
    """
    config = {"seed": seed, "iterations": 100, "max_hours": 1.0, "log_every": 200}
    config |= {
        "data": {"name": "glyphs", "data_dir": ""},
        "task": {"shot": 1},
        "inner": {"steps": 10},
        "evaluate": {"sgd_rates": [0.1, 0.3]},
        "transfer": {"steps": 100, "held_out": 0.2, "accuracies": []},
    }
    for name, value in changed.items():
        section, _, field = name.rpartition("__")
        (config[section] if section else config)[field] = value
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "finished.json").write_text(json.dumps(finished_runs.asked(config)))
    finished_runs.write_episodes(folder / "episodes.npz", measured or evaluation(seed))
    runs = run("meta-learned", "zero", at), run("random", "zero", 50)
    lines = (json.dumps({**p, "head": r.head}) for r in runs for p in r.points)
    (folder / "transfer.jsonl").write_text("\n".join(lines))
    return str(folder)


def three(folder):
    return [write(folder / f"run{s}", s, at=(5, 20, None)[s]) for s in range(3)]


def test_what_is_stored_by_episode_reads_back(tmp_path):
    whole = evaluation(0)
    held_out = evaluation(1, dataset="cars")._replace(held_out=True)
    path = tmp_path / "a.npz"
    finished_runs.write_episodes(path, whole._replace(parts=(held_out,)))
    first, second = finished_runs.read_episodes(path)
    assert (first.name, second.name) == ("pets", "cars, held-out classes")
    assert first._replace(rows=()) == whole._replace(rows=(), notes=())
    for stored, given in zip(first.rows, whole.rows, strict=True):
        for metric, values in given.measurements.items():
            wanted = values[1:2].astype(np.float32)
            np.testing.assert_array_equal(stored.measurements.pop(metric), wanted)
        chosen = {"setting": {}, "steps": (1,), "chosen": 0, "measurements": {}}
        assert stored == given._replace(**chosen)
    # Of several meta-test sets, each and not their pool.
    several = whole._replace(dataset="pets, cars", parts=(whole, held_out))
    finished_runs.write_episodes(path, several)
    names = [part.name for part in finished_runs.read_episodes(path)]
    assert names == ["pets", "cars, held-out classes"]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"a\.npz cannot be read"):
        finished_runs.read_episodes(path)


@pytest.mark.parametrize(
    "changed, measured, message",
    [
        ({"task__shot": 5}, evaluation(7), r"task\.shot: 1 in .*run0, 5 in "),
        ({"data__name": "birds"}, evaluation(7), r"data\.name: \"glyphs\" in .*birds"),
        ({"evaluate__sgd_rates": [1]}, evaluation(7), r"evaluate\.sgd_rates"),
        ({"transfer__held_out": 0.3}, evaluation(7), r"transfer\.held_out: 0.2 in"),
        ({}, evaluation(7, digest="pets0"), SAME),
        ({"seed": 0}, evaluation(0, digest="x"), "sha256 on pets: pets0 in .*, x in"),
        ({}, evaluation(7, dataset="cars"), r"protocol on cars: \(absent\) in .*run0,"),
        ({}, BATCH, r"batch_norm on pets: .support .*, .batch. in"),
    ],
)
def test_other_protocols_and_data_are_refused(
    tmp_path, capsys, changed, measured, message
):
    other = {"seed": 7, "measured": measured, **changed}
    runs = [write(tmp_path / "run0", 0), write(tmp_path / "other", **other)]
    assert main(["report", *runs]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert re.search(f"error: .*different protocols or data.*{message}", printed.err)


def test_what_cannot_be_paired_is_refused(tmp_path):
    # Fine-tunings of two protocols, also beside a run without.
    none = write(tmp_path / "none", 0, transfer__steps=0)
    others = [write(tmp_path / f"of{x}", 1, transfer__held_out=x) for x in (0.2, 0.3)]
    with pytest.raises(ValueError, match=r"held_out: 0.2 in .*of0.2, 0.3 in .*of0.3"):
        seeds_report.compare([none, *others])
    runs = three(tmp_path)
    twin = write(tmp_path / "twin", 1)
    with pytest.raises(ValueError, match="are one experiment with one seed=1"):
        seeds_report.compare([*runs, twin])
    (pathlib.Path(twin) / "episodes.npz").unlink()
    with pytest.raises(ValueError, match=r"no episodes.npz, so its episodes cannot be"):
        seeds_report.compare([*runs, twin])
    with pytest.raises(ValueError, match="is no folder of a run"):
        seeds_report.compare([str(tmp_path)])
    of_kind = write(tmp_path / "kind", 4, kind="tune")
    with pytest.raises(ValueError, match="kind tune, without episodes"):
        seeds_report.compare([of_kind])


def test_initialisations_that_a_comparison_needs(tmp_path):
    first, second = (evaluation(seed) for seed in range(2))
    alone = write(tmp_path / "alone", 0, first._replace(rows=first.rows[:2]))
    assert "no baseline" in seeds_report.verdict(seeds_report.compare([alone]))
    without = write(tmp_path / "without", 0, first._replace(rows=first.rows[2:]))
    with pytest.raises(ValueError, match="none of the runs has one of meta-learned"):
        seeds_report.compare([without])
    less = write(tmp_path / "less", 1, second._replace(rows=second.rows[:2]))
    with pytest.raises(ValueError, match="less has no results of random"):
        seeds_report.compare([write(tmp_path / "whole", 0), less])


def test_a_half_finished_run_is_missing(tmp_path):
    runs = three(tmp_path)
    (tmp_path / "run2" / "finished.json").unlink()
    longer = tmp_path / "run1" / "config.json"
    longer.write_text(longer.read_text().replace('ns": 100', 'ns": 9'))
    compared = seeds_report.compare(runs)
    assert compared.seeds == (0,)
    assert compared.missing[0].startswith(f"{runs[1]}: finished with other settings")
    assert compared.missing[1].startswith(f"{runs[2]}: not finished")
    with pytest.raises(ValueError, match="no run is finished"):
        seeds_report.compare(runs[2:])


def test_settings_that_do_not_matter_may_differ_and_seeds_be_lacking(tmp_path):
    a = write(tmp_path / "a", 0, log_every=5)
    compared = seeds_report.compare([a, write(tmp_path / "b", 1, data__data_dir="x")])
    assert compared.seeds == (0, 1)
    assert any(line.startswith("log_every: 5 in") for line in compared.differences)
    runs = three(tmp_path)
    others = [write(tmp_path / f"c{s}", s, inner__steps=3) for s in range(2)]
    compared = seeds_report.compare([*runs, *others])
    assert compared.seeds == (0, 1)
    (missing,) = compared.missing
    assert missing.startswith(f"{runs[2]}: left out") and missing.endswith("seed 2")
    with pytest.raises(
        ValueError, match=r"cannot be paired: .*run0 of seed 0; .*c1 of"
    ):
        seeds_report.compare([runs[0], others[1]])
