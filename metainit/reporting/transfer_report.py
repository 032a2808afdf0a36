"""The part of a report that is about transfer: "Transfer efficiency"."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Interval
from metainit.evaluation.metrics import ACCURACY
from metainit.reporting import tables
from metainit.reporting.tables import captioned, paragraph
from metainit.transfer import break_even, time_to_threshold
from metainit.transfer.results import FineTuning, Transfer, made_in
from metainit.transfer.time_to_threshold import SHARE, UNITS, DataSet, Efficiency, Line


def section(transfer: Transfer, figure: str) -> Iterator[str]:
    """Yields what the transfer of one run gave, as parts of Markdown."""
    yield paragraph(f"All classes of a data set, {transfer.protocol}.")
    costs = made_in(transfer.runs)
    yield from over_seeds([transfer.runs], costs, transfer.accuracies, figure)


def best(transfer: Transfer) -> list[FineTuning]:
    """Lists initialisations, each with its best head, from the best by validation."""
    by_init: dict[str, FineTuning] = {}
    for run in sorted(transfer.runs, key=lambda run: -run.validation_accuracy):
        by_init.setdefault(run.init, run)
    return [*by_init.values()]


def best_against_next(transfer: Transfer, seed: int) -> str:
    """Compares the best initialisation with the next best, both by validation."""
    runs = best(transfer)
    reached = [run.points[-1]["accuracy"] for run in runs]
    first, *others = (f"{run.init} ({run.head})" for run in runs)
    outcome, against = "is alone", ""
    if others:
        ours, theirs, *_ = reached
        word = "beats" if ours > theirs else "equals" if ours == theirs else "loses to"
        outcome = f"{word} the next best, {others[0]},"
        against = f"against {ACCURACY.mean(theirs)} % "
    return (
        f"{first} {outcome} on {transfer.runs[0].dataset}: "
        f"{ACCURACY.mean(reached[0])} % {against}of the held-out images are told "
        f"right. Chosen on validation; {intervals.CONDITIONAL} (seed {seed})."
    )


def over_seeds(
    seeds: Sequence[Sequence[FineTuning]],
    costs: Mapping[str, float],
    accuracies: Sequence[float],
    figure: str,
) -> Iterator[str]:
    """Yields sentences and tables, over one seed or several, as parts of Markdown.

    `costs` are device seconds, means over seeds.
    """
    efficiency = time_to_threshold.efficiency(seeds)
    against = time_to_threshold.against(efficiency)
    if efficiency.ours is not None:
        for data_set in efficiency.data_sets:
            yield paragraph(_sentence(data_set, efficiency))
        for baseline, words in break_even.against_baselines(efficiency, costs).items():
            yield paragraph(f"Against {baseline}, {efficiency.ours[0]} {words}.")
    yield tables.figure("Accuracy against fine-tuning step", figure)
    several = len(seeds) > 1
    for data_set in efficiency.data_sets:
        yield tables.heading(data_set.name, 3)
        yield from map(paragraph, _room(data_set))
        yield _accuracy(data_set, several, against)
        for target, accuracy in _targets(data_set, accuracies):
            yield paragraph(f"Until {target}:")
            yield _effort(data_set, several, accuracy)
    yield _explained(several)


def account(transfer: Transfer) -> str:
    """Lists device hours, with a total for each kind of device, and the trials."""
    here = transfer.device
    work: dict[str, list[tuple[str, float, float | None]]] = {}  # by kind of device
    for name, cost in transfer.costs.items():
        if cost.device_seconds:
            item = f"making {name}", cost.device_seconds, cost.flops
            work.setdefault(cost.device or here, []).append(item)
    trials = "trials, all", transfer.trial_seconds, transfer.trial_flops
    work.setdefault(here, []).append(trials)
    for name in dict.fromkeys(run.dataset for run in transfer.runs):
        last = [run.points[-1] for run in transfer.runs if run.dataset == name]
        spent = (sum(point[x] for point in last) for x in ("device_seconds", "flops"))
        work[here].append((f"fine-tuning on {name}, all", *spent))
    rows = []
    for kind, items in work.items():
        _, seconds, counts = zip(*items, strict=True)
        total = "total", sum(seconds), None if None in counts else sum(counts)
        rows += [
            (name, f"{kind} x1", f"{seconds / 3600:.3g}", tables.flops(count))
            for name, seconds, count in (*items, total)
        ]
    table = tables.table(("Work", "Device", "Device hours", "FLOPs"), rows)
    notes = [
        "What was started from pretrained weights has their making in its own. Trials "
        "are no part of a break-even. FLOPs are by our count, a dash where they were "
        "not counted; what the host fits is not among them."
    ]
    if len(work) > 1:
        notes.append(
            "An hour of one kind of device is not one of another: each has a total, "
            f"and of what another than {here} made there is no break-even."
        )
    title = tables.heading("Trials, the same for every initialisation", 3)
    parts = table, tables.bullets(notes), title, tables.settings(transfer.grid)
    return tables.details("Device hours and trials", *parts)


def _sentence(data_set: DataSet, efficiency: Efficiency) -> str:
    if data_set.baseline is None:
        return f"{data_set.name}: no baseline is ever right; there is no threshold."
    threshold = data_set.thresholds[SHARE]
    took = []
    ours_first = sorted(efficiency.heads.items(), key=lambda x: x != efficiency.ours)
    for line in ours_first:
        steps = data_set.times(line, threshold)["steps"]
        share = f" ({sum(x.reached for x in steps)} of {len(steps)})"
        count = time_to_threshold.restricted_mean(steps) + (
            share if len(steps) > 1 else ""
        )
        took.append(f"{line[0]} {count}")
    return (
        f"{data_set.name}: steps to {ACCURACY.mean(threshold)} % accuracy ({SHARE:.0%} "
        f"of what {', '.join(data_set.baseline)} head reaches in the end): {took[0]}; "
        f"{', '.join(took[1:])}."
    )


def _room(data_set: DataSet) -> Iterator[str]:
    """Says how much of what is reached in the end needs no step at all."""
    if (share := data_set.before_steps) is None or data_set.baseline is None:
        return
    rest = "what steps can win is the rest."
    if share >= SHARE:
        rest = "steps have nothing to win here, whatever they start from."
    yield (
        f"{time_to_threshold.CLOSED_FORM.capitalize()} on the features of "
        f"{data_set.baseline[0]} has {100 * share:.1f} % of the best baseline's final "
        f"accuracy before any step: {rest}"
    )


def _accuracy(
    data_set: DataSet,
    several: bool,
    against: Mapping[Line, Mapping[str, Interval]],
) -> str:
    def mean(values: np.ndarray) -> str:
        if not several:
            return ACCURACY.mean(values)
        return ACCURACY.interval(intervals.over_seeds(values[:, None]))

    rows = []
    for line, runs in data_set.runs.items():
        start = ACCURACY.mean([run.points[0]["accuracy"] for run in runs])
        f1 = ACCURACY.mean(data_set.last(line, "f1"))
        area = np.array([time_to_threshold.area_over_log_steps(x.points) for x in runs])
        row = tables.words(runs[0].setting), start, mean(data_set.last(line)), f1
        compared = tables.difference(against.get(line, {}).get(data_set.name))
        rows.append((*line, *row, mean(area), *compared))
    measures = "0 steps, %", "End, %", "F1, %", "Area, %", "Ours minus this", "p"
    names = ("Initialisation", "Head", "Setting", *measures)
    without = ["Setting"] * several  # each seed chose a setting of its own
    without += [] if against else ["Ours minus this", "p"]
    return captioned(names, rows, text=3, without=without)


def _targets(
    data_set: DataSet, accuracies: Sequence[float]
) -> Iterator[tuple[str, float]]:
    """Yields accuracies to be reached, in words and as numbers."""
    if data_set.baseline is not None:
        reached = 100 * data_set.last(data_set.baseline).mean()
        final = f"{', '.join(data_set.baseline)} head reaches in the end, {reached:.1f}"
        for share, accuracy in data_set.thresholds.items():
            yield f"{100 * accuracy:.1f} %, {share:.0%} of what {final} %", accuracy
    for accuracy in accuracies:
        yield f"{100 * accuracy:g} %, fixed beforehand", accuracy


def _effort(data_set: DataSet, several: bool, accuracy: float) -> str:
    rows = []
    for line in data_set.runs:
        times = data_set.times(line, accuracy)
        steps = time_to_threshold.summarise(times["steps"])
        half = steps.median
        median = "-" if half is None else time_to_threshold.number(half)
        means = (  # epochs are steps in another measure
            time_to_threshold.restricted_mean(taken, interval=unit != "epochs")
            for unit, taken in times.items()
        )
        rows.append((*line, f"{steps.reached} of {steps.runs}", median, *means))
    names = ("Initialisation", "Head", "Reached", "Median", *map(str.capitalize, UNITS))
    return captioned(names, rows, without=[] if several else ["Reached", "Median"])


def _explained(several: bool) -> str:
    items = [
        "0 steps, End: accuracy before the first and after the last step, where F1 is "
        "macro-F1; Area: mean accuracy over log(1 + step). Settings: best in trials.",
        "Until: looked at after 0, 1, 2, 5, 10, ... steps; > N: not reached within N "
        "(right-censored). Device seconds exclude compilation and measuring.",
    ]
    if several:
        items += [
            "Means over seeds, [ ] are 95 % intervals over seeds (Student's t). Ours "
            "minus this: at the end, paired by seed; p by Holm, * is below 0.05.",
            "2 of 3: seeds that reached it; where one did not, all count up to N, the "
            "shortest time it was watched, and the mean is at least that with >=. "
            "Median: Kaplan and Meier's; - where fewer than half got there.",
        ]
    return tables.bullets(items)
