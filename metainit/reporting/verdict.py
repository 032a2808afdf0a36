"""Who wins in one run: heads as chosen on meta-validation, on the same episodes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation import metrics
from metainit.evaluation.results import Row
from metainit.runtime.cost import OURS


class Difference(NamedTuple):
    """Accuracy of `row` minus that of `other`, with its paired 95 % interval."""

    row: Row
    other: Row
    mean: float
    low: float
    high: float


def adapts(row: Row) -> bool:
    """Whether the row's head takes adaptation steps, or is in closed form."""
    return tuple(row.steps) != (0,)


def chosen_accuracy(row: Row) -> np.ndarray:
    """Accuracy after the chosen number of steps, float [episodes]."""
    return row.measurements["accuracy"][row.chosen]


def compare(row: Row, other: Row) -> Difference:
    """Paired difference of two rows, each after its chosen number of steps."""
    interval = metrics.paired_interval(chosen_accuracy(row), chosen_accuracy(other))
    return Difference(row, other, *interval)


def best_heads(rows: Sequence[Row]) -> dict[str, Row]:
    """Each initialisation's row with the best head, chosen on meta-validation."""
    best: dict[str, Row] = {}
    for row in rows:
        held = best.get(row.init)
        if held is None or row.validation_accuracy > held.validation_accuracy:
            best[row.init] = row
    return best


def our_best(rows: Sequence[Row]) -> Row:
    """Best head of the best of our initialisations, chosen on meta-validation.

    Raises:
      ValueError: none of our initialisations is among the rows.
    """
    ours = [row for name, row in best_heads(rows).items() if name in OURS]
    if not ours:
        found = ", ".join(sorted({row.init for row in rows})) or "none"
        raise ValueError(
            f"rows: initialisations {found}; a report needs one of {', '.join(OURS)}"
        )
    return max(ours, key=lambda row: row.validation_accuracy)


def against_baselines(rows: Sequence[Row]) -> tuple[Difference, ...]:
    """Our best row against the best head of every baseline initialisation."""
    ours = our_best(rows)
    baselines = (r for name, r in best_heads(rows).items() if name not in OURS)
    return tuple(compare(ours, row) for row in baselines)


def sentence(rows: Sequence[Row]) -> str:
    """The verdict, naming the baseline that comes closest or leads by most."""
    ours = our_best(rows)
    source = "" if ours.init == OURS[0] else "started from pretrained weights, "
    name = f"The meta-learned initialisation ({source}{place(ours)})"
    accuracy = percent(chosen_accuracy(ours))
    differences = against_baselines(rows)
    if not differences:
        return (
            f"{name} reaches {accuracy} % on unseen classes; no baseline was evaluated."
        )
    if all(d.low > 0 for d in differences):
        hardest = min(differences, key=lambda d: d.mean)
        verdict, close = "beats every baseline on unseen classes", ""
    else:
        hardest = min((d for d in differences if d.low <= 0), key=lambda d: d.mean)
        verdict = "does not beat every baseline on unseen classes"
        worse = hardest.high < 0
        close = ", worse on these episodes" if worse else ", not distinguishable"
    other = hardest.other
    return (
        f"{name} {verdict}: {accuracy} % against {percent(chosen_accuracy(other))} % "
        f"for {other.init} ({place(other)}), a difference of "
        f"{points(hardest, ' points')}{close}."
    )


def place(row: Row) -> str:
    """Head and chosen steps in words, e.g. "prototype head after 5 steps"."""
    if not adapts(row):
        return row.head
    count = row.steps[row.chosen]
    return f"{row.head} head after {count} step{'' if count == 1 else 's'}"


def percent(values: np.ndarray) -> str:
    """Mean of values 0 to 1 in percent, e.g. "87.1"."""
    return f"{100 * np.mean(values):.1f}"


def points(difference: Difference, unit: str = "") -> str:
    """A difference in percentage points, e.g. "+3.1 [2.5, 3.7]".

    Two decimals where one would hide on which side of zero an end lies.
    """
    mean, low, high = (100 * x for x in difference[2:])
    places = 2 if min(abs(low), abs(high)) < 0.05 else 1
    mean = round(mean, places) + 0.0  # never "-0.0"
    return f"{mean:+.{places}f}{unit} [{low:.{places}f}, {high:.{places}f}]"
