"""A method, an encoder, a head, a data set with its own split, a metric are added.

Each to a copy of the package, by a patch of at most three files, as
docs/architecture.md says; then one run uses all five.
"""

import math
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import metainit
from metainit.runtime import atomic

TESTS = pathlib.Path(__file__).parent
PATCHES = sorted((TESTS / "additions").glob("*.patch"))
PROGRAM = """
import tiny
from metainit.__main__ import main
from metainit.experiments import configs, launching
from metainit.experiments.meta_learning import train

config = tiny.shrink(configs.default())
config.iterations = 2
config.data.update(name="stripes", size=12, channels=3)
config.encoder.update(name="patches", use="adapted")
config.model.name = "linear"
config.method.algorithm = "sign"
train(config, "run")
assert main(["export", "run", "--out", "files"]) == 2
config.encoder.weights = "file.safetensors"
assert launching.run(config, "weighted", "") == 2
"""


def test_an_addition_is_at_most_three_files() -> None:
    files = [patch.read_text().count("\n+++ b/") for patch in PATCHES]
    assert len(files) == 5 and max(files) <= 3


@pytest.mark.slow
def test_a_run_uses_what_was_added(tmp_path: pathlib.Path) -> None:
    package = pathlib.Path(metainit.__file__).parent
    shutil.copytree(package, tmp_path / "metainit")
    subprocess.run(["git", "apply", "--recount", *PATCHES], cwd=tmp_path, check=True)
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{TESTS}"},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    # Without names in files, nothing says that it has some.
    unnamed, unloaded = answer.stderr.splitlines()[-2:]
    assert "encoder.name=patches has no names in PyTorch" in unnamed
    assert "encoder.name=patches has no names in files of weights" in unloaded
    assert not (tmp_path / "run" / "export").exists()
    assert not (tmp_path / "files").exists()
    rows = atomic.read_rows(tmp_path / "run" / "results.jsonl")
    assert {row["dataset"] for row in rows if "dataset" in row} == {"stripes"}
    heads = {row["head"] for row in rows if "head" in row}
    assert heads >= {"nearest neighbour", "prototype"}
    values = {
        metric: [row["value"] for row in rows if row.get("metric") == metric]
        for metric in ("loss", "bits")
    }
    assert values["bits"] == pytest.approx([x / math.log(2) for x in values["loss"]])
    assert "Loss, bits" in (tmp_path / "run" / "report.md").read_text()
