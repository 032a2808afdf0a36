"""Do the intervals of `metainit.evaluation.intervals` cover as often as they say?

    python benchmarks/coverage.py [--tables 2000] [--seed 0]

Simulates accuracies [seeds, episodes] of known mean, with variances measured from
benchmarks/results/quickstart-seed*.jsonl, and writes a JSON line for each setting to
benchmarks/results/coverage.jsonl:

* episodes: one training run; episodes are binomial counts with a beta-distributed
  difficulty, as skewed as accuracies near 1 are;
* seeds: 3, 5, 10 training runs on the same episodes, on episodes of their own, and with
  variances other than the measured ones; for comparison also Student's interval of the
  seeds' means and the percentile bootstrap over seeds;
* datasets: the mean over two data sets;
* equal: two initialisations that differ by nothing but their training runs; how often
  they are called different;
* planted: a difference of 2 points, 3 and 5 seeds, 600 paired episodes; how often it is
  found.

The files say how a pair's difference varies over episodes in one run and how its mean
varies over runs, but not how much of the former all runs share: `shared` is that part
of the variance, at 0, a half and 1.
"""

import argparse
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

from metainit.evaluation import intervals, metrics

RESULTS = pathlib.Path(__file__).parent / "results"
EPISODES, QUERIES = 600, 25  # QUERIES: of a quickstart episode
PAIR = ("meta-learned from pretrained", "joint pretraining")


class Spread(NamedTuple):
    """Standard deviations of an accuracy, or of a paired difference of two.

    Attributes:
      seed: of its mean over training runs.
      episode: over episodes within one run.
    """

    seed: float
    episode: float


def measured() -> dict[str, Any]:
    """Spreads of the quickstart's runs."""
    accuracy, within, differences, paired = [], [], [], []
    for path in sorted(RESULTS.glob("quickstart-seed*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        of_init = {}
        for row in rows:
            if row.get("metric") == "accuracy" and row["chosen"]:
                if row["head"] == "prototype":
                    of_init[row["init"]] = row["value"]
                if (row["init"], row["head"]) == (PAIR[0], "prototype"):
                    within.append(_deviation(row))
            elif row.get("metric") == "accuracy_difference":
                if row["other_init"] == PAIR[1]:
                    paired.append(_deviation(row))
        accuracy.append(of_init[PAIR[0]])
        differences.append(of_init[PAIR[0]] - of_init[PAIR[1]])
    return {
        "runs": len(accuracy),
        "accuracy": float(np.mean(accuracy)),
        "of_accuracy": Spread(float(np.std(accuracy, ddof=1)), _quadratic(within)),
        # The largest of the pairs, so that power is not flattered.
        "of_difference": Spread(float(np.std(differences, ddof=1)), max(paired)),
    }


def _deviation(row: dict[str, Any]) -> float:
    """The standard deviation over episodes behind a 95 % interval."""
    return float((row["high"] - row["low"]) / 2 / 1.96 * np.sqrt(row["n"]))


def _quadratic(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def table(
    rng: np.random.Generator,
    seeds: int,
    episodes: int,
    spread: Spread,
    shared: float,
) -> np.ndarray:
    """Normal accuracies [seeds, episodes] of mean 0; seeds vary by `spread.seed`."""
    common = rng.normal(0, spread.episode * shared**0.5, (1, episodes))
    own = rng.normal(0, spread.episode * (1 - shared) ** 0.5, (seeds, episodes))
    return rng.normal(0, spread.seed, (seeds, 1)) + common + own


def counts(rng: np.random.Generator, mean: float, deviation: float) -> np.ndarray:
    """Accuracies [EPISODES] that are binomial counts of beta-distributed chances."""
    noise = mean * (1 - mean) / QUERIES
    variance = max((deviation**2 - noise) / (1 - 1 / QUERIES), 1e-8)
    total = mean * (1 - mean) / variance - 1  # of the beta distribution's parameters
    chances = rng.beta(mean * total, (1 - mean) * total, EPISODES)
    return rng.binomial(QUERIES, chances) / QUERIES


def share(hit: Callable[[], bool], tables: int) -> float:
    return sum(hit() for _ in range(tables)) / tables


def covers(low: float, high: float, truth: float = 0.0) -> bool:
    return low <= truth <= high


def bootstrap_covers(rng: np.random.Generator, values: np.ndarray) -> bool:
    """The percentile bootstrap over seeds, which is what this module avoids."""
    means = values.mean(1)
    drawn = rng.choice(means, (1000, len(means))).mean(1)
    return covers(*np.percentile(drawn, [2.5, 97.5]))


def student_covers(values: np.ndarray) -> bool:
    return covers(*metrics.mean_interval(values.mean(1))[1:])


def simulate(tables: int, seed: int) -> Iterator[dict[str, Any]]:
    """A JSON row for each setting."""
    found = measured()
    rng = np.random.default_rng(seed)
    yield {"case": "measured", **found, "scipy": scipy.__version__}
    about = {"tables": tables, "seed": seed}

    deviation = found["of_accuracy"].episode
    for mean in (found["accuracy"], 0.6):

        def one_run(mean: float = mean) -> bool:
            values = counts(rng, mean, deviation if mean > 0.9 else 0.12)
            return covers(*intervals.over_seeds([values[None]])[1:3], mean)

        yield about | {
            "case": "episodes",
            "mean": mean,
            "coverage": share(one_run, tables),
        }

    spreads = {
        "measured accuracy": found["of_accuracy"],
        "measured difference": found["of_difference"],
        "seeds vary little": Spread(0.0005, 0.05),
        "seeds vary much": Spread(0.02, 0.05),
    }
    for name, spread in spreads.items():
        for seeds in (3, 5, 10):
            for shared in (0.0, 0.5, 1.0):
                hits = np.zeros(3)
                for _ in range(tables):
                    values = table(rng, seeds, EPISODES, spread, shared)
                    interval = intervals.over_seeds([values])
                    hits += (
                        covers(interval.low, interval.high),
                        student_covers(values),
                        bootstrap_covers(rng, values),
                    )
                coverage, student, bootstrap = hits / tables
                yield about | {
                    "case": "seeds, same episodes",
                    "spread": name,
                    "seeds": seeds,
                    "shared": shared,
                    "coverage": coverage,
                    "students_interval_of_seed_means": student,
                    "percentile_bootstrap_over_seeds": bootstrap,
                }

            def own_episodes(spread: Spread = spread, seeds: int = seeds) -> bool:
                values = table(rng, seeds, EPISODES, spread, shared=0.0)
                return covers(*intervals.over_seeds([values], False)[1:3])

            yield about | {
                "case": "seeds, own episodes",
                "spread": name,
                "seeds": seeds,
                "coverage": share(own_episodes, tables),
            }

    for seeds in (3, 5, 10):

        def two_sets(seeds: int = seeds) -> bool:
            spread = found["of_accuracy"]
            run = rng.normal(0, spread.seed, (seeds, 1))  # good on both, or on neither
            rest = spread._replace(seed=spread.seed / 2)
            tables = [run + table(rng, seeds, EPISODES, rest, 0.5) for _ in range(2)]
            return covers(*intervals.over_seeds(tables)[1:3])

        yield about | {
            "case": "datasets",
            "seeds": seeds,
            "coverage": share(two_sets, tables),
        }

    spread = found["of_difference"]
    for case, effect in (("equal", 0.0), ("planted", 0.02)):
        for seeds in (3, 5, 10) if case == "equal" else (3, 5):
            for shared in (0.0, 0.5, 1.0):
                for factor in (1, 3):

                    def called(
                        seeds: int = seeds,
                        shared: float = shared,
                        effect: float = effect,
                        factor: int = factor,
                    ) -> bool:
                        wider = spread._replace(seed=factor * spread.seed)
                        first = effect + table(rng, seeds, EPISODES, wider, shared)
                        second = np.zeros_like(first)
                        result = intervals.compare({"x": first}, {"x": second})
                        return bool(result["x"].different)

                    yield about | {
                        "case": case,
                        "effect": effect,
                        "seeds": seeds,
                        "shared": shared,
                        "seed_deviation": factor * spread.seed,
                        "called_different": share(called, tables),
                    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=pathlib.Path, default=RESULTS / "coverage.jsonl")
    args = parser.parse_args()
    with args.out.open("w") as file:
        for row in simulate(args.tables, args.seed):
            plain = {
                k: x._asdict() if isinstance(x, Spread) else x for k, x in row.items()
            }
            print(json.dumps(plain), flush=True)
            file.write(json.dumps(plain) + "\n")


if __name__ == "__main__":
    main()
