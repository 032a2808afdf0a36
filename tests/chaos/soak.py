"""Trains for hours and looks whether memory, open files or threads grow.

python tests/chaos/soak.py --hours 2 --out soak.json

A training by launch.py, with validations, checkpoints and logs, is sampled from /proc.
After a warm-up of a sixth of the time, the rest is cut into stretches of equal length:
memory's slope is that of their means, by least squares. The fewest files and threads
in the second half of them must be no more than in the first, since checkpoints open
some for a while. In the warm-up programs are compiled, pools get their threads, and
the allocator meets every size. The row of JSON is there from the first minutes on, and
written again.
"""

import argparse
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

CONFIG = """
import pathlib, tiny

def get_config():
    config = tiny.config(pathlib.Path("images"))
    config.update(iterations=10**6, warm_start=0, max_hours=1000.0)
    config.update(log_every=10, validate_every=100, checkpoint_every=5000)
    config.joint.steps_per_iteration = 1e-4  # and so meta-learning is what lasts
    config.augment.update(shift=1, flip=True)
    config.evaluate.episodes = 0
    return config
"""
WARM_UP = 1 / 6  # of the time
STRETCHES = 20  # after it
FEWEST = 2 * STRETCHES  # samples
MOST = 1.0  # MB an hour


class Sample(NamedTuple):
    """What a process has at a moment; memory in MB."""

    minutes: float
    resident: float
    anonymous: float  # without pages of files, which the system may take away
    files: int
    threads: int


MEMORY = Sample._fields[1:3]


def sample(process: int, minutes: float) -> Sample:
    """Reads what /proc says of a process."""
    folder, values = pathlib.Path(f"/proc/{process}"), {}
    for line in (folder / "status").read_text().splitlines():
        field, _, value = line.partition(":")
        values[field] = value.split()[:1]
    memory = [int(*values[x]) * 1024 / 1e6 for x in ("VmRSS", "RssAnon")]
    files = len(os.listdir(folder / "fd"))
    return Sample(minutes, *memory, files, int(*values["Threads"]))


def watch(
    process: subprocess.Popen[bytes],
    seconds: float,
    every: float,
    tell: Callable[[Sequence[Sample]], None] = lambda samples: None,
) -> list[Sample]:
    """Samples a process for some time, or until it ends; `tell` is called with all."""
    samples: list[Sample] = []
    began = time.monotonic()
    while (now := time.monotonic() - began) < seconds and process.poll() is None:
        try:
            samples.append(sample(process.pid, now / 60))
        except (OSError, KeyError):  # of a process that has ended meanwhile
            process.wait(timeout=60)
            break
        tell(samples)
        time.sleep(every)
    return samples


def judged(samples: Sequence[Sample]) -> dict[str, Any]:
    """What the samples say: slopes of memory, what was open, what grows, a series."""
    whole = samples[-1].minutes
    warm = [x for x in samples if x.minutes < WARM_UP * whole]
    table = np.array(samples)
    stretches = np.array_split(table[len(warm) :], STRETCHES)
    means = np.array([stretch.mean(0) for stretch in stretches])
    told: dict[str, Any] = {"hours": whole / 60, "samples": len(samples)}
    told["warm_up_minutes"], growing = WARM_UP * whole, []
    for column, name in enumerate(MEMORY, start=1):
        line = stats.linregress(means[:, 0] / 60, means[:, column])
        told[f"{name}_mb_an_hour"] = float(line.slope)
        told[f"{name}_standard_error"] = float(line.stderr)
        growing += [name] if line.slope >= MOST else []
    for column, name in enumerate(("files", "threads"), start=3):
        halves = np.array_split(table[len(warm) :, column], 2)
        least = [int(half.min()) for half in halves]
        told[name] = {"least": least, "most": int(table[:, column].max())}
        growing += [name] if least[1] > least[0] else []
    early = [np.mean(x, 0) for x in np.array_split(table[: len(warm)], 4) if len(x)]
    told["series"] = [[round(float(x), 2) for x in row] for row in [*early, *means]]
    rounded = {k: round(x, 4) if isinstance(x, float) else x for k, x in told.items()}
    return {"growing": growing, **rounded}


def train(folder: pathlib.Path) -> subprocess.Popen[bytes]:
    """Starts the training in a folder, and waits until it takes steps."""
    import tiny

    tiny.draw(folder / "images")
    (folder / "soak.py").write_text(CONFIG)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "launch.py"), "--config=soak.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests"},
        stdout=(folder / "output").open("wb"),
        stderr=subprocess.STDOUT,
    )
    while not steps(folder):
        assert process.poll() is None, (folder / "output").read_text()
        time.sleep(1)
    return process


def steps(folder: pathlib.Path) -> int:
    """How many steps the training has logged, 0 for none."""
    rows = list((folder / "runs" / "soak").glob("meta/metrics.jsonl"))
    lines = rows[0].read_text().splitlines() if rows else []
    return json.loads(lines[-1])["step"] if lines else 0


def main() -> int:
    parser = argparse.ArgumentParser("soak.py", description=__doc__)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--every", type=float, default=15.0, help="seconds")
    parser.add_argument("--out", help="a file for the row of JSON")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        process = train(folder)

        def tell(samples: Sequence[Sample]) -> None:
            if given.out and len(samples) >= FEWEST:
                row = judged(samples) | {"columns": Sample._fields}
                row |= {"steps": steps(folder), "machine": platform.platform()}
                pathlib.Path(given.out).write_text(json.dumps(row) + "\n")

        try:
            samples = watch(process, 3600 * given.hours, given.every, tell)
        finally:
            process.send_signal(signal.SIGTERM)
            ended = process.wait()
        output = (folder / "output").read_text()
        print(output[-1500:])
    print(f"status {ended}, {len(samples)} samples")
    if ended != 128 + signal.SIGINT or len(samples) < FEWEST:
        return 1  # it did not last, or was not saved
    row = judged(samples)
    print(json.dumps(row))
    print(f"growing: {', '.join(row['growing']) or 'nothing'}")
    return 1 if row["growing"] else 0


if __name__ == "__main__":
    sys.exit(main())
