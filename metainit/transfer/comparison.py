"""Compares initialisations by learning whole data sets from each of them.

All learn the same images in the same order with the same grid. `choose` sees the
classes of meta-validation only. The data sets to measure on are sealed until then.
"""

import functools
import itertools
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence

import jax
import numpy as np

from metainit.config import fields
from metainit.data.batches import hold_out
from metainit.data.loading import Roles, Source
from metainit.runtime import atomic, progress
from metainit.runtime.cost import OURS
from metainit.training.initialisation import Initialisation
from metainit.transfer import fine_tuning, learning
from metainit.transfer.learning import Setting, View
from metainit.transfer.results import FineTuning, Record, Transfer, of_points
from metainit.transfer.spec import Spec, Split, check
from metainit.transfer.time_to_threshold import Line, area_over_log_steps

Lines = Collection[Line]
# The best setting of a head, and its held-out accuracy in trials.
Choice = tuple[Setting, float]
# `(head, settings, init, split, about) -> rows of each setting`.
Learn = Callable[..., list[list[Record]]]

FOLDER, TRIALS = "transfer", "transfer_trials.jsonl"
MOMENTUM = 0.9  # of SGD


class Sealed:
    """Splits that stay closed until every line to be measured has its choice."""

    def __init__(self, splits: Sequence[Split]) -> None:
        self.__splits = tuple(splits)

    def __len__(self) -> int:
        return len(self.__splits)

    def open(self, chosen: Lines, wanted: Lines) -> tuple[Split, ...]:
        """Gives the splits; raises RuntimeError for a line that lacks its choice."""
        if missing := [line for line in wanted if line not in chosen]:
            raise RuntimeError(
                f"meta-test stays closed: nothing was chosen yet for {missing[0]!r} "
                f"({len(missing)} of {len(wanted)})"
            )
        return self.__splits


def of_roles(
    settings: fields.Transfer, seed: int, roles: Roles
) -> tuple[tuple[Split, ...], Sealed]:
    """Splits the data sets to choose on and those to measure on.

    Settings are chosen on meta-validation. Measured are meta-test and, under names of
    their own, the held-out classes. A ValueError names the data set and class, or the
    field, that rules fine-tuning out.
    """
    held_out = (x._replace(name=f"{x.name}, held-out classes") for x in roles.held_out)
    split = functools.partial(_split, settings, seed)
    validation = tuple(map(split, roles.validation))
    return validation, Sealed([split(source) for source in (*roles.test, *held_out)])


def compare(
    settings: fields.Transfer,
    seed: int,
    inits: Mapping[str, Initialisation],
    validation: Sequence[Split],
    test: Sealed,
    workdir: pathlib.Path,
    chosen_on: str = "classes of meta-validation",
    view: View | None = None,
) -> Transfer:
    """Learns every data set from every initialisation, or goes on with it.

    It writes two files to `workdir`: `transfer.jsonl` with a record for each
    measurement on meta-test, and `transfer_trials.jsonl` with one for each trial.
    `chosen_on` describes `validation` in the report.
    """
    spec = spec_of(settings, seed)
    learn = functools.partial(learning.learn, folder=workdir / FOLDER, view=view)
    grid = learning.grid(settings)
    trial = spec._replace(steps=settings.trial_steps)
    tries = len(inits) * len(validation) * sum(map(len, grid.values()))
    measured = len(inits) * len(test) * len(grid)
    progress.say(
        f"fine-tuning: {tries:,} trials of at most {settings.trial_steps:,} steps, "
        f"then {measured:,} runs of at most {settings.steps:,}"
    )
    with progress.Stage("fine-tuning", tries + measured):
        learn_briefly = functools.partial(learn, trial)
        chosen, trials = choose(learn_briefly, inits, grid, validation)
        atomic.write_rows(workdir / TRIALS, trials)
        runs = measure(functools.partial(learn, spec), inits, chosen, test)
    points = (point for run in runs for point in run.points)
    atomic.write_rows(workdir / fine_tuning.RESULTS, points)
    labels = (
        f"{settings.shot} of each class's labels" if settings.shot else "all labels"
    )
    return Transfer(
        runs=runs,
        costs={name: init.cost for name, init in inits.items()},
        protocol=(
            f"{settings.steps:,} steps of {settings.batch} images, {labels}, "
            f"{100 * settings.held_out:g} % of each class held out"
        ),
        grid={
            "SGD rates": list(settings.sgd_rates),
            "SGD momentum": MOMENTUM,
            "Adam rates": list(settings.adam_rates),
            "schedules": list(settings.schedules),
            "layer decays": list(settings.layer_decays),
            "nearest centroid and ridge scales": list(settings.centroid_scales),
            "logistic regression C": list(settings.inverse_penalties),
            "ridge penalties": list(settings.ridge_penalties),
            "steps of a trial": settings.trial_steps,
            "trials of each head": {
                head: len(tried) * len(validation) for head, tried in grid.items()
            },
            "chosen on": f"{', '.join(x.name for x in validation)} ({chosen_on})",
        },
        trial_seconds=sum(trial["device_seconds"] for trial in trials),
        trial_flops=sum(trial["flops"] for trial in trials),
        device=jax.devices()[0].device_kind,
        accuracies=tuple(settings.accuracies),
    )


def choose(
    learn: Learn,
    inits: Mapping[str, Initialisation],
    grid: Mapping[str, Sequence[Setting]],
    validation: Sequence[Split],
) -> tuple[dict[Line, Choice], list[Record]]:
    """Chooses the setting of each initialisation and head by held-out accuracy.

    Of equal accuracies the larger area under the curve wins, then the lower loss. The
    last record of every trial is returned besides the choices.
    """
    chosen: dict[Line, Choice] = {}
    trials: list[Record] = []

    def quality(tried: Sequence[Sequence[Record]]) -> tuple[float, float, float]:
        last = [rows[-1] for rows in tried]
        losses = [np.inf if row["loss"] is None else row["loss"] for row in last]
        accuracy = float(np.mean([row["accuracy"] for row in last]))
        area = float(np.mean([area_over_log_steps(rows) for rows in tried]))
        return accuracy, area, -float(np.mean(losses))

    for name, head in itertools.product(inits, grid):
        about = {"role": "validation", "init": name}
        by_split = [
            learn(head, grid[head], inits[name], split, about) for split in validation
        ]
        by_setting = list(zip(*by_split, strict=True))
        trials += [rows[-1] for tried in by_setting for rows in tried]
        qualities = [quality(tried) for tried in by_setting]
        best = qualities.index(max(qualities))  # of the first among equals
        chosen[name, head] = grid[head][best], qualities[best][0]
    return chosen, trials


def measure(
    learn: Learn,
    inits: Mapping[str, Initialisation],
    chosen: Mapping[Line, Choice],
    test: Sealed,
) -> tuple[FineTuning, ...]:
    """Opens the sealed data sets, and learns them with the chosen settings."""
    wanted = list(itertools.product(inits, dict.fromkeys(head for _, head in chosen)))
    here = jax.devices()[0].device_kind
    runs = []
    for split, (name, head) in itertools.product(test.open(chosen, wanted), wanted):
        init, (setting, accuracy) = inits[name], chosen[name, head]
        about = {"role": "test", "init": name}
        (rows,) = learn(head, [setting], init, split, about)
        alike = init.cost.device in (None, here)
        more = {
            # An hour of another kind of device is not one of this.
            "init_device_seconds": init.cost.device_seconds if alike else None,
            "validation_accuracy": accuracy,
        }
        runs.append(of_points([row | more for row in rows], init.name in OURS))
    return tuple(runs)


def spec_of(settings: fields.Transfer, seed: int) -> Spec:
    """Describes a fine-tuning by the configuration, all but its head and rate."""
    return Spec(
        seed=seed,
        steps=settings.steps,
        batch=settings.batch,
        momentum=MOMENTUM,
        shot=settings.shot,
    )


def _split(settings: fields.Transfer, seed: int, source: Source) -> Split:
    split = Split(source.name, *hold_out(source, seed, settings.held_out))
    check(spec_of(settings, seed), split)
    return split
