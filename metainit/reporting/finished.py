"""Finished runs as they lie on disk, and which of them may stand in one table."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from metainit.reporting import paired
from metainit.reporting.paired import PerEpisode
from metainit.runtime import run_folder
from metainit.transfer.results import FineTuning

FILE = "finished.json"
TRANSFER = "transfer.jsonl"
VALIDATION = "validation.json"  # of a run without meta-test, by initialisation

# What may differ between the seeds of one experiment, besides the seed.
_NO_MATTER = (
    "checkpoint_every",
    "log_every",
    "max_hours",
    "data.data_dir",
    "data.archive",
    "evaluate.manifest",
    "transfer.price_per_hour",
)
# What makes accuracies of different runs comparable.
_PROTOCOL = ("data", "task", "evaluate", "transfer")


class Run(NamedTuple):
    """One finished run.

    Attributes:
      path: its folder.
      config: its settings by dotted name.
      sets: accuracies by episode, by name of the data set.
      transfer: its fine-tunings; () for none.
      costs: device seconds of making each initialisation, where it was fine-tuned.
    """

    path: pathlib.Path
    config: dict[str, Any]
    sets: dict[str, PerEpisode]
    transfer: tuple[FineTuning, ...]
    costs: dict[str, float]

    @property
    def seed(self) -> int:
        """The seed of training."""
        return int(self.config["seed"])


class Group(NamedTuple):
    """Seeds of one experiment: runs whose configs differ in nothing else.

    Attributes:
      label: "" where there is one group only, else "A", "B", ...
      runs: by seed.
    """

    label: str
    runs: tuple[Run, ...]


def asked(config: Mapping[str, Any]) -> dict[str, Any]:
    """What may change in a run's config and makes more work when it does."""
    asked = {name: config[name] for name in ("iterations", "max_hours")}
    transfer = config.get("transfer", {})
    if transfer.get("steps"):
        asked["transfer"] = transfer
    return json.loads(json.dumps(asked))  # tuples become lists, as when stored


def read(path: str | os.PathLike[str]) -> Run | str:
    """A run, or in words what is missing of it.

    Raises:
      ValueError: no folder of a run, or one without accuracies by episode.
    """
    path = pathlib.Path(path)
    if not (path / "config.json").exists():
        raise ValueError(f"{path} is no folder of a run: it has no config.json")
    config = json.loads((path / "config.json").read_text())
    if kind := config.get("kind"):
        raise ValueError(f"{path} is a run of kind {kind}, without episodes")
    mark = path / FILE
    if not mark.exists():
        return f"{path}: not finished, it has no results; the run's own line goes on"
    if json.loads(mark.read_text()) != asked(config):
        return f"{path}: finished with other settings and then begun again"
    if not (path / paired.FILE).exists():
        raise ValueError(
            f"{path} has no {paired.FILE}, so its episodes cannot be paired; delete "
            f"{FILE} in it and give the run's own line again"
        )
    fine_tunings, costs = _transfer(path) if "transfer" in asked(config) else ((), {})
    return Run(
        path,
        run_folder.flat(config),
        {one.dataset: one for one in paired.read(path / paired.FILE)},
        fine_tunings,
        costs,
    )


def check(found: Sequence[Run]) -> None:
    """Refuses runs that must not stand in one table.

    Raises:
      ValueError: in one line, naming every difference of protocol or data.
    """
    first = found[0]
    fine_tuned = next((run for run in found if run.transfer), None)
    wrong: list[str] = []
    for run in found[1:]:
        names = sorted(first.config.keys() | run.config.keys())
        for name in names:
            if not _under(name, _PROTOCOL) or _under(name, _NO_MATTER):
                continue
            against = first
            if _under(name, ("transfer",)):
                if not (fine_tuned and run.transfer):
                    continue
                against = fine_tuned
            old, new = against.config.get(name), run.config.get(name)
            if old != new:
                wrong.append(f"{name}: {old} in {against.path}, {new} in {run.path}")
        for name in sorted(first.sets.keys() | run.sets.keys()):
            one, other = first.sets.get(name), run.sets.get(name)
            if one is None or other is None:
                wrong.append(f"{name} is in {(first if one else run).path} only")
                continue
            for field in ("protocol", "batch_norm", "episodes_sha256"):
                old, new = getattr(one, field), getattr(other, field)
                if old != new:
                    wrong.append(
                        f"{field} on {name}: {old} in {first.path}, {new} in {run.path}"
                    )
    if wrong:
        raise ValueError(
            "runs of different protocols or data cannot stand in one table: "
            + "; ".join(dict.fromkeys(wrong))
        )


def group(found: Sequence[Run]) -> tuple[tuple[Group, ...], tuple[str, ...]]:
    """Runs sorted into experiments, of seeds that all of these have.

    Returns:
      The experiments; in words, which runs are left out, of other seeds.

    Raises:
      ValueError: a seed that is there twice, or experiments without a common seed,
        which cannot be paired.
    """
    groups: dict[str, dict[int, Run]] = {}
    for run in found:
        same = {k: v for k, v in run.config.items() if _of_experiment(k)}
        of_group = groups.setdefault(json.dumps(same, sort_keys=True), {})
        if run.seed in of_group:
            raise ValueError(
                f"{of_group[run.seed].path} and {run.path} are one experiment with one "
                f"seed={run.seed}; give one of them"
            )
        of_group[run.seed] = run
    common = sorted(set.intersection(*map(set, groups.values())))
    labels = [chr(ord("A") + n) for n in range(len(groups))]
    if not common:
        told = "; ".join(
            f"{label} ({', '.join(str(run.path) for run in of_group.values())}) has "
            f"seed {', '.join(map(str, sorted(of_group)))}"
            for label, of_group in zip(labels, groups.values(), strict=True)
        )
        raise ValueError(
            f"experiments without a common seed cannot be paired: {told}; give the "
            "same seeds of each"
        )
    left_out = tuple(
        f"{of_group[seed].path}: left out, since not every experiment has seed {seed}"
        for of_group in groups.values()
        for seed in sorted(of_group.keys() - set(common))
    )
    return tuple(
        Group(label if len(groups) > 1 else "", tuple(of_group[s] for s in common))
        for label, of_group in zip(labels, groups.values(), strict=True)
    ), left_out


def differences(found: Sequence[Run]) -> Iterator[str]:
    """A line for each setting in which the runs differ, with what each has."""
    for name in sorted({name for run in found for name in run.config}):
        values: dict[str, list[str]] = {}
        for run in found:
            value = json.dumps(run.config.get(name, "(absent)"))
            values.setdefault(value, []).append(str(run.path))
        if len(values) > 1:
            told = "; ".join(f"{v} in {', '.join(p)}" for v, p in values.items())
            yield f"{name}: {told}"


def _of_experiment(name: str) -> bool:
    return name != "seed" and not _under(name, (*_NO_MATTER, "transfer"))


def _under(name: str, places: Sequence[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)


def _transfer(path: pathlib.Path) -> tuple[tuple[FineTuning, ...], dict[str, float]]:
    lines = (path / TRANSFER).read_text().splitlines()
    found: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    costs: dict[str, float] = {}
    for row in map(json.loads, lines):
        found.setdefault((row["dataset"], row["init"], row["head"]), []).append(row)
        costs[row["init"]] = row["init_device_seconds"]
    fine_tunings = tuple(
        FineTuning(
            *key,
            rows[0]["setting"],
            rows[0]["validation_accuracy"],
            tuple(rows),
        )
        for key, rows in found.items()
    )
    return fine_tunings, costs
