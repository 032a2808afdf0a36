"""Decides how many episodes meta-test has, before it looks at the first of them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from metainit.config.fields import Evaluate
from metainit.evaluation import intervals
from metainit.evaluation.results import Row
from metainit.runtime.cost import OURS

# The fewest episodes of all data sets with held-out classes together, and of each.
FLOOR, OF_EACH = 100, 30


class Seconds(NamedTuple):
    """The seconds of a run.

    Attributes:
      before: the time until meta-test.
      choosing: the time of choosing on meta-validation, a part of meta-test.
      each: the time of an episode of each data set, with all rows.
    """

    before: float
    choosing: float
    each: float

    def share(self, episodes: float) -> float:
        """Gives meta-test's share of the run, 0 to 1."""
        test = self.choosing + episodes * self.each
        return test / (self.before + test)


class Spread(NamedTuple):
    """The paired difference of two rows, as meta-validation shows it.

    Attributes:
      rows: ours and the strongest initialisation that is not, each with its best head.
      half_width: half of its 95 % interval on `episodes`, in percentage points.
    """

    rows: tuple[Row, Row]
    half_width: float
    episodes: int

    def expected(self, episodes: int) -> float:
        """Estimates the half width on a number of episodes."""
        return self.half_width * math.sqrt(self.episodes / episodes)

    def needed(self, half_width: float) -> int:
        """Counts the episodes that a half width takes, 1 or more."""
        return max(1, math.ceil(self.episodes * (self.half_width / half_width) ** 2))


def floor(section: Evaluate, sets: int) -> int:
    """Gives the fewest episodes of each data set that meta-test may have."""
    return min(max(-(-FLOOR // max(1, sets)), OF_EACH), section.episodes)


def that_fit(section: Evaluate, fewest: int, seconds: Seconds) -> int:
    """Counts episodes that keep `max_share` of the run, `fewest` to all of them."""
    share = section.max_share
    if share == 1 or not seconds.each:
        return section.episodes
    left = share / (1 - share) * seconds.before - seconds.choosing
    fitting = math.floor(left / seconds.each)
    return int(np.clip(fitting, fewest, section.episodes))


def spread(rows: Sequence[Row]) -> Spread | None:
    """Compares the best row of ours with the best other one, as meta-validation does.

    The rows have their measurements on meta-validation. The result is None where a side
    has no row, and on fewer than two episodes.
    """
    sides = [[row for row in rows if (row.init in OURS) == ours] for ours in (1, 0)]
    if not all(sides):
        return None
    ours, other = (max(side, key=lambda row: row.validation_accuracy) for side in sides)
    values = [x.measurements["accuracy"][x.chosen] for x in (ours, other)]
    minus = 100 * np.subtract(*values, dtype=np.float64)
    if len(minus) < 2:
        return None
    mean, low, _ = intervals.mean_interval(minus)
    return Spread((ours, other), mean - low, len(minus))


def choose(
    section: Evaluate, rows: Sequence[Row], sets: int, fewest: int, seconds: Seconds
) -> tuple[int, str]:
    """Gives the episodes of each data set, `fewest` or more, and why in words.

    `rows` are those of `spread`. The interval whose half width is asked for is over all
    `sets` of meta-test, without held-out classes.
    """
    paired, most = spread(rows), section.episodes
    asked, fitting = section.half_width, that_fit(section, fewest, seconds)
    needed = -(-paired.needed(asked) // sets) if asked and paired else most
    count = min(max(needed, fewest), fitting)
    of_each = " of each data set" if sets > 1 else ""
    words = (
        f"Meta-test has {count:,} episodes{of_each}, and may have {most:,} "
        "(evaluate.episodes)."
    )
    by_time = seconds.share(count)
    if paired is not None:
        ours, other = (f"{row.init} ({row.head})" for row in paired.rows)
        words += (
            f" By what {paired.episodes} meta-validation episodes show, they tell "
            f"{ours} minus {other} to ±{paired.expected(count * sets):.2f} points"
        )
        if asked:
            words += f"; ±{asked:g} (evaluate.half_width) takes {needed:,}"
        words += "."
    elif asked:
        words += (
            f" There are no two sides to compare to ±{asked:g} (evaluate.half_width), "
            "and so it has all."
        )
    if fitting < min(needed, most):
        share = seconds.share(min(needed, most))
        words += (
            f" {min(needed, most):,} would take {100 * share:.0f} % of the run's time; "
            f"at most {100 * section.max_share:g} % are asked for (evaluate.max_share)."
        )
    if by_time > section.max_share:
        words += (
            f" It takes about {100 * by_time:.0f} % of the run's time, and not at most "
            f"{100 * section.max_share:g} %: give that as evaluate.max_share, fewer "
            "rates, or fewer of evaluate.validation_episodes."
        )
    return count, words
