"""Grid search of config fields on meta-validation; meta-test is never touched.

    python benchmarks/sweep.py configs/quickstart.py --out FILE.jsonl \
        --set evaluate.validation_episodes=300 \
        --grid inner.learning_rate=0.03,0.1,0.3 --grid inner.steps=1,3

Appends a line a trial and initialisation: the fields that were set, the best
meta-validation accuracy, device seconds. Trials whose line stands there are skipped.
"""

import argparse
import ast
import importlib.util
import itertools
import json
import pathlib
import tempfile
from typing import Any

from ml_collections import ConfigDict

from metainit.train import train
from metainit.writer import read_metrics

RUNS = ("joint", "meta", "meta_from_pretrained")


def load(path: str) -> ConfigDict:
    """The config of "FILE.py" or "FILE.py:VARIANT"."""
    file, _, variant = path.partition(":")
    spec = importlib.util.spec_from_file_location("experiment", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant) if variant else module.get_config()


def literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--grid", action="append", default=[])
    args = parser.parse_args()
    names = [axis.split("=")[0] for axis in args.grid]
    values = [axis.split("=")[1].split(",") for axis in args.grid]
    fixed = dict(item.split("=", 1) for item in args.set)
    done = args.out.read_text().splitlines() if args.out.exists() else []
    seen = [json.loads(line)["fields"] for line in done]
    for choice in itertools.product(*values):
        fields = fixed | dict(zip(names, choice, strict=True))
        if fields in seen:
            continue
        config = load(args.config)
        config.evaluate.episodes = 0
        config.update_from_flattened_dict({k: literal(v) for k, v in fields.items()})
        with tempfile.TemporaryDirectory() as folder:
            workdir = pathlib.Path(folder) / "run"
            train(config, workdir)
            with args.out.open("a") as out:
                for run in RUNS:
                    if not (workdir / run).exists():
                        continue
                    rows = read_metrics(workdir / run)
                    accuracies = [
                        row["validation/accuracy"]
                        for row in rows
                        if "validation/accuracy" in row
                    ]
                    losses = [row["train/loss"] for row in rows if "train/loss" in row]
                    line = {
                        "fields": fields,
                        "run": run,
                        "best_validation": round(max(accuracies), 4),
                        "last_validation": round(accuracies[-1], 4),
                        "last_loss": round(losses[-1], 4),
                    }
                    out.write(json.dumps(line) + "\n")
                    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
