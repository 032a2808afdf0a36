"""Short versions of soak.py: the sampler, and what it says of made series."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soak

MEMORY = [*soak.MEMORY]


def series(memory=0.0, files=0.0, threads=0.0, jump=0.0):
    """Samples of 2 hours, of what grows by so much an hour; memory has noise."""
    noise = np.random.default_rng(0).normal(0, 0.3, 480)
    samples = []
    for number, moment in enumerate(np.linspace(0, 120, 480)):
        warm = 50 * min(1, moment / 10)  # grows in the first minutes whatever comes
        held = 400 + warm + memory * moment / 60 + noise[number] + jump * (number > 300)
        opened = number % 7 == 0  # a file and a thread for a moment
        open_files = 10 + int(files * moment / 60) + opened
        running = 20 + int(threads * moment / 60) + opened
        samples.append(soak.Sample(moment, held, held - 90, open_files, running))
    return samples


@pytest.mark.parametrize(
    ("growth", "growing"),
    [
        ({}, []),
        ({"memory": 0.5}, []),
        ({"memory": -3.0}, []),
        ({"memory": 1.5}, MEMORY),
        ({"jump": 5.0}, MEMORY),
        ({"files": 1.0}, ["files"]),
        ({"threads": 3.0, "memory": 9.0}, [*MEMORY, "threads"]),
    ],
)
def test_what_grows_is_told(growth, growing):
    told = soak.judged(series(**growth))
    assert told["growing"] == growing
    json.dumps(told)
    if not growth.get("jump"):
        slope, error = (
            told[f"resident_{name}"] for name in ("mb_an_hour", "standard_error")
        )
        assert abs(slope - growth.get("memory", 0)) < 4 * error < 0.5


@pytest.mark.slow
def test_a_process_that_leaks_is_told():
    program = """
import threading, time
kept, files = [], []
print("begun", flush=True)
while True:
    time.sleep(0.02)
    LEAKING and kept.append(b"x" * 300_000)
    LEAKING and files.append(open("/dev/null"))
    LEAKING and threading.Thread(target=time.sleep, args=[60], daemon=True).start()
"""
    for leaks, growing in ((1, [*MEMORY, "files", "threads"]), (0, [])):
        line = [sys.executable, "-c", program.replace("LEAKING", str(leaks))]
        with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"begun\n"
            # A slow machine takes as many samples, in more time.
            samples = soak.watch(process, 3.0, 0.05)
            assert process.poll() is None
            process.kill()
        assert soak.judged(samples)["growing"] == growing, samples


def test_a_process_that_ends_ends_the_watch():
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1)"]) as one:
        assert soak.watch(one, 60.0, 0.01)


@pytest.mark.slow
def test_a_training_is_watched(tmp_path):
    """For a minute, in which what grows is not told from what begins."""
    line = [sys.executable, soak.__file__, "--hours=0.015", "--every=0.5"]
    done = subprocess.run(
        [*line, f"--out={tmp_path / 'soak.json'}"],
        capture_output=True,
        text=True,
        timeout=900,
    )
    row = json.loads((tmp_path / "soak.json").read_text())
    assert row["steps"] > 10 and min(row["files"]["least"]) > 3, row
    assert "status 130" in done.stdout, done.stderr
