"""`python -m benchmarks`: what it counts, and what it says."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from benchmarks import __main__ as benchmarks
from benchmarks import ours, workloads

SMALL = workloads.A._replace(side=16, shot=1, queries=1, steps=2, tasks=2)


def test_a_workload_of_a_name_and_one_field_changed():
    assert workloads.named("HD") == workloads.D._replace(
        about="D, first order", second_order=False
    )
    assert workloads.named("A/steps=40") == workloads.A._replace(steps=40)
    with pytest.raises(KeyError):
        workloads.named("Z")


@pytest.mark.parametrize("second_order, passes", [(True, 9), (False, 3)])
def test_useful_operations_are_counted_in_forward_passes(second_order, passes):
    work = SMALL._replace(second_order=second_order)
    # 3x3 kernels over 16, 8, 4 and 2 pixels squared, of 5 images.
    channels = (3, 64, 64, 64)
    pixels = 5 * np.array([256, 64, 16, 4])
    forward = sum(2 * n * 9 * c * 64 for n, c in zip(pixels, channels, strict=True))
    assert ours.useful_flops(work) == 2 * (2 * passes + 3) * forward


def test_our_side_is_a_learner_that_steps():
    update, state, episodes = ours.program(SMALL, "first_order")
    shapes, _ = jax.eval_shape(update, state, episodes, jax.random.key(0))
    assert jax.tree.structure(shapes) == jax.tree.structure(state)


def test_sides_step_in_turns_and_say_what_is_missing(tmp_path, monkeypatch):
    package = tmp_path / "benchmarks"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "slow.py").write_text(
        "import sys; print('{\"useful_flops\": 8.0}', flush=True)\n"
        "for n, _ in enumerate(sys.stdin):\n"
        '    print(f\'{{"seconds": {n + 1}, "cpu_seconds": 1}}\', flush=True)\n'
        "print('{\"working_MB\": 3}')\n"
    )
    (package / "absent.py").write_text("import a_peer_that_is_not_there\n")
    monkeypatch.setattr(benchmarks, "ROOT", tmp_path)
    sides = {name: (sys.executable, name) for name in ("slow", "absent")}
    found = benchmarks.in_turns(sides, 3)
    assert found["slow"]["seconds"] == [1, 2, 3]
    assert (found["slow"]["median_s"], found["slow"]["working_MB"]) == (2, 3)
    assert "a_peer_that_is_not_there" in found["absent"]["error"]
    rows = [{"workload": "A", "side": name} | row for name, row in found.items()]
    *_, slow, absent = benchmarks.table(rows).splitlines()
    assert slow == "| A | slow | 2.0 |  | 3 |  |  |  |  |"
    assert "a_peer_that_is_not_there" in absent


def test_a_name_that_there_is_not_is_refused():
    line = [sys.executable, "-m", "benchmarks", "Z"]
    done = subprocess.run(line, cwd=benchmarks.ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "Z: there is A, B, C, D, E, HA, HD, growth, quickstart" in done.stderr
