"""What a gain in accuracy is due to: the head, the step sizes or the initialisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from metainit.runtime import cost
from metainit.transfer.summary import DataSet

# Where a run begins, untouched by anything of ours; the first there is.
STARTS = ("pretrained weights", "random")
RATES = cost.NAMES[cost.RATES]
PLAIN_HEAD = "zero"


class Gain(NamedTuple):
    """From a start with a plain head to ours, a change at a time, in this order.

    Attributes:
      start: name of the initialisation that is compared with.
      head: by our head in place of a plain one, on the start.
      rates: then by learned step sizes; None where they were not learned alone.
      init: then by our initialisation.
      total: their sum. All are differences of final accuracy, means over seeds.
    """

    start: str
    head: float
    rates: float | None
    init: float
    total: float


def split(
    one: DataSet, ours: str, head: str, starts: Mapping[str, str] | None = None
) -> Gain | None:
    """Splits the gain of `ours` with `head` over the start with a plain head.

    Args:
      one: the data set.
      ours: name of our initialisation.
      head: the head that it is judged with.
      starts: by name, the initialisation that ours, or learned step sizes, began with;
        None where one run made them all, and so from one of `STARTS`.

    Returns:
      None where the start is not known, or it or the plain head was not measured.
    """
    final = {(line.init, line.head): float(np.mean(line.final)) for line in one.lines}
    if starts is None:
        starts = {RATES: STARTS[0]}
        start = next((name for name in STARTS if (name, PLAIN_HEAD) in final), None)
    else:
        start = starts.get(ours)
    if start is None or (start, PLAIN_HEAD) not in final:
        return None
    plain, headed = final[start, PLAIN_HEAD], final[start, head]
    rated = final.get((RATES, head)) if starts.get(RATES) == start else None
    before = headed if rated is None else rated
    return Gain(
        start,
        headed - plain,
        None if rated is None else rated - headed,
        final[ours, head] - before,
        final[ours, head] - plain,
    )


def in_words(gain: Gain, ours: str, head: str) -> str:
    """One sentence."""
    parts = f"{100 * gain.head:+.1f} are the head's, "
    if gain.rates is not None:
        parts += f"{100 * gain.rates:+.1f} learned step sizes' alone, "
    return (
        f"of {100 * gain.total:+.1f} points of {ours}, {head} head, over {gain.start}, "
        f"{PLAIN_HEAD} head, {parts}{100 * gain.init:+.1f} the initialisation's"
    )
