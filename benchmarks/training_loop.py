"""Compares the rate of the whole training loop with that of the bare meta-step.

    python benchmarks/training_loop.py [CONFIG ...] [--steps 200] [--rounds 7]

Meta-iterations of each config are taken in three ways by turns, `steps` at a time:

- bare: on one batch on the device, each handed over when the one before is done;
- in the loop, which draws batches, checks, logs every 20 steps and writes event files;
- one at a time, without drawing the next batch meanwhile.

Medians over the rounds are printed as JSON. Compilation, validation and checkpoints are
not timed.
"""

import argparse
import json
import pathlib
import statistics
import sys
import tempfile
import time

import jax

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import compare_methods  # noqa: E402
from metainit.experiments import configs  # noqa: E402
from metainit.runtime import devices  # noqa: E402
from metainit.training.loop import fit  # noqa: E402
from metainit.training.session import Intervals, Run  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("configs", nargs="*", default=["configs/quickstart.py"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    for name in args.configs:
        print(json.dumps(measured(name, args.steps, args.rounds)), flush=True)


def measured(name: str, steps: int, rounds: int) -> dict:
    """Times each way of taking `steps` steps of a config, by turns."""
    config = configs.typed(configs.load(name))
    programs = compare_methods.compiled(config, compare_methods.data_of(config))
    meta = programs.meta
    batch = jax.device_put(meta.batches(0))

    def bare() -> float:
        state, before = meta.state, None
        begin = time.perf_counter()
        for _ in range(steps):
            state, metrics = meta.program.update(state, batch, meta.key)
            jax.block_until_ready(before)
            before = metrics
        jax.block_until_ready(state)
        return time.perf_counter() - begin

    def one_at_a_time() -> float:
        state = meta.state
        begin = time.perf_counter()
        for step in range(steps):
            drawn = meta.batches(step)
            state, metrics = meta.program.update(state, drawn, meta.key)
            jax.tree.map(jax.device_get, jax.block_until_ready(metrics))
        return time.perf_counter() - begin

    def loop() -> float:
        ended = []

        def validate(params) -> float:
            ended.append(time.perf_counter())
            return 0.0

        with tempfile.TemporaryDirectory() as folder:
            run = Run(
                name="loop",
                folder=pathlib.Path(folder),
                update=meta.program.update,
                batch=meta.batches,
                state=meta.state,
                steps=steps,
                tasks=config.meta_batch,
                every=Intervals(20, 10**9, 10**9),
                data=lambda step: [x.name for x in meta.batches.sources_of(step)],
            )
            begin = time.perf_counter()
            fit(run, meta.key, validate, lambda: float("inf"))
        return ended[0] - begin

    ways = {"bare": bare, "loop": loop, "one_at_a_time": one_at_a_time}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        way()
    for _ in range(rounds):
        for way, take in ways.items():
            seconds[way].append(take() / steps)
    medians = {way: statistics.median(times) for way, times in seconds.items()}
    rounds_of_both = zip(seconds["bare"], seconds["loop"], strict=True)
    return {
        "config": name,
        "device": devices.describe(),
        "steps": steps,
        "seconds": medians,
        "rate_of_bare": statistics.median(x / y for x, y in rounds_of_both),
        "every": seconds,
    }


if __name__ == "__main__":
    main()
