"""Times every workload beside its peers, in turns; writes a table and raw rows.

    python -m benchmarks                    all workloads, and growth
    python -m benchmarks A C growth         some of them
    python -m benchmarks quickstart         a whole experiment by `launch.py`
    python -m benchmarks --gpu [NAMES]      on an accelerator; benchmarks/gpu.py besides
    python -m benchmarks --peers PYTHON     an interpreter that has torch

Workloads are the meta-steps of `benchmarks.workloads`. The sides are ours, the peers of
`benchmarks.theirs`, and a matrix product of 2,048 rows for the machine's peak. Each has
a process of its own, which compiles, warms up, and then takes one step when it is its
turn. So all are timed on the machine in the same state. A peer that is not installed is
a row that says so.

The table has medians of seconds, and time and memory divided by those of the fastest
peer. Working memory is the larger of the peak resident set and the compiler's plan (see
`benchmarks.timing`). Useful FLOPs (`benchmarks.ours.useful_flops`) stand by second, and
as a share of the product's. Growth is the exponent of A's time over the number of
inner steps, less the time without any, and over the number of tasks.
"""

import argparse
import datetime
import json
import math
import operator
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import Any

from benchmarks import workloads
from benchmarks.workloads import GROWTH, WORKLOADS

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ("torch.func", "learn2learn", "higher")
WHOLE = ("growth", "quickstart")


class Side:
    """A process that takes a step when it is told to."""

    def __init__(self, python: str, module: str, *words: str) -> None:
        self.seconds: list[float] = []
        self.cpu_seconds: list[float] = []
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [python, "-m", f"benchmarks.{module}", *words],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self.about = self._answer()

    def _answer(self) -> dict[str, Any]:
        if line := self._process.stdout.readline():
            return json.loads(line)
        self._process.wait()
        self._errors.seek(0)
        error = self._errors.read().strip().splitlines()
        return {"error": error[-1] if error else "ended without a word"}

    def step(self) -> None:
        """Takes a step, unless the process has ended."""
        if "error" in self.about:
            return
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        took = self._answer()
        if "error" in took:
            self.about = took
            return
        self.seconds.append(took["seconds"])
        self.cpu_seconds.append(took["cpu_seconds"])

    def close(self) -> dict[str, Any]:
        """Ends the process, and gives what it said and how long its steps took."""
        if "error" not in self.about:
            self._process.stdin.close()
            self.about |= self._answer()
        with self._process, self._errors:  # closes its streams
            pass
        if not self.seconds:
            return self.about
        median = statistics.median(self.seconds)
        rounded = [float(f"{x:.4g}") for x in self.seconds]
        cpu = float(f"{statistics.median(self.cpu_seconds):.4g}")
        timed = {"median_s": float(f"{median:.4g}"), "cpu_s": cpu, "seconds": rounded}
        return self.about | timed


def in_turns(sides: dict[str, tuple[str, ...]], runs: int) -> dict[str, dict[str, Any]]:
    """Times sides by turns, one step each; a side is the words of its command."""
    started = {name: Side(*words) for name, words in sides.items()}
    for _ in range(runs):
        for side in started.values():
            side.step()
    return {name: side.close() for name, side in started.items()}


def measured(name: str, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Gives a row for each side of a workload, ours first."""
    work, me = workloads.named(name), sys.executable
    modes = ["mixed"] if work.second_order else ["first_order"]
    modes += args.modes if work.second_order else []
    modes += ["stored"] if work.network == "head" else []
    sides = {mode: (me, "ours", name, mode) for mode in modes}
    peers = PEERS if work.second_order else PEERS[:2]
    sides |= {peer: (args.peers, "theirs", name, peer) for peer in peers}
    timed = in_turns(sides | {"product": (me, "ours", "product", "")}, args.runs)
    peak = timed.pop("product")
    rate = peak.get("useful_flops", math.nan) / peak.get("median_s", math.nan)
    finished = (timed[x] for x in peers if "median_s" in timed[x])
    best = min(finished, default={}, key=operator.itemgetter("median_s"))
    useful = timed[modes[0]].get("useful_flops")
    rows = []
    for side, row in timed.items():
        row = {"workload": name, "about": work.about, "side": side} | row
        if "median_s" in row and useful:
            row["GFLOP_s"] = round(useful / row["median_s"] / 1e9)
            row["share_of_peak"] = round(useful / row["median_s"] / rate, 2)
            row["peak_GFLOP_s"] = round(rate / 1e9)
        if "median_s" in row and best and side in modes:
            row["time_ratio"] = round(row["median_s"] / best["median_s"], 2)
            row["memory_ratio"] = round(row["working_MB"] / best["working_MB"], 2)
        rows.append(row)
    return rows


def growth(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Times A with more inner steps and more tasks; fits the exponents of growth."""
    rows = []
    for field, values in GROWTH.items():
        # Without inner steps the queries' time is left; without tasks there is none.
        zero = (0,) if field == "steps" else ()
        sides = {
            str(value): (sys.executable, "ours", f"A/{field}={value}", "mixed")
            for value in (*zero, *values)
        }
        timed = in_turns(sides, args.runs)
        constant = timed["0"]["median_s"] if zero else 0.0
        points = [
            (math.log(value), math.log(timed[str(value)]["median_s"] - constant))
            for value in values
        ]
        slope = statistics.linear_regression(*zip(*points, strict=True)).slope
        for value, row in timed.items():
            side = f"{value} {field}"
            rows.append({"workload": "growth", "about": "A", "side": side} | row)
        rows.append(
            {
                "workload": "growth",
                "about": f"exponent of A's time over {field}",
                "side": f"{slope:.3f}",
                "exponent": round(slope, 3),
            }
        )
    return rows


def quickstart(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Times the whole quickstart once, in a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["--config", "configs/quickstart.py", f"--workdir={folder}/run"]
        begin = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "launch.py", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        took = round(time.perf_counter() - begin, 1)
    row = {"workload": "quickstart", "about": "a whole run", "side": "launch.py"}
    if done.returncode:
        return [row | {"error": done.stderr.strip().splitlines()[-1]}]
    return [row | {"median_s": took, "seconds": [took]}]


def on_accelerator(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Gives the rows of benchmarks/gpu.py."""
    words = [sys.executable, "benchmarks/gpu.py", "--json", f"--runs={args.runs}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        error = done.stderr.strip().splitlines()[-1]
        return [{"workload": "gpu", "about": "", "side": "gpu.py", "error": error}]
    _, *lines = map(json.loads, done.stdout.splitlines())
    names = ("kind", "dtype", "conv", "tasks")
    return [
        {
            "workload": "gpu",
            "about": "ResNet-50, 224 px",
            "median_s": row.get("seconds"),
        }
        | {"side": " ".join(row[x] for x in names if x in row)}
        | row
        for row in lines
    ]


def processor() -> str:
    """Names the processor, and how many cores this process has."""
    names = [platform.processor() or platform.machine()]
    about = pathlib.Path("/proc/cpuinfo")
    if about.exists():
        lines = about.read_text().splitlines()
        names = [x.split(":")[1].strip() for x in lines if x.startswith("model name")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    return f"{names[0]}, {cores or os.cpu_count()} cores"


COLUMNS = {
    "workload": "",
    "side": "",
    "median_s": "seconds",
    "time_ratio": "by best peer",
    "working_MB": "MB",
    "memory_ratio": "by best peer",
    "compile_s": "compile s",
    "GFLOP_s": "GFLOP/s",
    "share_of_peak": "of peak",
}


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Makes a table in Markdown, with a row for each side."""
    lines = [
        "| " + " | ".join(COLUMNS.values()) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in rows:
        cells = [str(row.get(name, "")) for name in COLUMNS]
        if "exponent" in row:
            cells[1] = f"{row['about']}: {row['exponent']:.2f}"
        if "error" in row:
            cells[2] = row["error"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog=", ".join(f"{name}: {work.about}" for name, work in WORKLOADS.items()),
    )
    names = (*WORKLOADS, *WHOLE)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--peers", default=sys.executable, help="a Python with torch")
    parser.add_argument("--modes", nargs="*", default=[], help="more gradient modes")
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument(
        "--out", type=pathlib.Path, help="file of raw rows, a JSON line each"
    )
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"{', '.join(sorted(unknown))}: there is {', '.join(names)}")
    if not args.gpu:
        os.environ["JAX_PLATFORMS"] = "cpu"
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    about = {"machine": processor(), "date": day}
    wholes = {"growth": growth, "quickstart": quickstart}
    out = args.out or RESULTS / f"benchmarks-{day}.jsonl"
    all_rows = []
    with out.open("a") as file:
        for name in args.names or (*WORKLOADS, "growth"):
            rows = wholes[name](args) if name in wholes else measured(name, args)
            all_rows += rows
            file.writelines(json.dumps(row | about) + "\n" for row in rows)
            file.flush()
            print(table(rows), flush=True)
        if args.gpu and not args.names:
            rows = on_accelerator(args) + quickstart(args)
            all_rows += rows
            file.writelines(json.dumps(row | about) + "\n" for row in rows)
    print(f"\n{about['machine']}, {args.runs} runs in turns; raw: {out}\n")
    print(table(all_rows))


if __name__ == "__main__":
    main()
