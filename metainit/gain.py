"""What a gain in accuracy is due to: the head, the step sizes or the initialisation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from metainit import results
from metainit.transfer_summary import DataSet

# Where learning begins that nothing of ours has touched; the first there is.
STARTS = ("pretrained weights", "random")
RATES = results.NAMES[results.RATES]
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


def split(one: DataSet, ours: str, head: str) -> Gain | None:
    """Splits the gain of `ours` with `head` over the start with a plain head.

    Args:
      one: the data set.
      ours: name of our initialisation.
      head: the head that it is judged with.

    Returns:
      None where the start or the plain head was not measured.
    """
    final = {(line.init, line.head): float(np.mean(line.final)) for line in one.lines}
    start = next((name for name in STARTS if (name, PLAIN_HEAD) in final), None)
    if start is None:
        return None
    plain, headed = final[start, PLAIN_HEAD], final[start, head]
    rated = final.get((RATES, head)) if start == STARTS[0] else None
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
