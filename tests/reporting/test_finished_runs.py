"""Finished runs as they are stored, and refused where they do not fit together."""

import pathlib
import re

import numpy as np
import pytest
from small_runs import of_seed, three, write

from metainit.__main__ import main
from metainit.reporting import finished_runs, seeds_report


def test_what_is_stored_by_episode_reads_back(tmp_path):
    whole, held_out = of_seed(0), of_seed(1, dataset="cars", held_out=True)
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


FIRST, OTHER = {"seed": 0}, {"seed": 7}
SAME = "episodes_sha256 on pets: pets0 in .*of seed 0, pets0 in .*of seed 7"
OURS = of_seed(7)._replace(rows=of_seed(7).rows[:2])
RANDOM = of_seed(0)._replace(rows=of_seed(0).rows[2:])


@pytest.mark.parametrize(
    "runs, message",
    [
        ([FIRST, OTHER | {"task__shot": 5}], r"task\.shot: 1 in .*/0, 5 in "),
        (
            [FIRST, OTHER | {"data__name": "birds"}],
            r"data\.name: \"glyphs\" in .*birds",
        ),
        ([FIRST, OTHER | {"evaluate__sgd_rates": [1]}], r"evaluate\.sgd_rates"),
        ([FIRST, OTHER | {"measured": of_seed(7, episodes_sha256="pets0")}], SAME),
        (
            [FIRST, FIRST | {"measured": of_seed(0, episodes_sha256="x")}],
            "sha256 on pets: pets0 in .*, x in",
        ),
        (
            [FIRST, OTHER | {"measured": of_seed(7, dataset="cars")}],
            r"protocol on cars: \(absent\) in .*/0,",
        ),
        (
            [FIRST, OTHER | {"measured": of_seed(7, batch_norm="batch")}],
            "batch_norm on pets: .support .*, .batch. in",
        ),
        (  # also beside a run without
            [
                FIRST | {"transfer__steps": 0},
                OTHER,
                OTHER | {"transfer__held_out": 0.3},
            ],
            r"different protocols or .*transfer\.held_out: 0.2 in .*/1, 0.3 in .*/2",
        ),
        ([FIRST, OTHER, OTHER], "are one experiment with one seed=7"),
        (
            [FIRST, OTHER | {"inner__steps": 3}],
            "cannot be paired: .*/0 of seed 0, .*/1 of seed 7",
        ),
        ([FIRST | {"kind": "tune"}], "kind tune, without episodes"),
        ([FIRST | {"measured": RANDOM}], "none of the runs has one of meta-learned"),
        ([FIRST, OTHER | {"measured": OURS}], "/1 has no results of random"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(tmp_path, capsys, runs, message):
    folders = [write(tmp_path / str(n), **changed) for n, changed in enumerate(runs)]
    assert main(["report", *folders]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert re.search(f"error: .*{message}", printed.err)


def test_what_is_no_run_or_damaged_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no folder of a run"):
        finished_runs.read(tmp_path)
    folder = write(tmp_path / "run", 0)
    path = pathlib.Path(folder) / "episodes.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"episodes\.npz cannot be read .*; delete"):
        finished_runs.read(folder)
    path.unlink()
    with pytest.raises(
        ValueError, match=r"episodes\.npz cannot be read .*No such file"
    ):
        finished_runs.read(folder)


def test_a_half_finished_run_is_missing(tmp_path):
    runs = three(tmp_path)
    (tmp_path / "run2" / "finished.json").unlink()
    longer = tmp_path / "run1" / "config.json"
    longer.write_text(longer.read_text().replace('ns": 100', 'ns": 9'))
    compared = seeds_report.compare(runs)
    assert compared.seeds == [0]
    assert compared.missing[0].startswith(f"{runs[1]}: finished with other settings")
    assert compared.missing[1].startswith(f"{runs[2]}: not finished")
    with pytest.raises(ValueError, match="no run is finished"):
        seeds_report.compare(runs[2:])


def test_settings_that_do_not_matter_may_differ_and_seeds_be_lacking(tmp_path):
    a = write(tmp_path / "a", 0, log_every=5)
    compared = seeds_report.compare([a, write(tmp_path / "b", 1, data__data_dir="x")])
    assert compared.seeds == [0, 1]
    assert any(line.startswith("log_every: 5 in") for line in compared.differences)
    runs = three(tmp_path)
    others = [write(tmp_path / f"c{s}", s, inner__steps=3) for s in range(2)]
    compared = seeds_report.compare([*runs, *others])
    assert compared.seeds == [0, 1]
    (missing,) = compared.missing
    assert missing.startswith(f"{runs[2]}: left out") and missing.endswith("seed 2")
