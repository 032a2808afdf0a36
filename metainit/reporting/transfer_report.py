"""The part of a report that is about transfer: "Transfer efficiency"."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from metainit.reporting import gain, tables, transfer_tables
from metainit.transfer import accounting, summary, time_to_threshold
from metainit.transfer.accounting import Spending
from metainit.transfer.results import FineTuning, Transfer
from metainit.transfer.summary import SHARE, UNITS, DataSet, Line

_HEADING = ("Initialisation", "Head", "Setting", "At 0 steps, %", "At the end, %")
_TIME_HEADING = ("Initialisation", "Head", "Share", "Accuracy, %")


def lines(transfer: Transfer, figure: str | None) -> Iterator[str]:
    """Lines of Markdown.

    Args:
      transfer: of the experiment.
      figure: name of the PNG file, where one was drawn.
    """
    seeds = [transfer.runs]
    sets = summary.by_data_set(seeds, transfer.accuracies)
    yield "## Transfer efficiency"
    yield ""
    for sentence in sentences(seeds, _seconds(transfer), transfer.starts):
        yield from (sentence, "")
    yield f"All classes of a data set, {transfer.protocol}."
    yield ""
    if figure:
        yield from (f"![Accuracy against fine-tuning step]({figure})", "")
    for one in sets:
        yield from (f"### {one.name}", "")
        heading = (*_HEADING, "F1, %", "Area, %")
        yield from tables.markdown(heading, map(_cells, one.lines), text=3)
        yield ""
        yield from _times(one)
    yield (
        "- Setting: did best in the trials. Area: mean accuracy over log(1 + step), "
        "which counts early steps as much as late ones."
    )
    yield (
        "- Share: of the final accuracy of the best baseline, which fixes the "
        "threshold; -: an accuracy fixed beforehand. Accuracy is looked at after 0, 1, "
        "2, 5, 10, ... steps only."
    )
    yield (
        "- > N: not reached within N (right-censored). Device seconds: of the steps "
        "and of making the head; compilation and measuring excluded."
    )
    yield ""
    yield from _account(transfer)
    yield "### Trials, the same for every initialisation"
    yield ""
    for name, value in transfer.grid.items():
        yield f"- {name}: {tables.words(value)}"
    yield ""


def terminal(transfer: Transfer, width: int) -> Iterator[str]:
    """Plain text in ASCII."""
    yield from ("Transfer efficiency", "")
    yield from textwrap.wrap(f"All classes of a data set, {transfer.protocol}.", width)
    yield ""
    seeds = [transfer.runs]
    yield from of_seeds(
        seeds, _seconds(transfer), transfer.accuracies, width, transfer.starts
    )


def of_seeds(
    seeds: Sequence[Sequence[FineTuning]],
    costs: Mapping[str, float],
    accuracies: Sequence[float],
    width: int,
    starts: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Sentences and tables for the terminal, over one seed or several.

    Args:
      seeds: the fine-tunings of each.
      costs: device seconds of making each initialisation, mean over seeds.
      accuracies: to be reached, fixed beforehand.
      width: columns of the text.
      starts: as for `metainit.reporting.gain.split`.
    """
    for sentence in sentences(seeds, costs, starts):
        yield from (*textwrap.wrap(sentence, width), "")
    for name, found in transfer_tables.of_seeds(seeds, accuracies):
        for title, table in found:
            yield from textwrap.wrap(f"{name}: {title[0].lower()}{title[1:]}", width)
            yield from tables.aligned(tables.indented(table))
            yield ""
    yield from textwrap.wrap(transfer_tables.explained(len(seeds)), width)


def sentences(
    seeds: Sequence[Sequence[FineTuning]],
    costs: Mapping[str, float],
    starts: Mapping[str, str] | None = None,
) -> tuple[str, ...]:
    """How fast our best is, what it owes to what, and when it pays for itself."""
    ours, heads = summary.our_best(seeds), summary.best_heads(seeds)
    if ours is None:
        return ()
    found = []
    for one in summary.by_data_set(seeds):
        if one.thresholds is None:
            found.append(
                f"{one.name}: no baseline classified an image rightly at the end, so "
                "there is no threshold to reach."
            )
            continue
        took = {
            init: time_to_threshold.in_words(
                summary.line_of(one, init, head).times[SHARE]["steps"]
            )
            for init, head in heads.items()
        }
        others = ", ".join(f"{init} {took[init]}" for init in took if init != ours)
        found.append(
            f"{one.name}: steps to {100 * one.thresholds.values[SHARE]:.1f} % accuracy "
            f"({SHARE:.0%} of what {one.thresholds.baseline} head reaches in the end): "
            f"{ours} {took[ours]}; {others}."
        )
        if (parts := gain.split(one, ours, heads[ours], starts)) is not None:
            told = gain.in_words(parts, ours, heads[ours])
            found.append(f"{one.name}: {told}.")
    for baseline, sums in summary.break_even(seeds, costs).items():
        found.append(f"Against {baseline}, {ours} {accounting.in_words(sums)}.")
    return tuple(found)


def _cells(line: Line) -> tuple[str, ...]:
    settings = list(dict.fromkeys(tables.words(s) for s in line.settings))
    measures = (line.start, line.final, line.f1, line.area)
    numbers = (f"{100 * np.mean(values):.1f}" for values in measures)
    return (line.init, line.head, " or ".join(settings), *numbers)


def _times(one: DataSet) -> Iterator[str]:
    levels = [
        ("-", value, line, line.absolute[value])
        for value in one.lines[0].absolute
        for line in one.lines
    ]
    if one.thresholds is None:
        yield "No baseline classified an image rightly at the end: no threshold."
        yield ""
    else:
        best = f"{one.thresholds.baseline} head, {100 * one.thresholds.final:.1f} %"
        yield f"Until shares of the best baseline's final accuracy ({best}):"
        yield ""
        levels[:0] = [
            (f"{share:.0%}", value, line, line.times[share])
            for share, value in one.thresholds.values.items()
            for line in one.lines
        ]
    if not levels:
        return
    table = [
        (
            line.init,
            line.head,
            share,
            f"{100 * value:.1f}",
            *(time_to_threshold.in_words(times[unit]) for unit in UNITS),
        )
        for share, value, line, times in levels
    ]
    heading = (*_TIME_HEADING, *(unit.capitalize() for unit in UNITS))
    yield from tables.markdown(heading, table, text=2)
    yield ""


def _seconds(transfer: Transfer) -> dict[str, float]:
    """Of making the initialisations that were made on this kind of device."""
    return {
        name: cost.device_seconds
        for name, cost in transfer.costs.items()
        if cost.device in (None, transfer.device)
    }


def _account(transfer: Transfer) -> Iterator[str]:
    yield from ("### Device hours", "")
    spendings = [
        Spending(
            f"making {name}",
            cost.device_seconds,
            cost.device or transfer.device,
            flops=cost.flops,
        )
        for name, cost in transfer.costs.items()
        if cost.device_seconds
    ]
    work = {"trials, all": (transfer.trial_seconds, transfer.trial_flops)}
    for name in dict.fromkeys(run.dataset for run in transfer.runs):
        last = [run.points[-1] for run in transfer.runs if run.dataset == name]
        work[f"fine-tuning on {name}, all"] = (
            sum(point["device_seconds"] for point in last),
            sum(point["flops"] for point in last),
        )
    spendings += [
        Spending(words, seconds, transfer.device, flops=operations)
        for words, (seconds, operations) in work.items()
    ]
    price = transfer.price_per_hour
    heading: tuple[str, ...] = ("Work", "Device", "Device hours", "FLOPs")
    heading += ("Cost",) if price else ()
    table: list[tuple[Any, ...]] = []
    kinds = dict.fromkeys(spending.kind for spending in spendings)
    for kind in kinds:
        of_kind = [spending for spending in spendings if spending.kind == kind]
        of_this = price if kind == transfer.device else None
        for bill in accounting.bills(of_kind, of_this):
            cells = (
                bill.name,
                f"{bill.kind} x{bill.devices}",
                f"{bill.device_hours:.3g}",
                tables.flops(bill.flops),
            )
            cost = "-" if bill.cost is None else f"{bill.cost:.2f}"
            table.append(cells + ((cost,) if price else ()))
    yield from tables.markdown(heading, table, text=2)
    yield ""
    if len(kinds) > 1:
        yield (
            "- An hour of one kind of device is not one of another: each kind has a "
            f"total, a price is that of {transfer.device}, and there is no break-even "
            "of an initialisation that was made on another."
        )
    yield (
        "- An initialisation that was started from pretrained weights has their "
        "making in its own. Trials are as many for each and no part of a break-even. "
        "FLOPs are by our count, a dash where they were not counted; what the host "
        "fits (logistic regression, class means) is not among them."
    )
    yield ""
