"""Who wins a run: ours beside the baseline that is hardest to beat.

Rows are chosen by meta-validation alone; nothing here is chosen by a test result.
"""

import operator
from collections.abc import Sequence

import numpy as np

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Interval
from metainit.evaluation.metrics import ACCURACY
from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import fairness, tables
from metainit.runtime.cost import JOINT, NAMES, OURS, RANDOM

# Accuracy of our best row minus that of each other row, by initialisation and head.
Differences = dict[tuple[str, str], Interval]

_validation_accuracy = operator.attrgetter("validation_accuracy")


def best_heads(rows: Sequence[Row]) -> dict[str, Row]:
    """Finds each initialisation's row with the best head on meta-validation."""
    return {
        init: max((x for x in rows if x.init == init), key=_validation_accuracy)
        for init in dict.fromkeys(row.init for row in rows)
    }


def our_best(rows: Sequence[Row]) -> Row:
    """Finds the best row of ours on meta-validation; none is a ValueError."""
    ours = [row for row in rows if row.init in OURS]
    if not ours:
        names = ", ".join(sorted({row.init for row in rows})) or "none"
        raise ValueError(
            f"rows: initialisations {names}; a report needs one of {', '.join(OURS)}"
        )
    return max(ours, key=_validation_accuracy)


def differences(rows: Sequence[Row]) -> Differences:
    """Subtracts every other row from our best, each after its chosen steps."""
    ours = our_best(rows)
    return {
        (row.init, row.head): intervals.paired_interval(chosen(ours), chosen(row))
        for row in rows
        if row is not ours
    }


def hardest(rows: Sequence[Row]) -> tuple[str, str, Interval] | None:
    """Finds the baseline that is hardest to beat; None where there is none.

    That is the one which comes closest or, where ours does not win, leads by most. The
    result is a badge, the name of the baseline and ours minus it.
    """
    best = best_heads(rows).items()
    baselines = [row for init, row in best if init not in OURS]
    against = differences([our_best(rows), *baselines])
    if not against:
        return None
    lost = {key: minus for key, minus in against.items() if minus.low <= 0}
    worse = {key: minus for key, minus in lost.items() if minus.high < 0}
    (init, _), minus = min(
        (worse or lost or against).items(), key=lambda item: item[1].mean
    )
    return "worse" if worse else "tie" if lost else "better", init, minus


def verdict(evaluation: Evaluation) -> str:
    """Compares ours with the baseline that is hardest to beat, in at most 25 words.

    This is Markdown, and begins with a badge where something was compared.
    """
    rows = evaluation.rows
    ours, best = our_best(rows), best_heads(rows)
    where = "On unseen classes"
    if len(evaluation.protocol.split()) < 3:
        where = f"{evaluation.protocol}, unseen classes"
    sides = [f"{ours.init} {_percent(ours)}"]
    if (rival := hardest(rows)) is None:
        return tables.paragraph(f"{where}: {sides[0]}; there is no baseline.")
    badge, init, minus = rival
    mean, low, high = tables.in_points(minus)
    more = ours.cost.device_seconds / max(best[init].cost.device_seconds, 1e-9) - 1
    if init == NAMES[JOINT] and more > fairness.TOLERANCE:
        sides[0] += f" in {100 * more:.0f} % more time"
    sides.append(f"{init} {_percent(best[init])} ({mean}, {low} to {high})")
    if RANDOM in best and init != RANDOM:
        sides.append(f"random weights {_percent(best[RANDOM])}")
    sentence = tables.escaped(f"{where}: {', '.join(sides)}.")
    return f"**{badge.capitalize()}.** {sentence}"


def chosen(row: Row, metric: str = "accuracy") -> np.ndarray:
    """Picks a metric after the steps that were best on meta-validation: [episodes]."""
    return row.measurements[metric][row.chosen]


def _percent(row: Row) -> str:
    return f"{ACCURACY.mean(chosen(row))} %"
