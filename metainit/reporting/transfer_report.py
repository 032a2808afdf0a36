"""The part of a report that is about transfer: "Transfer efficiency"."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Comparison
from metainit.reporting import tables
from metainit.reporting.tables import ACCURACY, Block, Bullets, Figure, Heading, Table
from metainit.runtime.cost import NAMES, RATES
from metainit.transfer import break_even, time_to_threshold
from metainit.transfer.results import FineTuning, Transfer
from metainit.transfer.time_to_threshold import SHARE, UNITS, DataSet, Times

PLAIN_HEAD = "zero"
# Where a run begins, untouched by anything of ours; the first there is.
STARTS = ("pretrained weights", "random")
LEARNED_RATES = NAMES[RATES]


def section(transfer: Transfer, figure: str) -> Iterator[Block]:
    """Says what one run's transfer gave."""
    yield Heading("Transfer efficiency")
    yield f"All classes of a data set, {transfer.protocol}."
    here = [x for x, y in transfer.costs.items() if y.device in (None, transfer.device)]
    seconds = {name: transfer.costs[name].device_seconds for name in here}
    runs, accuracies = [transfer.runs], transfer.accuracies
    yield from of_seeds(runs, seconds, accuracies, figure, transfer.starts)


def verdict(transfer: Transfer, seed: int) -> str:
    """Compares the best initialisation with the next best, both by validation."""
    best: dict[str, FineTuning] = {}
    for run in sorted(transfer.runs, key=lambda run: -run.validation_accuracy):
        best.setdefault(run.init, run)
    reached = [run.points[-1]["accuracy"] for run in best.values()]
    first, *others = (f"{run.init} ({run.head})" for run in best.values())
    told, against = "is alone", ""
    if others:
        ours, theirs, *_ = reached
        word = "beats" if ours > theirs else "equals" if ours == theirs else "loses to"
        told = f"{word} the next-best initialisation, {others[0]},"
        against = f"against {ACCURACY.mean(theirs)} % "
    return (
        f"{first} {told} on {transfer.runs[0].dataset}: {ACCURACY.mean(reached[0])} % "
        f"{against}of the held-out images are classified rightly in the end; chosen on "
        f"validation, {intervals.CONDITIONAL} (seed {seed})."
    )


def of_seeds(
    seeds: Sequence[Sequence[FineTuning]],
    costs: Mapping[str, float],
    accuracies: Sequence[float],
    figure: str,
    starts: Mapping[str, str] | None = None,
) -> Iterator[Block]:
    """Yields sentences and tables, over one seed or several.

    `starts` names the initialisation that ours, or learned step sizes, began with; None
    where one run made them all. `costs` are device seconds, means over seeds.
    """
    several = len(seeds) > 1
    ours = time_to_threshold.our_line(seeds)
    data_sets = time_to_threshold.by_data_set(seeds, accuracies)
    against = time_to_threshold.against(data_sets, ours) if ours and several else {}
    if ours is not None:
        heads = time_to_threshold.best_heads(seeds)
        for data_set in data_sets:
            yield from _sentences(data_set, ours, heads, starts)
        for baseline, words in break_even.against_baselines(seeds, costs).items():
            yield f"Against {baseline}, {ours[0]} {words}."
    yield Figure("Accuracy against fine-tuning step", figure)
    for data_set in data_sets:
        yield Heading(data_set.name, 3)
        yield _accuracy(data_set, several, against)
        for target, times in _targets(data_set):
            yield f"Until {target}:"
            yield _effort(data_set, several, times)
    yield _explained(several)


def account(transfer: Transfer) -> Iterator[Block]:
    """Lists device hours, with a total for each kind of device, and the trials."""
    yield Heading("Device hours", 3)
    here, price = transfer.device, transfer.price_per_hour
    work = [
        (f"making {name}", cost.device or here, cost.device_seconds, cost.flops)
        for name, cost in transfer.costs.items()
        if cost.device_seconds
    ]
    work.append(("trials, all", here, transfer.trial_seconds, transfer.trial_flops))
    for name in dict.fromkeys(run.dataset for run in transfer.runs):
        last = [run.points[-1] for run in transfer.runs if run.dataset == name]
        spent = (sum(point[x] for point in last) for x in ("device_seconds", "flops"))
        work.append((f"fine-tuning on {name}, all", here, *spent))
    kinds = dict.fromkeys(kind for _, kind, _, _ in work)
    rows = []
    for kind in kinds:
        of_kind = [item for item in work if item[1] == kind]
        counts = [count for *_, count in of_kind]
        total = None if None in counts else sum(filter(None, counts))
        of_kind.append(("total", kind, sum(item[2] for item in of_kind), total))
        for name, _, seconds, count in of_kind:
            # A price is that of this kind of device.
            cost = f"{price * seconds / 3600:.2f}" if price and kind == here else "-"
            hours = f"{seconds / 3600:.3g}"
            rows.append((name, f"{kind} x1", hours, tables.flops(count), cost))
    table = Table(("Work", "Device", "Device hours", "FLOPs", "Cost"), rows)
    yield table if price else table.without("Cost")
    items = [
        "What was started from pretrained weights has their making in its own. Trials "
        "are no part of a break-even. FLOPs are by our count, a dash where they were "
        "not counted; what the host fits is not among them."
    ]
    if len(kinds) > 1:
        items.append(
            "An hour of one kind of device is not one of another: each has a total, a "
            f"price is that of {here}, and of what another made there is no break-even."
        )
    yield Bullets(items)
    yield Heading("Trials, the same for every initialisation", 3)
    yield tables.settings(transfer.grid)


def _sentences(
    data_set: DataSet,
    ours: tuple[str, str],
    heads: Mapping[str, str],
    starts: Mapping[str, str] | None,
) -> Iterator[str]:
    best = data_set.thresholds
    if best is None:
        yield f"{data_set.name}: no baseline is ever right; there is no threshold."
        return
    took = {}
    for init, head in heads.items():
        line = time_to_threshold.line_of(data_set, init, head)
        took[init] = time_to_threshold.in_words(line.times[SHARE]["steps"])
    our_time = took.pop(ours[0])
    yield (
        f"{data_set.name}: steps to {ACCURACY.mean(best.values[SHARE])} % accuracy "
        f"({SHARE:.0%} of what {best.baseline} head reaches in the end): {ours[0]} "
        f"{our_time}; {', '.join(f'{init} {time}' for init, time in took.items())}."
    )
    if gain := _gain(data_set, *ours, starts):
        yield gain


def _gain(
    data_set: DataSet, ours: str, head: str, starts: Mapping[str, str] | None
) -> str | None:
    """Splits what ours gains over its start with a plain head, change by change."""
    final = {x.init + x.head: 100 * float(np.mean(x.final)) for x in data_set.lines}
    if starts is None:
        known = (name for name in STARTS if name + PLAIN_HEAD in final)
        start, start_of_rates = next(known, None), STARTS[0]
    else:
        start, start_of_rates = starts.get(ours), starts.get(LEARNED_RATES, "")
    if start is None or start + PLAIN_HEAD not in final:
        return None
    changes = {"the head's": start}
    if start_of_rates == start and LEARNED_RATES + head in final:
        changes["learned step sizes' alone"] = LEARNED_RATES
    reached = plain = final[start + PLAIN_HEAD]
    parts = []
    for cause, init in (changes | {"the initialisation's": ours}).items():
        parts.append(f"{final[init + head] - reached:+.1f} {cause}")
        reached = final[init + head]
    return (
        f"{data_set.name}: of {reached - plain:+.1f} points of {ours}, {head} head, "
        f"over {start}, {PLAIN_HEAD} head, {', '.join(parts)}."
    )


def _accuracy(
    data_set: DataSet,
    several: bool,
    against: Mapping[tuple[str, str], Mapping[str, Comparison]],
) -> Table:
    def mean(values: np.ndarray) -> str:
        if not several:
            return ACCURACY.mean(values)
        return ACCURACY.interval(intervals.over_seeds(values[:, None]))

    rows = []
    for line in data_set.lines:
        start, f1 = map(ACCURACY.mean, (line.start, line.f1))
        comparisons = against.get((line.init, line.head), {})
        last = tables.difference(comparisons.get(data_set.name))
        about = line.init, line.head, tables.words(line.settings[0])
        rows.append((*about, start, mean(line.final), f1, mean(line.area), *last))
    measures = "0 steps, %", "End, %", "F1, %", "Area, %", "Ours minus this", "p"
    table = Table(("Initialisation", "Head", "Setting", *measures), rows, text=3)
    if several:  # each chose a setting of its own
        table = table.without("Setting")
    return table if against else table.without("Ours minus this", "p")


def _targets(data_set: DataSet) -> Iterator[tuple[str, list[Times]]]:
    """Yields accuracies to be reached, in words, with the times that each line took."""
    lines, best = data_set.lines, data_set.thresholds
    if best is not None:
        for share, accuracy in best.values.items():
            final = f"{best.baseline} head reaches in the end, {100 * best.final:.1f} %"
            target = f"{100 * accuracy:.1f} %, {share:.0%} of what {final}"
            yield target, [line.times[share] for line in lines]
    for accuracy in lines[0].absolute:
        target = f"{100 * accuracy:g} %, fixed beforehand"
        yield target, [line.absolute[accuracy] for line in lines]


def _effort(data_set: DataSet, several: bool, times: Sequence[Times]) -> Table:
    rows = []
    for line, of_line in zip(data_set.lines, times, strict=True):
        took = {unit: time_to_threshold.summarise(of) for unit, of in of_line.items()}
        steps = took["steps"]
        half = steps.median
        median = "-" if half is None else time_to_threshold.number(half)
        means = (  # epochs are steps in another measure
            time_to_threshold.mean_in_words(of_unit, interval=unit != "epochs")
            for unit, of_unit in took.items()
        )
        reached = f"{steps.reached} of {steps.runs}"
        rows.append((line.init, line.head, reached, median, *means))
    names = ("Initialisation", "Head", "Reached", "Median", *map(str.capitalize, UNITS))
    table = Table(names, rows)
    return table if several else table.without("Reached", "Median")


def _explained(several: bool) -> Bullets:
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
    return Bullets(items)
