"""Counts how often the intervals of `metainit.evaluation.intervals` cover the mean.

    python benchmarks/coverage.py [tables]

It simulates accuracies [seeds, episodes] of a known mean. They spread as those of the
quickstart (benchmarks/results/quickstart-seed*.jsonl.gz), and in other ways. A JSON
line for each setting goes to benchmarks/results/coverage.jsonl. It says how often 95 %
intervals cover the mean, and how often a difference is called significant. Where all
seeds meet the same episodes the interval is wrong, so that such runs are refused.
"""

import gzip
import itertools
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from metainit.evaluation import intervals

RESULTS = pathlib.Path(__file__).parent / "results"
EPISODES, QUERIES = 600, 25  # as in the quickstart
OURS, OTHER = "meta-learned from pretrained", "joint pretraining"


def measured() -> tuple[float, dict[str, tuple[float, float]]]:
    """Gives the mean accuracy, and standard deviations by the name of a spread.

    A spread has one deviation over seeds and one over episodes, within a seed.
    """
    accuracy, difference, episodes, pairings = [], [], [], []
    for path in sorted(RESULTS.glob("quickstart-seed*.jsonl.gz")):
        rows = [json.loads(line) for line in gzip.open(path)][:-1]
        heads = [row for row in rows if row["metric"] == "accuracy" and row["chosen"]]
        chosen = {row["init"]: row for row in heads if row["head"] == "prototype"}
        pairs = [row for row in rows if row.get("other_init") == OTHER]
        accuracy.append(chosen[OURS]["value"])
        difference.append(chosen[OURS]["value"] - chosen[OTHER]["value"])
        episodes.append(_deviation(chosen[OURS]))
        pairings.append(max(map(_deviation, pairs)))  # power is not flattered
    return float(np.mean(accuracy)), {
        "measured accuracy": (float(np.std(accuracy, ddof=1)), max(episodes)),
        "measured difference": (float(np.std(difference, ddof=1)), max(pairings)),
        "seeds vary little": (0.0005, 0.05),
        "seeds vary much": (0.02, 0.05),
    }


def _deviation(row: dict[str, Any]) -> float:
    """Works out the standard deviation over episodes from a 95 % interval."""
    return float((row["high"] - row["low"]) / 2 / 1.96 * np.sqrt(row["n"]))


def counts(rng: np.random.Generator, mean: float, deviation: float) -> np.ndarray:
    """Draws accuracies [1, EPISODES]: binomial counts of beta-distributed chances."""
    noise = mean * (1 - mean) / QUERIES
    variance = max((deviation**2 - noise) / (1 - 1 / QUERIES), 1e-8)
    total = mean * (1 - mean) / variance - 1  # of the beta distribution's parameters
    chances = rng.beta(mean * total, (1 - mean) * total, (1, EPISODES))
    return rng.binomial(QUERIES, chances) / QUERIES


def covered(tables: Iterable[np.ndarray], mean: float) -> dict[str, Any]:
    """Counts how often intervals cover the mean, and exclude 0 when a gain is added."""
    simulated = [intervals.over_seeds(table) for table in tables]
    low, high = np.array([interval[1:3] for interval in simulated]).T
    coverage = np.mean((low <= mean) & (mean <= high))
    return {"tables": len(simulated), "coverage": coverage} | {
        f"significant at {gain:+g}": np.mean((low + gain > 0) | (high + gain < 0))
        for gain in (0.0, 0.02)
    }


def simulate(tables: int) -> Iterator[dict[str, Any]]:
    """Yields a row for each setting."""
    rng = np.random.default_rng(0)
    accuracy, spreads = measured()
    for mean, deviation in ((accuracy, spreads["measured accuracy"][1]), (0.6, 0.12)):
        every = (counts(rng, mean, deviation) for _ in range(tables))
        row = covered(every, mean)
        yield {"case": "one run", "mean": mean, "coverage": row["coverage"]}
    for (name, spread), seeds in itertools.product(spreads.items(), (2, 3, 5, 10)):
        for case, rows in (("own episodes", seeds), ("the same episodes", 1)):
            every = (
                rng.normal(0, spread[0], (seeds, 1))
                + rng.normal(0, spread[1], (rows, EPISODES))
                for _ in range(tables)
            )
            about = {"case": case, "spread": name, "deviations": spread}
            yield about | {"seeds": seeds} | covered(every, 0.0)


if __name__ == "__main__":
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    with (RESULTS / "coverage.jsonl").open("w") as file:
        for row in simulate(tables):
            print(json.dumps(row), file=file, flush=True)
