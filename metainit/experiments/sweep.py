"""Searches for settings by many runs, and chooses between them on meta-validation.

A search tries every combination of values, or draws from ranges. A field is
"NAME=VALUE,VALUE,...", or "NAME=LOW..HIGH" for a random search. That draws uniformly
in the logarithm, since rates and sizes matter by factor.
"""

import ast
import dataclasses
import itertools
import json
import math
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from metainit.config import parsing
from metainit.config.fields import ConfigError, Experiment, Search
from metainit.data import loading
from metainit.experiments import configs
from metainit.experiments.forecast import NoTimeError
from metainit.reporting import finished_runs, html, tune_report
from metainit.reporting.tune_report import Trial
from metainit.runtime import (
    atomic,
    devices,
    digest,
    progress,
    provenance,
    run_folder,
    stop,
)
from metainit.runtime.checkpoint import BEST as BEST_STATES
from metainit.runtime.checkpoint import LAST as LAST_STATES
from metainit.training.nonfinite import NonFiniteError

TRIALS, BEST = "trials.jsonl", "best.py"
_SECONDS = "seconds.json"  # the seconds spent, by folder of a trial

# These change what is measured, or are luck; those of `_OF_TRAINING` do not.
_FIXED = ("seed", "max_hours", "task", "evaluate", "transfer", "data")
_OF_TRAINING = ("data.weights", "data.rotations")

_DRAWS = 100  # a trial; after so many, there are no more settings to find

Fields = dict[str, Any]  # a setting to try: values by dotted name


Train: TypeAlias = Callable[..., str]  # `metainit.experiments.meta_learning.train`

# The experiment's fields that no trial's result depends on.
_MAY_CHANGE = ("max_hours", "log_every", "checkpoint_every", "data.data_dir")


class Axis(NamedTuple):
    """The values that one field may take, or a range from `low` to `high`, above 0.

    A range has no `values`. If both its ends are whole numbers, it gives whole numbers.
    """

    name: str
    values: tuple[Any, ...]
    low: float = 0
    high: float = 0


def parse(fields: Sequence[str]) -> tuple[Axis, ...]:
    """Reads fields such as "inner.steps=1,3" or "outer.learning_rate=1e-4..1e-2".

    It raises ValueError for a field that cannot be read or is given twice.
    """
    axes = tuple(_axis(field) for field in fields)
    names = [axis.name for axis in axes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} stands there twice; give all its values")
    if not axes:
        raise ValueError("no field to search; give some, such as ('inner.steps=1,3',)")
    return axes


def _axis(field: str) -> Axis:
    name, _, text = (part.strip() for part in field.partition("="))
    if not name or not text:
        words = "cannot be read; write NAME=VALUE,VALUE,... or NAME=LOW..HIGH"
        raise ValueError(f"{field!r} {words}")
    low, dots, high = text.partition("..")
    if dots:
        ends = literal(low), literal(high)
        numbers = all(isinstance(x, int | float) for x in ends)
        if not numbers or not 0 < ends[0] < ends[1] < math.inf:
            words = "is no range: its ends must be numbers above 0 that rise"
            raise ValueError(f"{field!r} {words}")
        return Axis(name, (), *ends)
    values = literal(f"({text},)")
    if isinstance(values, str):  # words without quotes
        values = tuple(map(literal, text.split(",")))
    # Text tells values apart, since 1 equals True; they keep their order.
    return Axis(name, tuple({repr(value): value for value in values}.values()))


def literal(text: str) -> Any:
    """Reads a Python value, or gives the text itself if it is none, as "zero"."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()


def grid(axes: Sequence[Axis]) -> list[Fields]:
    """Lists every combination, the last axis changing fastest; refuses ranges."""
    if ranges := [axis.name for axis in axes if not axis.values]:
        words = "a grid needs values; give them, or search.trials to draw"
        raise ValueError(f"{ranges[0]} is a range, and {words}")
    pairs = ([(axis.name, value) for value in axis.values] for axis in axes)
    return [dict(combination) for combination in itertools.product(*pairs)]


def draw(axes: Sequence[Axis], trials: int, seed: int) -> list[Fields]:
    """Draws different settings, fewer than `trials` where the axes give no more.

    It draws each axis independently (Bergstra & Bengio 2012, "Random Search for
    Hyper-Parameter Optimization"). A search of more trials begins with the same ones.
    """
    settings: dict[str, Fields] = {}
    for number in range(_DRAWS * trials):
        if len(settings) == trials:
            break
        # As a spawn key, the number does not mix with the words of a large seed.
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
        fields = {axis.name: _draw(axis, rng) for axis in axes}
        settings.setdefault(key(fields), fields)
    return list(settings.values())


def _draw(axis: Axis, rng: np.random.Generator) -> Any:
    if axis.values:
        return axis.values[rng.integers(len(axis.values))]
    value = math.exp(rng.uniform(math.log(axis.low), math.log(axis.high)))
    if isinstance(axis.low, int) and isinstance(axis.high, int):
        return round(value)
    return float(f"{value:.3g}")  # more digits are hard to copy


def key(fields: Fields) -> str:
    """Makes a text that tells settings apart, however they were stored."""
    return json.dumps(fields, sort_keys=True)


def settings(config: Search) -> list[Fields]:
    """Lists the settings to try; raises ConfigError for a search that cannot work."""
    search = config.search
    try:
        axes, drawn = parse(search.fields), search.trials
        planned = draw(axes, drawn, search.seed) if drawn else grid(axes)
    except ValueError as error:
        raise ConfigError(f"search.fields: {error}") from None
    for name in planned[0]:
        if name.split(".")[0] in _FIXED and name not in _OF_TRAINING:
            words = "it changes what is measured, or by how much luck"
            raise ConfigError(f"search.fields: {name} cannot be searched: {words}")
    for fields in planned:
        try:
            configs.typed(parsing.replaced(config.experiment, fields))
        except ConfigError as error:
            words, way_out = tune_report.assignments(fields), ""
            if not any(name in str(error) for name in fields):
                way_out = "; experiment.FIELD=VALUE changes a field of all trials"
            raise ConfigError(
                f"search.fields: with {words}: {error}{way_out}"
            ) from None
    return planned


def tune(
    config: Search,
    workdir: Path,
    train: Train,
    *,
    dry_run: bool = False,
    command: str = "",
) -> str:
    """Runs the trials that are not done yet, within the hours, and returns the report.

    The same call on the same folder goes on, even in the middle of a trial. It may ask
    for more hours, values or trials. A dry run returns "".

    Args:
      dry_run: print the trials and what the first would take; write nothing.
      command: the line that reproduces this, for the report.

    Raises:
      ConfigError: a setting cannot work, or the data do not allow the first trial.
        Of later trials, the report names those that the data do not allow; the same
        call tries them again.
    """
    planned = settings(config)
    print(f"{len(planned)} trials, {config.search.hours:g} hours at most")
    if dry_run:
        print("\n".join(map(tune_report.assignments, planned)))
        first = _of_trial(config, planned[0], config.search.hours)
        return train(first, workdir / "trials", dry_run=True)
    may_change = ("search", *(f"experiment.{name}" for name in _MAY_CHANGE))
    with configs.as_config_error():
        run_folder.claim(workdir, dataclasses.asdict(config), may_change=may_change)
    trials, refused = _run_all(config, planned, workdir, train)
    # Trials of earlier values count too, even if no longer asked for.
    count = len(trials.keys() | set(map(key, planned)))
    return _report(config, workdir, [*trials.values(), *refused], count, command)


def _run_all(
    config: Search, planned: Sequence[Fields], workdir: Path, train: Train
) -> tuple[dict[str, Trial], list[Trial]]:
    """Runs or reads the trials, by `key`; lists those that the data do not allow."""
    path = workdir / TRIALS
    rows = atomic.read_rows(path) if path.exists() else ()
    trials = {key(row["fields"]): Trial(**row) for row in rows}
    refused: list[Trial] = []
    for number, fields in enumerate(planned, start=1):
        if key(fields) in trials:
            continue
        stop.check()
        name = f"trial {number} of {len(planned)}"
        print(f"{name}: {tune_report.assignments(fields)}")
        try:
            with progress.Stage(name, has_bar=False):
                trial = _run(config, fields, workdir, train)
        except ConfigError as error:  # such as classes with too few images
            if not trials:
                raise
            print(f"left out: {error}")
            refused.append(Trial(fields, {}, 0.0, 0.0, (str(error),)))
            continue
        if trial is None:
            print("search.hours are spent; the same line with more of them goes on")
            break
        trials[key(fields)] = trial
        atomic.write_rows(path, (trial._asdict() for trial in trials.values()))
    return trials, refused


def _run(config: Search, fields: Fields, workdir: Path, train: Train) -> Trial | None:
    """Runs one trial, or returns None if the hours left do not suffice."""
    trial = digest.sha256(key(fields))[:10]
    folder = workdir / "trials" / trial
    path = workdir / _SECONDS
    spent = atomic.read_json(path) if path.exists() else {}
    left = 3600 * config.search.hours - sum(spent.values())
    before = spent.pop(trial, 0)  # a trial that goes on has spent these
    # A trial that would be cut short tells nothing.
    if left <= max(0, max(spent.values(), default=0) - before):
        return None
    of_trial = _of_trial(config, fields, (left + before) / 3600)
    by_search = of_trial.max_hours < config.experiment.max_hours
    begin = time.perf_counter()
    runs, notes = {}, []
    try:
        train(of_trial, folder)
        runs = atomic.read_json(folder / finished_runs.VALIDATION)
    except NonFiniteError as error:
        notes = [str(error)]
    except NoTimeError:
        if not by_search:
            raise
        return None
    finally:  # also when it is stopped
        spent[trial] = before + time.perf_counter() - begin
        atomic.write_json(path, spent)
    if by_search and any(run["out_of_time"] for run in runs.values()):
        return None
    # Curves are kept; the states of many trials would fill a disk.
    for name in (LAST_STATES, BEST_STATES):
        for states in folder.glob(f"*/{name}"):
            shutil.rmtree(states)
    for run in runs.values():
        notes += [run["stopped"]] * (run["stopped"] != "")
        notes += run["notes"]
    return Trial(
        fields=fields,
        accuracy={name: run["accuracy"] for name, run in runs.items()},
        device_seconds=sum(run["device_seconds"] for run in runs.values()),
        seconds=spent[trial],
        notes=tuple(notes),
    )


def _of_trial(config: Search, fields: Fields, hours: float) -> Experiment:
    """Makes the experiment of a trial: with a setting, without meta-test."""
    hours = min(config.experiment.max_hours, hours)
    trial = {"evaluate.episodes": 0, "transfer.steps": 0, "max_hours": hours}
    return parsing.replaced(config.experiment, fields | trial)


def _report(
    config: Search, workdir: Path, trials: Sequence[Trial], planned: int, command: str
) -> str:
    by, best_file, experiment = config.search.by, workdir / BEST, config.experiment
    measure = f"metainit train {shlex.quote(str(best_file))}"
    page = str(workdir / "report.html")
    text = tune_report.terminal(trials, planned, by, page, measure)
    winner = tune_report.best(trials, by)
    if winner is None:
        best_file.unlink(missing_ok=True)
    else:
        outcome = tune_report.outcome(trials, planned, by)
        about = f"{outcome}\n\n    {measure}\n\nWritten by: {command}\n"
        best = parsing.replaced(experiment, winner.fields)
        atomic.write_text(best_file, configs.source(best, about))
    context = {
        "title": f"metainit: search, {', '.join(loading.names(experiment.data))}",
        "command": command,
        "episodes": f"{experiment.evaluate.validation_episodes} episodes",
        "measure": measure,
        "device": devices.describe(),
        "versions": provenance.versions(),
        "config": dataclasses.asdict(config),
    }
    html.write(workdir, tune_report.page(trials, planned, by, context))
    print(text)
    return text
