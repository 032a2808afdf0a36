"""Times to threshold and break-even of fine-tunings, over one seed or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Comparison
from metainit.transfer import accounting, time_to_threshold
from metainit.transfer.results import FineTuning
from metainit.transfer.time_to_threshold import Curve, Thresholds, Time

# A row's field for what is spent, by its name in words.
UNITS = {
    "steps": "step",
    "epochs": "epoch",
    "device seconds": "device_seconds",
}
SHARE = 0.95  # the threshold that verdict and break-even are about


class Line(NamedTuple):
    """One initialisation with one head on one data set, a value for each seed.

    Attributes:
      init, head: names.
      settings: chosen on meta-validation.
      start, final, f1, area: float [seeds]: accuracy before and after, final macro-F1,
        area under accuracy over log-steps; 0 to 1.
      times: to each threshold, by share and unit; {} where there is no threshold.
      absolute: to each accuracy that was fixed beforehand, by it and unit.
    """

    init: str
    head: str
    settings: tuple[dict[str, object], ...]
    start: np.ndarray
    final: np.ndarray
    f1: np.ndarray
    area: np.ndarray
    times: dict[float, dict[str, tuple[Time, ...]]]
    absolute: dict[float, dict[str, tuple[Time, ...]]]


class DataSet(NamedTuple):
    """All lines of one data set.

    Attributes:
      name: of the data set.
      thresholds: None where no baseline got above 0.
      horizon: up to which the longest run was watched, by unit; a head in closed form
        that is not good enough stays so at least until then.
      lines: one an initialisation and head.
    """

    name: str
    thresholds: Thresholds | None
    horizon: dict[str, float]
    lines: tuple[Line, ...]


def by_data_set(
    seeds: Sequence[Sequence[FineTuning]], accuracies: Sequence[float] = ()
) -> tuple[DataSet, ...]:
    """Thresholds from the best baseline, and the times that each line took to them.

    Args:
      seeds: the fine-tunings of each seed; the same data sets, initialisations and
        heads in all.
      accuracies: to be reached besides, fixed beforehand, above 0 to 1.

    Raises:
      ValueError: seeds that differ in these.
    """
    tables = [{(r.dataset, r.init, r.head): r for r in runs} for runs in seeds]
    for table in tables:
        if differing := sorted(table.keys() ^ tables[0].keys()):
            raise ValueError(
                "fine-tunings of one seed lack those of another: "
                + "; ".join(", ".join(key) for key in differing[:5])
            )
    found = []
    for name in dict.fromkeys(run.dataset for run in seeds[0]):
        of_set = {
            (init, head): [table[dataset, init, head] for table in tables]
            for dataset, init, head in tables[0]
            if dataset == name
        }
        final = {
            f"{init}, {head}": [run.points[-1]["accuracy"] for run in runs]
            for (init, head), runs in of_set.items()
            if not runs[0].ours
        }
        thresholds = time_to_threshold.from_baselines(final) if final else None
        if thresholds is not None and not thresholds.final:
            thresholds = None
        every = [run for runs in of_set.values() for run in runs]
        stepped = [run for run in every if not run.in_closed_form]
        horizon = {
            unit: float(max(run.points[-1][field] for run in stepped or every))
            for unit, field in UNITS.items()
        }
        lines = tuple(
            _line(init, head, runs, thresholds, horizon, accuracies)
            for (init, head), runs in of_set.items()
        )
        found.append(DataSet(name, thresholds, horizon, lines))
    return tuple(found)


def best_heads(seeds: Sequence[Sequence[FineTuning]]) -> dict[str, str]:
    """The head of each initialisation that did best on meta-validation, over seeds."""
    accuracy: dict[tuple[str, str], list[float]] = {}
    for run in (run for runs in seeds for run in runs):
        accuracy.setdefault((run.init, run.head), []).append(run.validation_accuracy)
    means = {key: float(np.mean(values)) for key, values in accuracy.items()}
    return {
        init: max((h for i, h in means if i == init), key=lambda h: means[init, h])
        for init in dict.fromkeys(init for init, _ in means)
    }


def our_best(seeds: Sequence[Sequence[FineTuning]]) -> str | None:
    """The best of our initialisations on meta-validation; None where there is none."""
    heads = best_heads(seeds)
    accuracy: dict[str, list[float]] = {}
    for run in (run for runs in seeds for run in runs):
        if run.ours and run.head == heads[run.init]:
            accuracy.setdefault(run.init, []).append(run.validation_accuracy)
    return max(accuracy, key=lambda init: np.mean(accuracy[init]), default=None)


def our_line(seeds: Sequence[Sequence[FineTuning]]) -> tuple[str, str] | None:
    """Our best initialisation with its best head, both on meta-validation."""
    ours = our_best(seeds)
    return None if ours is None else (ours, best_heads(seeds)[ours])


def against(
    sets: Sequence[DataSet], ours: tuple[str, str]
) -> dict[tuple[str, str], dict[str, Comparison]]:
    """Final accuracy of ours minus that of each other line, paired by seed.

    Args:
      sets: as `by_data_set` gives them, of at least two seeds.
      ours: initialisation and head.

    Returns:
      By initialisation and head, and by data set.
    """

    def final(init: str, head: str) -> dict[str, np.ndarray]:  # each [seeds, 1]
        return {one.name: line_of(one, init, head).final[:, None] for one in sets}

    return {
        key: intervals.compare(final(*ours), final(*key), same_episodes=False)
        for key in ((line.init, line.head) for line in sets[0].lines)
        if key != ours
    }


def break_even(
    seeds: Sequence[Sequence[FineTuning]], costs: Mapping[str, float]
) -> dict[str, accounting.BreakEven]:
    """Our best initialisation against each baseline, in device seconds to `SHARE`.

    Each with the head that did best on meta-validation.

    Args:
      seeds: as for `by_data_set`.
      costs: device seconds that making each initialisation took, mean over seeds;
        without those of another kind of device, which nothing is told of.

    Returns:
      By name of the baseline; {} where no data set has thresholds.
    """
    sets = [one for one in by_data_set(seeds) if one.thresholds is not None]
    of_ours = {run.init for run in seeds[0] if run.ours}
    ours, heads = our_best(seeds), best_heads(seeds)
    if ours is None or ours not in costs or not sets:
        return {}

    def seconds(init: str) -> dict[str, tuple[Time, ...]]:
        return {
            one.name: line_of(one, init, heads[init]).times[SHARE]["device seconds"]
            for one in sets
        }

    return {
        init: accounting.break_even(
            costs[ours],
            costs[init],
            accounting.saving(seconds(ours), seconds(init)),
        )
        for init in heads
        if init not in of_ours and init in costs
    }


def line_of(one: DataSet, init: str, head: str) -> Line:
    """The line of an initialisation and head."""
    (found,) = (x for x in one.lines if (x.init, x.head) == (init, head))
    return found


def _time(run: FineTuning, unit: str, value: float, horizon: float) -> Time:
    found = time_to_threshold.time_to(
        Curve(
            np.array([p[UNITS[unit]] for p in run.points], np.float64),
            np.array([p["accuracy"] for p in run.points], np.float64),
        ),
        value,
    )
    if run.in_closed_form and not found.reached:
        return Time(horizon, False)  # it stays as it is, however long one waits
    return found


def _area(run: FineTuning) -> float:
    if run.in_closed_form:
        return float(run.points[0]["accuracy"])
    steps, accuracy = ([p[field] for p in run.points] for field in ("step", "accuracy"))
    return time_to_threshold.area_over_log_steps(steps, accuracy)


def _line(
    init: str,
    head: str,
    runs: Sequence[FineTuning],
    thresholds: Thresholds | None,
    horizon: Mapping[str, float],
    accuracies: Sequence[float],
) -> Line:
    def last(field: str) -> np.ndarray:
        return np.array([run.points[-1][field] for run in runs], np.float64)

    def times_to(value: float) -> dict[str, tuple[Time, ...]]:
        return {
            unit: tuple(_time(run, unit, value, horizon[unit]) for run in runs)
            for unit in UNITS
        }

    shares = thresholds.values if thresholds else {}
    return Line(
        init,
        head,
        tuple(run.setting for run in runs),
        np.array([run.points[0]["accuracy"] for run in runs], np.float64),
        last("accuracy"),
        last("f1"),
        np.array([_area(run) for run in runs]),
        {share: times_to(value) for share, value in shares.items()},
        {value: times_to(value) for value in accuracies},
    )
