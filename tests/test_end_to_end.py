"""The command line with a real, if tiny, experiment: stopped, resumed, finished."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import tiny

from metainit.runtime.logging import read_metrics

ROOT = pathlib.Path(__file__).resolve().parents[1]

CONFIG = """
import pathlib, tiny

def get_config():
    config = tiny.config(pathlib.Path("images"))
    config.update(iterations=300, warm_start=0, log_every=10, checkpoint_every=100)
    config.validate_every = 100
    config.method.gradient = "first_order"
    config.evaluate.update(sgd_rates=(0.1,), adam_rates=())
    config.model.update(name="mlp", hidden=(16,))
    return config
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    tiny.draw(folder / "images")
    (folder / "trial.py").write_text(CONFIG)
    return folder


def start(folder):
    own = {"PYTHONPATH": f"{ROOT}/tests", "XDG_CACHE_HOME": f"{folder}/cache"}
    environment = os.environ | own
    line = [sys.executable, str(ROOT / "launch.py"), "--config=trial.py"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, cwd=folder, env=environment, **pipes)


def test_sigterm_saves_and_the_same_line_finishes(folder):
    with start(folder) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("joint pretraining 20/600"):
                process.send_signal(signal.SIGTERM)
                break
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "stopped; what was saved is kept, and the same line goes on\n"
    (saved,) = (line for line in out.splitlines() if ": saved at step" in line)
    step = int(saved.split("step ")[1])
    assert 20 <= step < 600

    with start(folder) as process:
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    assert f"joint pretraining: resumed at step {step}" in out
    *_, page, more, use = out.splitlines()
    assert page == "report: runs/trial/report.html"
    assert more.endswith(": metainit train trial.py seed=1 --out runs/trial-seed1")
    assert use.endswith(": metainit finetune MY_IMAGES --init runs/trial")
    run = folder / "runs" / "trial"
    page = (ROOT / "docs" / "report.md").read_text()
    for path in run.iterdir():  # the page on reports tells of every file
        name = f"{path.name}/" if path.is_dir() else path.name
        assert path.name.startswith(".") or f"`{name}`" in page, name
    rows = list(read_metrics(run / "joint"))
    logged = [row["step"] for row in rows if "pretraining/loss" in row]
    assert logged == list(range(20, 601, 20))
    assert "metainit train trial.py" in (run / "report.md").read_text()
    summary = json.loads((run / "results.jsonl").read_text().splitlines()[-1])
    assert summary["eval_accuracy"] > 0.4  # chance is a third
