"""Finished runs as they are stored, and refused where they do not fit together."""

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


SAME = "episodes_sha256 on pets: pets0 in .*of seed 0, .*pets0 in .*of seed 7"
OURS = of_seed(7)._replace(rows=of_seed(7).rows[:2])


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"task__shot": 5}, r"task\.shot: 1 in .*run0, .*, 5 in "),
        ({"data__name": "birds"}, r"data\.name: \"glyphs\" in .*birds"),
        ({"evaluate__sgd_rates": [1]}, r"evaluate\.sgd_rates"),
        ({"transfer__held_out": 0.3}, r"protocols or data.*transfer\.held_out: 0.2 in"),
        ({"measured": of_seed(7, episodes_sha256="pets0")}, SAME),
        ({"seed": 0, "measured": of_seed(0, episodes_sha256="x")}, "pets0 in .*, x in"),
        ({"measured": of_seed(7, dataset="cars")}, r"protocol on cars: \(absent\) in "),
        ({"measured": of_seed(7, batch_norm="batch")}, "batch_norm on pets: .support "),
        ({"seed": 0}, "are one experiment with one seed=0"),
        ({"inner__steps": 3}, "cannot be paired: .*run0 of seed 0, .*other of seed 7"),
        ({"measured": OURS}, "other has no results of random"),
        ({"kind": "tune"}, "kind tune, without episodes"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(tmp_path, capsys, changed, message):
    runs = [write(tmp_path / "run0", 0), write(tmp_path / "run1", 1, transfer__steps=0)]
    runs.append(write(tmp_path / "other", **{"seed": 7} | changed))
    assert main(["report", *runs]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and len(printed.err.splitlines()) == 1
    assert re.search(f"error: .*{message}", printed.err)


def test_what_is_no_run_damaged_or_without_ours_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no folder of a run"):
        finished_runs.read(tmp_path)
    random = of_seed(0)._replace(rows=of_seed(0).rows[2:])
    folder = write(tmp_path / "run", 0, random)
    with pytest.raises(ValueError, match="none of the runs has one of meta-learned"):
        seeds_report.compare([folder])
    path = tmp_path / "run" / "episodes.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"episodes\.npz cannot be read .*; delete"):
        finished_runs.read(folder)
    path.unlink()
    with pytest.raises(ValueError, match=r"\.npz cannot be read .*No such file"):
        finished_runs.read(folder)


def test_settings_that_do_not_matter_may_differ_and_half_finished_is_missing(tmp_path):
    runs = three(tmp_path)
    other = write(tmp_path / "other", 3, log_every=5, data__data_dir="x")
    compared = seeds_report.compare([*runs, other])
    assert compared.seeds == [0, 1, 2, 3]
    names = [line.split(":")[0] for line in compared.differences]
    assert names == ["data.data_dir", "log_every", "seed"]
    (tmp_path / "run2" / "finished.json").unlink()
    longer = tmp_path / "run1" / "config.json"
    longer.write_text(longer.read_text().replace('ns": 100', 'ns": 9'))
    compared = seeds_report.compare(runs)
    assert compared.seeds == [0]
    assert compared.missing[0].startswith(f"{runs[1]}: finished with other settings")
    assert compared.missing[1].startswith(f"{runs[2]}: not finished")
    with pytest.raises(ValueError, match="no run is finished"):
        seeds_report.compare(runs[2:])
