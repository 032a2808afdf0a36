"""Finished runs as they lie on disk, and which of them may stand in one table."""

import itertools
import json
import operator
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metainit.evaluation.results import Evaluation, Row
from metainit.runtime import atomic, run_folder
from metainit.runtime.cost import OURS, Cost
from metainit.transfer.results import FineTuning, made_in, of_points

FILE = "finished.json"
EPISODES = "episodes.npz"
TRANSFER = "transfer.jsonl"
VALIDATION = "validation.json"  # of a run without meta-test, by initialisation

# What may differ between the seeds of one experiment.
_NO_MATTER = (
    "seed",
    "checkpoint_every",
    "log_every",
    "max_hours",
    "data.data_dir",
    "data.archive",
)


class Run(NamedTuple):
    """One finished run."""

    path: str
    seed: int
    config: dict[str, Any]  # by dotted name
    data_sets: dict[str, Evaluation]  # after the chosen steps, by name
    transfer: tuple[FineTuning, ...]  # () for none
    # Device seconds of making each fine-tuned initialisation, but for those that
    # another kind of device made.
    costs: dict[str, float]


# The seeds of each experiment, by label: "" where there is one only, else "A", "B", ...
Experiments = dict[str, list[Run]]


def asked(config: Mapping[str, Any]) -> dict[str, Any]:
    """Picks what may change in a run's config and makes more work when it does."""
    asked = {name: config[name] for name in ("iterations", "max_hours")}
    if config["transfer"]["steps"]:
        asked["transfer"] = config["transfer"]
    return json.loads(json.dumps(asked))  # tuples become lists, as when stored


def write_episodes(path: str | os.PathLike[str], evaluation: Evaluation) -> None:
    """Stores what was reached after the chosen steps, by data set and episode."""
    parts = evaluation.parts
    if all(part.held_out for part in parts):  # one meta-test set, which has no part
        parts = evaluation, *parts
    about, arrays = [], []
    for part in parts:
        metrics = list(part.rows[0].measurements)
        values = [[x.measurements[m][x.chosen] for m in metrics] for x in part.rows]
        reached: dict[str, Any] = {"setting": {}, "chosen": 0, "measurements": {}}
        rows = [x._replace(steps=(x.steps[x.chosen],), **reached) for x in part.rows]
        about.append((part._replace(rows=(), parts=(), example=None), rows, metrics))
        arrays.append({"values": np.asarray(values, np.float32)})
    atomic.write_arrays(path, about, arrays)


def read_episodes(path: str | os.PathLike[str]) -> tuple[Evaluation, ...]:
    """Reads what `write_episodes` stored; a damaged file is a ValueError."""
    again = f"delete {FILE} beside it and give the run's own line again"
    parts = []
    with atomic.reading(path, again):
        for (part, about_rows, metrics), by_row in atomic.read_arrays(path, "values"):
            rows = [
                row._replace(
                    steps=tuple(row.steps),
                    cost=Cost(*row.cost),
                    rungs=tuple((few, many) for few, many in row.rungs),
                    measurements=dict(zip(metrics, values[:, None], strict=True)),
                )
                for row, values in zip(
                    itertools.starmap(Row, about_rows), by_row, strict=True
                )
            ]
            whole = Evaluation(*part)._replace(rows=tuple(rows), parts=(), notes=())
            parts.append(whole)
    return tuple(parts)


def read(path: str | os.PathLike[str]) -> Run | str:
    """Reads a run, or says in words what is missing of it.

    Raises:
      ValueError: no folder of a run, or one without accuracies by episode.
    """
    path = pathlib.Path(path)
    if not (path / "config.json").exists():
        raise ValueError(f"{path} is no folder of a run: it has no config.json")
    config = atomic.read_json(path / "config.json")
    with atomic.reading(path / "config.json"):
        kind = config.get("kind")
        settings, seed = ({}, 0) if kind else (asked(config), int(config["seed"]))
    if kind:
        raise ValueError(f"{path} is a run of kind {kind}, without episodes")
    if not (path / FILE).exists():
        return f"{path}: not finished, it has no results; the run's own line goes on"
    if atomic.read_json(path / FILE) != settings:
        return f"{path}: finished with other settings and then begun again"
    points = atomic.read_rows(path / TRANSFER) if "transfer" in settings else []
    with atomic.reading(path / TRANSFER):
        transfer = fine_tunings(points)
        costs = made_in(transfer)
    return Run(
        path=str(path),
        seed=seed,
        config=run_folder.flat(config),
        data_sets={x.name: x for x in read_episodes(path / EPISODES)},
        transfer=transfer,
        costs=costs,
    )


def fine_tunings(rows: Sequence[dict[str, Any]]) -> tuple[FineTuning, ...]:
    """Joins rows of `transfer.jsonl`, where those of a fine-tuning are together."""
    line = operator.itemgetter("dataset", "init", "head")
    runs = [list(points) for _, points in itertools.groupby(rows, line)]
    return tuple(of_points(points, points[0]["init"] in OURS) for points in runs)


def check(runs: Sequence[Run]) -> None:
    """Refuses runs of different protocols or data in one line, by a ValueError."""
    transfer = {run.path: _settings(run, "transfer.") for run in runs if run.transfer}
    # What makes accuracies comparable.
    protocol = {run.path: _settings(run, "data.", "task.", "evaluate.") for run in runs}
    for run in runs:
        protocol[run.path].pop("evaluate.alphas", None)  # of making, not of measuring
        for name, part in run.data_sets.items():
            protocol[run.path][f"protocol on {name}"] = part.protocol
            protocol[run.path][f"batch_norm on {name}"] = part.batch_norm
    protocols = list(differences(protocol))
    wrong = [*(protocols or _episodes(runs)), *differences(transfer)]
    if wrong:
        raise ValueError(
            "runs of different protocols or data cannot stand in one table: "
            + "; ".join(wrong)
        )


def differences(facts: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yields a line for each fact in which runs differ, with what each path has."""
    for name in sorted({name for known in facts.values() for name in known}):
        values: dict[str, list[str]] = {}
        for path, known in facts.items():
            value = json.dumps(known[name]) if name in known else "(absent)"
            values.setdefault(value, []).append(path)
        if len(values) > 1:
            places = (f"{x} in {', '.join(paths)}" for x, paths in values.items())
            yield f"{name}: {', '.join(places)}"


def _settings(run: Run, *sections: str) -> dict[str, Any]:
    return {
        name: value
        for name, value in run.config.items()
        if name.startswith(sections) and name not in _NO_MATTER
    }


def _episodes(runs: Sequence[Run]) -> Iterator[str]:
    """Finds data sets on which a seed met several episodes, or two seeds the same."""
    for name in runs[0].data_sets:
        met = {
            run.path: (run.data_sets[name].episodes_sha256, run.seed) for run in runs
        }
        digests, seeds = map(set, zip(*met.values(), strict=True))
        if not len(seeds) == len(digests) == len(set(met.values())):
            places = (f"{x} in {path} of seed {y}" for path, (x, y) in met.items())
            yield (
                f"episodes_sha256 on {name}: {', '.join(places)}; runs of one "
                "seed meet the same episodes, and each seed its own"
            )


def group(runs: Sequence[Run]) -> tuple[Experiments, list[str]]:
    """Sorts runs into experiments, of seeds that all have; says which it left out.

    Raises:
      ValueError: a seed that is there twice, or experiments without a common seed,
        which cannot be paired.
    """
    experiments: dict[str, dict[int, Run]] = {}
    for run in runs:
        settings = _settings(run, "").items()
        same = {name: x for name, x in settings if not name.startswith("transfer.")}
        seeds = experiments.setdefault(json.dumps(same, sort_keys=True), {})
        twin = seeds.setdefault(run.seed, run)
        if twin is not run:
            raise ValueError(
                f"{twin.path} and {run.path} are one experiment with one "
                f"seed={run.seed}; give one of them"
            )
    common = sorted(set.intersection(*map(set, experiments.values())))
    if not common:
        seeds_of_runs = ", ".join(f"{run.path} of seed {run.seed}" for run in runs)
        raise ValueError(
            f"experiments without a common seed cannot be paired: {seeds_of_runs}"
        )
    left_out = [
        f"{run.path}: left out, since not every experiment has seed {run.seed}"
        for run in runs
        if run.seed not in common
    ]
    labels = map(chr, itertools.count(ord("A"))) if len(experiments) > 1 else ("",)
    every = zip(labels, experiments.values(), strict=False)
    return {label: [seeds[x] for x in common] for label, seeds in every}, left_out
