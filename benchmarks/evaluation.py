"""What meta-test takes, and what dropping settings early costs in accuracy.

    python benchmarks/evaluation.py measure RESULTS.jsonl --config quickstart
    python benchmarks/evaluation.py once RESULTS.jsonl
    python benchmarks/evaluation.py table RESULTS.jsonl

Each seed trains once, with few iterations. Its initialisations then go through
meta-test in several ways, in turn: with the whole grid on all episodes; with settings
that are dropped early (`evaluate.rungs`) on all episodes; and as is the default, with
as many episodes as `evaluate.half_width` takes besides. Settings that two ways choose
are compared on the same episodes: what the choice costs is paired. `once` is of random
weights of the same network with group normalisation, whose head alone adapts: images
that pass through it once, or once for every episode and setting.

Measured (results/evaluation-quickstart.txt, seeds 0 to 2 of 300 iterations, two shared
cores of an EPYC): the whole grid on 600 episodes takes 52 to 63 seconds of the cores,
with settings dropped early 42 to 44, with 100 episodes for lack of time 19; by the
clock the machine was too busy. The best heads lose 0.03 points on the mean and 0.18 at
most; one of 45 rows, a zero head of joint pretraining and not its best, loses 3.6.
Where the head alone adapts, all took 4.5 seconds by the clock in place of 11.1.
"""

import argparse
import gzip
import json
import pathlib
import tempfile
import time
from typing import Any
from unittest import mock

import numpy as np

from metainit.config import parsing
from metainit.data import episode_set, loading
from metainit.evaluation import adaptation, few_shot
from metainit.evaluation.results import Evaluation
from metainit.experiments import configs, meta_learning, meta_test
from metainit.reporting.verdict import best_heads
from metainit.training import initialisation
from metainit.training.method import make_method

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
ALL = {"evaluate.half_width": 0.0, "evaluate.max_share": 1.0}
WAYS: dict[str, dict[str, Any]] = {
    "whole grid": {"evaluate.rungs": 1} | ALL,
    "dropped early": ALL,
    "default": {},
}


def config_of(args: argparse.Namespace, seed: int) -> Any:
    """The config, with fewer iterations and what else was asked for."""
    config = configs.load(str(CONFIGS / f"{args.config}.py"))
    config.update(seed=seed, iterations=args.iterations)
    config.update(warm_start=args.iterations // 5, validate_every=args.iterations)
    config.outer.decay_steps = args.iterations
    if args.data_dir:
        config.data.data_dir = args.data_dir
    return config


def measure(args: argparse.Namespace) -> None:
    """Adds a row of JSON a seed, way and repeat, and one a seed, way and row."""

    def ways(config: Any, workdir: Any, *given: Any) -> Evaluation:
        for repeat in range(args.repeats):
            for way, changes in WAYS.items():
                changed = parsing.replaced(config, changes)
                with tempfile.TemporaryDirectory() as folder:
                    begin = time.perf_counter(), time.process_time()
                    found = run(changed, pathlib.Path(folder), *given)
                    end = time.perf_counter(), time.process_time()
                seconds, of_cores = np.subtract(end, begin)
                about = {"config": args.config, "seed": config.seed, "way": way}
                about |= {"repeat": repeat, "before": given[-1]}
                about |= {"seconds": seconds, "core_seconds": of_cores}
                write(about | {"episodes": found.episodes, "why": found.notes[-1]})
                if not repeat:
                    rows(about, found)
        return found

    def rows(about: dict[str, Any], found: Evaluation) -> None:
        best = best_heads(found.rows)
        for row in found.rows:
            accuracy = row.measurements["accuracy"][row.chosen].astype(np.float64)
            write(
                {name: about[name] for name in ("config", "seed", "way")}
                | {"init": row.init, "head": row.head, "setting": row.setting}
                | {"steps": row.steps[row.chosen], "rungs": row.rungs}
                | {
                    "best": best[row.init] is row,
                    "accuracy": np.round(accuracy, 5).tolist(),
                }
            )

    def write(row: dict[str, Any]) -> None:
        args.out.write(json.dumps(row, default=float) + "\n")
        args.out.flush()

    run = meta_test.run
    for seed in args.seeds:
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(meta_test, "run", ways),
        ):
            meta_learning.train(config_of(args, seed), folder)


def once(args: argparse.Namespace) -> None:
    """Adds a row of JSON a repeat, with features made once and for each episode."""
    config = config_of(args, args.seeds[0])
    config.model.norm, config.method.algorithm = "group", "anil"
    typed = configs.typed(config)
    roles = loading.load(typed.data)
    init = initialisation.random(typed.network, typed.seed)
    init = initialisation.fitted(init, loading.images_used(roles.train))
    samples = episode_set.draw_roles(typed.task, typed.evaluate, roles, typed.seed)
    evaluators = {
        name: adaptation.evaluators(
            make_method(typed, init.model._replace(alone=alone), init.preprocess),
            typed.evaluate.steps,
        )
        for name, alone in (("once", True), ("each time", False))
    }
    for repeat in range(args.repeats):
        for name, evaluator_of in evaluators.items():
            begin = time.perf_counter()
            few_shot.evaluate(typed.evaluate, {"random": init}, samples, evaluator_of)
            seconds = time.perf_counter() - begin
            about = {"config": f"{args.config}, head alone", "features": name}
            row = about | {"repeat": repeat, "took": seconds}
            args.out.write(json.dumps(row) + "\n")
            args.out.flush()


def table(args: argparse.Namespace) -> None:
    """Prints seconds of each way, and what a choice made early costs."""
    opened = gzip.open if args.rows.endswith(".gz") else open
    with opened(args.rows, "rt") as file:
        rows = [json.loads(line) for line in file]
    print("| config | seed | before, s | way | meta-test, s | cores' s | episodes |")
    print("|---|---|---:|---|---:|---:|---:|")
    timed = [row for row in rows if "seconds" in row]
    for config, seed, way in dict.fromkeys(map(_key, timed)):
        of = [row for row in timed if _key(row) == (config, seed, way)]
        seconds, of_cores = (
            float(np.median([row[name] for row in of]))
            for name in ("seconds", "core_seconds")
        )
        print(
            f"| {config} | {seed} | {of[0]['before']:.0f} | {way} | {seconds:.1f} "
            f"| {of_cores:.1f} | {of[0]['episodes']} |"
        )
    measured = {
        (*_key(row), row["init"], row["head"]): np.array(row["accuracy"])
        for row in rows
        if "init" in row
    }
    best = {(*_key(row), row["init"]): row for row in rows if row.get("best")}
    print("\n| config | seed | initialisation | whole grid, % | dropped early, % | |")
    print("|---|---|---|---:|---:|---:|")
    costs = []
    for config, seed, way, init in best:
        if way != "whole grid":
            continue
        values = []
        for which in ("whole grid", "dropped early"):
            head = best[config, seed, which, init]["head"]
            values.append(100 * measured[config, seed, which, init, head].mean())
        costs.append(values[1] - values[0])
        words = " | ".join(f"{value:.2f}" for value in values)
        print(f"| {config} | {seed} | {init} | {words} | {costs[-1]:+.2f} |")
    every = [
        100 * (values - measured[config, seed, "whole grid", init, head]).mean()
        for (config, seed, way, init, head), values in measured.items()
        if way == "dropped early"
    ]
    for name in dict.fromkeys(row["features"] for row in rows if "features" in row):
        of = [row for row in rows if row.get("features") == name and row["repeat"]]
        took = np.median([row["took"] for row in of])
        print(f"\n{of[0]['config']}, features {name}: {took:.1f} s")
    print(
        f"\nBest heads: {np.mean(costs):+.3f} points on the mean, {min(costs):+.2f} at "
        f"worst. All {len(every)} rows: {np.mean(every):+.3f}, {min(every):+.2f}."
    )


def _key(row: dict[str, Any]) -> tuple[str, int, str]:
    return row["config"], row["seed"], row["way"]


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(required=True)
    for command in (measure, once):
        of_command = commands.add_parser(command.__name__)
        of_command.set_defaults(command=command)
        add = of_command.add_argument
        add("out", type=argparse.FileType("a"), help="rows are added to it")
        add("--config", default="quickstart", choices=("quickstart", "omniglot"))
        add("--seeds", type=int, nargs="+", default=[0, 1, 2])
        add("--iterations", type=int, default=300)
        add("--repeats", type=int, default=3)
        add("--data_dir", default="")
    of_table = commands.add_parser("table")
    of_table.set_defaults(command=table)
    of_table.add_argument("rows", help="that were added, zipped or not")
    args = parser.parse_args()
    args.command(args)


if __name__ == "__main__":
    main()
