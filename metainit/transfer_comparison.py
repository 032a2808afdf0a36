"""Transfer in an experiment: whole data sets, learned from every initialisation.

Every initialisation and head meets the same images in the same order, and the same grid
of rates with the same number of trials. `choose` picks a rate by trials on the classes
of meta-validation and is given no others; `measure` takes what was chosen.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from metainit import atomic, threshold, transfer, transfer_spec
from metainit.batches import hold_out
from metainit.models.model import Model
from metainit.preprocess import Preprocess
from metainit.results import Cost, FineTuning, Transfer
from metainit.sources import Roles, Source
from metainit.transfer_spec import Spec

HEADS = ("prototype", "zero")
FOLDER, TRIALS = "transfer", "transfer_trials.jsonl"

Inits = Mapping[str, tuple[Any, Cost]]


class Setup(NamedTuple):
    """What all fine-tunings of an experiment share.

    Attributes:
      model: the network body.
      preprocess: of images.
      spec: of a fine-tuning on meta-test, but for head, optimizer and rate.
      held_out: share of each class that accuracy is measured on.
      folder: below which each has a folder of its own.
    """

    model: Model
    preprocess: Preprocess
    spec: Spec
    held_out: float
    folder: pathlib.Path


class Choice(NamedTuple):
    """What one initialisation with one head does best with on meta-validation.

    Attributes:
      optimizer, learning_rate: as in `transfer.Spec`.
      accuracy: held-out, after the last step of a trial, mean over data sets.
    """

    optimizer: str
    learning_rate: float
    accuracy: float


def check(config: ConfigDict, roles: Roles) -> None:
    """Refuses data that cannot be fine-tuned on, before anything long starts.

    Raises:
      ValueError: in one line, which data set and class, or which field.
    """
    for source in (*roles.validation, *roles.test, *roles.held_out):
        transfer_spec.check(_spec(config), *_split(source, config))


def compare(
    config: ConfigDict,
    model: Model,
    preprocess: Preprocess,
    inits: Inits,
    roles: Roles,
    workdir: pathlib.Path,
) -> Transfer:
    """Fine-tunes every initialisation on every meta-test set, or goes on with it.

    Writes `transfer.jsonl` (a row a measurement on meta-test) and
    `transfer_trials.jsonl` (a row a trial on meta-validation) to `workdir`.

    Args:
      config: of the experiment; `config.transfer` describes this part of it.
      model: the network body.
      preprocess: of images.
      inits: parameters ({"body": ...}) and cost by name.
      roles: chosen on are the sources of meta-validation, measured those of meta-test
        and the held-out classes.
      workdir: folder of the experiment.
    """
    settings = config.transfer
    setup = Setup(model, preprocess, _spec(config), settings.held_out, workdir / FOLDER)
    grid = [("sgd", rate) for rate in settings.sgd_rates]
    grid += [("adam", rate) for rate in settings.adam_rates]
    chosen, trials = choose(setup, inits, roles.validation, grid, settings.trial_steps)
    _write(workdir / TRIALS, trials)
    runs = measure(setup, inits, chosen, _named_apart(roles))
    _write(workdir / transfer.RESULTS, [row for run in runs for row in run.points])
    labels = "all labels"
    if settings.shot or settings.fraction < 1:
        share = f"{100 * settings.fraction:g} %"
        labels = f"{settings.shot or share} of each class's labels"
    return Transfer(
        runs=runs,
        costs={name: cost for name, (_, cost) in inits.items()},
        protocol=(
            f"{settings.steps:,} steps of {settings.batch} images, {labels}, "
            f"{100 * settings.held_out:g} % of each class held out"
        ),
        grid={
            "SGD rates": list(settings.sgd_rates),
            "SGD momentum": settings.momentum,
            "Adam rates": list(settings.adam_rates),
            "steps of a trial": settings.trial_steps,
            "trials": len(grid) * len(roles.validation),
            "chosen on": ", ".join(source.name for source in roles.validation)
            + " (classes of meta-validation)",
        },
        trial_seconds=sum(trial["device_seconds"] for trial in trials),
        device=jax.devices()[0].device_kind,
        price_per_hour=settings.price_per_hour or None,
    )


def choose(
    setup: Setup,
    inits: Inits,
    validation: Sequence[Source],
    grid: Sequence[tuple[str, float]],
    steps: int,
) -> tuple[dict[tuple[str, str], Choice], list[dict[str, Any]]]:
    """The optimiser and rate of each initialisation and head, by held-out accuracy.

    Args:
      setup: of every fine-tuning.
      inits: parameters and cost by name.
      validation: sources of meta-validation, and of nothing else.
      grid: optimizer and rate of each trial.
      steps: of a trial.

    Returns:
      The choice by initialisation and head (of equal accuracies, the larger area under
      the curve), and the last row of every trial.
    """
    chosen: dict[tuple[str, str], Choice] = {}
    trials: list[dict[str, Any]] = []
    for init, head in itertools.product(inits, HEADS):
        found = []
        for optimizer, rate in grid:
            spec = setup.spec._replace(
                steps=steps, head=head, optimizer=optimizer, learning_rate=rate
            )
            of_each = [
                _fine_tune(setup, inits[init][0], source, spec, init, "validation")
                for source in validation
            ]
            trials += [rows[-1] for rows in of_each]
            accuracy = float(np.mean([rows[-1]["accuracy"] for rows in of_each]))
            area = float(np.mean([_area(rows) for rows in of_each]))
            found.append((accuracy, area, Choice(optimizer, rate, accuracy)))
        # Of the first among equals.
        chosen[init, head] = max(found, key=lambda one: one[:2])[2]
    return chosen, trials


def measure(
    setup: Setup,
    inits: Inits,
    chosen: Mapping[tuple[str, str], Choice],
    test: Sequence[Source],
) -> tuple[FineTuning, ...]:
    """Fine-tunes on meta-test, each initialisation and head as it was chosen."""
    found = []
    for source, ((init, head), choice) in itertools.product(test, chosen.items()):
        spec = setup.spec._replace(
            head=head, optimizer=choice.optimizer, learning_rate=choice.learning_rate
        )
        rows = _fine_tune(setup, inits[init][0], source, spec, init, "test")
        setting = {
            "optimizer": choice.optimizer,
            "learning_rate": choice.learning_rate,
        }
        about = {
            "init_device_seconds": inits[init][1].device_seconds,
            "validation_accuracy": choice.accuracy,
        }
        points = tuple(row | about for row in rows)
        found.append(
            FineTuning(source.name, init, head, setting, choice.accuracy, points)
        )
    return tuple(found)


def _fine_tune(
    setup: Setup, params: Any, source: Source, spec: Spec, init: str, role: str
) -> list[dict[str, Any]]:
    """Rows of one fine-tuning; at once where an earlier session finished it.

    The folder is named after what determines the result: an initialisation that was
    trained further, or another setting, has another one.
    """
    body = {"body": params["body"]}
    train, test = hold_out(source, spec.seed, setup.held_out)
    about = {
        "dataset": source.name,
        "role": role,
        "init": init,
        "held_out": setup.held_out,
    }
    known = json.dumps([about, spec._asdict(), transfer.digest(body)], sort_keys=True)
    words = (role, source.name, init, spec.head, spec.optimizer, spec.learning_rate)
    name = re.sub(r"[^\w.]+", "-", " ".join(map(str, words)))[-80:].strip("-.")
    digest = hashlib.sha256(known.encode()).hexdigest()[:10]
    folder = setup.folder / f"{name}-{digest}"
    path = folder / transfer.RESULTS
    rows = list(_read(path)) if path.exists() else []
    if not rows or rows[-1]["step"] != spec.steps:
        transfer.fine_tune(
            setup.model, setup.preprocess, body, train, test, spec, folder, about
        )
        rows = list(_read(path))
    # Rows are all that is asked for later, and states of many runs fill a disk.
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return rows


def _spec(config: ConfigDict) -> Spec:
    settings = config.transfer
    return Spec(
        seed=config.seed,
        steps=settings.steps,
        batch=settings.batch,
        momentum=settings.momentum,
        fraction=settings.fraction,
        shot=settings.shot,
    )


def _split(source: Source, config: ConfigDict) -> tuple[Source, Source]:
    return hold_out(source, config.seed, config.transfer.held_out)


def _named_apart(roles: Roles) -> tuple[Source, ...]:
    """Sources of meta-test and, under names of their own, of the held-out classes."""
    return roles.test + tuple(
        source._replace(name=f"{source.name}, held-out classes")
        for source in roles.held_out
    )


def _area(rows: Sequence[Mapping[str, Any]]) -> float:
    steps, accuracy = zip(
        *((row["step"], row["accuracy"]) for row in rows), strict=True
    )
    return threshold.area_over_log_steps(steps, accuracy)


def _read(path: pathlib.Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        yield json.loads(line)


def _write(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    atomic.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
