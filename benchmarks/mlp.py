"""Compares the two perceptrons of configs/mlp.py.

    python benchmarks/mlp.py --out benchmarks/results/mlp.txt

It trains both variants with every seed and prints a table of test results. Each
training has a folder of its own inside --workdir, and the same line resumes it.
"""

import argparse
import json
import pathlib
import runpy
import statistics

from metainit.experiments.meta_learning import train
from metainit.runtime import devices

CONFIG = pathlib.Path(__file__).parents[1] / "configs" / "mlp.py"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workdir", type=pathlib.Path, default="runs/mlp")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    module = runpy.run_path(str(CONFIG))
    lines = [
        f"Ten scripts, glyphs of 28x28; {devices.describe()}",
        f"{'variant':10}{'seed':>5}{'accuracy':>12}{'F1':>8}{'loss':>8}{'epochs':>8}",
    ]
    for variant in module["VARIANTS"]:
        measured: dict[str, list[float]] = {"accuracy": [], "f1": [], "loss": []}
        for seed in args.seeds:
            config = module["get_config"](variant)
            config.seed = seed
            workdir = args.workdir / f"{variant}-{seed}"
            train(config, workdir)
            results = (workdir / "results.jsonl").read_text().splitlines()
            *rows, summary = map(json.loads, results)
            for row in rows:
                measured[row["metric"]].append(row["value"])
            lines.append(_line(variant, str(seed), *(x[-1] for x in measured.values())))
            lines[-1] += f"{summary['epoch']:8.0f}"
        means = (statistics.mean(x) for x in measured.values())
        lines.append(_line(variant, "mean", *means))
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text)


def _line(variant: str, seed: str, accuracy: float, f1: float, loss: float) -> str:
    return f"{variant:10}{seed:>5}{accuracy:12.2%}{f1:8.2%}{loss:8.3f}"


if __name__ == "__main__":
    main()
