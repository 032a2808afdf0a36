"""Takes a step for each line of input, and answers in lines of JSON."""

import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

LINUX = pathlib.Path("/proc/self/clear_refs").exists()


def resident_mb(field: str) -> float:
    """Reads VmRSS (now) or VmHWM (peak since a reset) of this process, in MB."""
    status = pathlib.Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3


def serve(step: Callable[[], Any], about: dict[str, Any]) -> None:
    """Warms up, prints `about`, and times `step` once for each line of input.

    At the end it prints `working_MB`. On Linux this is the peak resident set while
    stepping, less the resident set just before the first step. It is never less than
    the compiler's plan.
    """
    if LINUX:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before_mb = resident_mb("VmRSS")
    step()
    print(json.dumps(about), flush=True)
    for _ in sys.stdin:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        step()
        seconds = time.perf_counter() - begin
        cpu_seconds = time.process_time() - cpu_begin
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds}), flush=True)
    resident = resident_mb("VmHWM") - before_mb if LINUX else 0.0
    working = round(max(resident, about.get("planned_MB", 0)))
    print(json.dumps({"working_MB": working}), flush=True)
