"""Compares `metainit finetune` with logistic regression on the same features.

    python benchmarks/finetune.py --data EXCERPTS --work FOLDER --out rows.jsonl

A row for every excerpt and split has the accuracy and log loss of the classifier that
was saved. It also has those of scikit-learn's logistic regression (C=1) on its
features, standardised and as they are. Both learn from the same images, and are judged
on the same held-out ones. Rows that exist already are kept.
"""

import argparse
import csv
import json
import pathlib
import tarfile
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import metainit


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "work", "out"):
        parser.add_argument(f"--{name}", type=pathlib.Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    lines = args.out.read_text().splitlines() if args.out.exists() else []
    rows = [json.loads(line) for line in lines]
    done = {(row["data"], row["seed"]) for row in rows}
    for path in sorted(args.data.glob("*-short*.tar")):
        name = path.name.partition("-")[0]
        if not (args.work / name).exists():
            with tarfile.open(path) as archive:
                archive.extractall(args.work, filter="data")
        for seed in args.seeds:
            if (name, seed) not in done:
                rows.append({"data": name, "seed": seed} | _row(args.work, name, seed))
                with args.out.open("a") as file:
                    file.write(json.dumps(rows[-1]) + "\n")
    _print(rows)


def _row(work: pathlib.Path, name: str, seed: int) -> dict[str, object]:
    out, begin = work / f"{name}-{seed}", time.perf_counter()
    cache = {"data_dir": work / "cache"}
    learned = metainit.finetune(work / name, out, seed=seed, **cache)
    seconds = time.perf_counter() - begin
    report = json.loads((out / "report.json").read_text())
    with (out / "held_out.csv").open() as file:
        label_of = {row["file"]: row["label"] for row in csv.DictReader(file)}
    files = sorted((work / name).glob("*/*.jpg"))
    is_test = np.array([str(file) in label_of for file in files])
    labels = np.array([learned.class_names.index(file.parent.name) for file in files])
    features = learned.features(files)
    chosen = {x: report[x] for x in ("chosen", "accuracy", "loss", "held_out_images")}
    row = {"seconds": seconds, "images": int((~is_test).sum()), **chosen}
    plain = LogisticRegression(max_iter=1000)
    for key, model in (
        ("standardised", make_pipeline(StandardScaler(), plain)),
        ("plain", plain),
    ):
        with threadpool_limits(1):
            model.fit(features[~is_test], labels[~is_test])
        chances = model.predict_proba(features[is_test])
        right = labels[is_test]
        row[f"{key}_accuracy"] = float(np.mean(chances.argmax(-1) == right))
        losses = np.log(chances[np.arange(len(right)), right])
        row[f"{key}_loss"] = -float(losses.mean())
    return row


def _print(rows: list[dict]) -> None:
    print("data           images  finetune         LR, standardised  LR, plain")
    for name in dict.fromkeys(row["data"] for row in rows):
        splits = [row for row in rows if row["data"] == name]
        cells = [f"{name:14} {splits[0]['images']:6}"]
        for key in ("", "standardised_", "plain_"):
            accuracy, loss = (
                np.mean([row[key + x] for row in splits]) for x in ("accuracy", "loss")
            )
            cells.append(f"{100 * accuracy:5.1f} % {loss:.3f}   ")
        print("  ".join(cells), f"{splits[0]['seconds']:.0f} s")
    for key in ("standardised_", "plain_"):
        points = [100 * (row["accuracy"] - row[key + "accuracy"]) for row in rows]
        losses = [row["loss"] - row[key + "loss"] for row in rows]
        print(
            f"against LR, {key[:-1]}: {np.mean(points):+.2f} points on average, least "
            f"{min(points):+.2f}; log loss {np.mean(losses):+.3f}, most "
            f"{max(losses):+.3f}"
        )


if __name__ == "__main__":
    main()
