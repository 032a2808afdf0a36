"""Profiles a meta-step, and sums its time by kind of operation.

    python -m benchmarks.operations D mixed
    python -m benchmarks.operations A first_order --steps 10

Kinds are the names that the compiler gives to its operations, without their numbers.
The name of a fusion says what it is made of. Loops and calls are left out, since their
parts are counted.
"""

import argparse
import collections
import gzip
import json
import pathlib
import re
import tempfile

import jax

from benchmarks import ours, workloads

CONTAINERS = ("while", "call", "conditional")


def by_kind(trace: pathlib.Path) -> collections.Counter[str]:
    """Sums the microseconds of a trace's compiled operations by their kind."""
    with gzip.open(trace, "rt") as file:
        events = json.load(file)["traceEvents"]
    kinds: collections.Counter[str] = collections.Counter()
    for event in events:
        if name := event.get("args", {}).get("hlo_op"):
            kind = re.sub(r"(\.(\d+|clone|remat\d*))+$", "", name)
            if kind not in CONTAINERS:
                kinds[kind] += event["dur"]
    return kinds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workload")
    parser.add_argument("mode", help="mode of the gradient")
    parser.add_argument("--steps", type=int, default=3)
    args = parser.parse_args()
    update, state, episodes = ours.program(workloads.named(args.workload), args.mode)
    key = jax.random.key(2)
    step = jax.jit(update).lower(state, episodes, key).compile()
    jax.block_until_ready(step(state, episodes, key))
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, create_perfetto_trace=True):
            for _ in range(args.steps):
                jax.block_until_ready(step(state, episodes, key))
        (trace,) = pathlib.Path(folder).rglob("perfetto_trace.json.gz")
        kinds = by_kind(trace)
    total = sum(kinds.values())
    print(f"{args.workload}, {args.mode}: {total / 1e6 / args.steps:.2f} s a step")
    for kind, microseconds in kinds.most_common(20):
        print(f"{100 * microseconds / total:5.1f} %  {kind}")


if __name__ == "__main__":
    main()
