"""After how many new data sets an initialisation has paid for itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation.intervals import mean_interval
from metainit.transfer.results import FineTuning
from metainit.transfer.time_to_threshold import (
    SHARE,
    Time,
    best_heads,
    by_data_set,
    line_of,
    our_line,
)


class BreakEven(NamedTuple):
    """When making our initialisation has paid for itself.

    Attributes:
      extra: device seconds it took beyond the baseline's.
      saved: device seconds on a new data set, the mean over data sets; not finite where
        a run of either side did not reach the threshold, and none can be given.
      low, high: its 95 % interval over seeds; None for one seed.
      ours, theirs: runs that reached the threshold.
      runs: of each.
    """

    extra: float
    saved: float
    low: float | None
    high: float | None
    ours: int
    theirs: int
    runs: int


def break_even(
    extra: float,
    ours: Mapping[str, Sequence[Time]],
    theirs: Mapping[str, Sequence[Time]],
) -> BreakEven:
    """What our initialisation saves on a new data set, and what that took.

    Args:
      extra: device seconds it took to make, beyond the baseline's.
      ours, theirs: seconds to the threshold by data set, one a seed, seeds in one
        order on both sides.

    Raises:
      ValueError: data sets or numbers of seeds that differ.
    """
    shapes = [{name: len(times) for name, times in x.items()} for x in (ours, theirs)]
    seeds = set(shapes[0].values())
    if shapes[0] != shapes[1] or len(seeds) != 1 or 0 in seeds:
        raise ValueError(
            "a saving needs the same data sets and seeds on both sides, got runs "
            f"{shapes[0]} against {shapes[1]}"
        )
    reached, theirs_reached = (
        sum(time.reached for times in side.values() for time in times)
        for side in (ours, theirs)
    )
    runs = sum(shapes[0].values())
    low: float | None = None
    high: float | None = None
    saved = math.nan
    if reached == theirs_reached == runs:
        of_each = [
            [their.value - our.value for our, their in zip(*pair, strict=True)]
            for pair in ((ours[name], theirs[name]) for name in ours)
        ]
        by_seed = np.mean(of_each, 0)
        saved = float(by_seed.mean())
        if len(by_seed) > 1:
            _, low, high = mean_interval(by_seed)
    return BreakEven(extra, saved, low, high, reached, theirs_reached, runs)


def against_baselines(
    seeds: Sequence[Sequence[FineTuning]], costs: Mapping[str, float]
) -> dict[str, BreakEven]:
    """Our best initialisation against each baseline, in device seconds to `SHARE`.

    Each with the head that did best on meta-validation.

    Args:
      seeds: as for `by_data_set`.
      costs: device seconds that making each initialisation took, mean over seeds;
        without those of another kind of device, which nothing is told of.

    Returns:
      By name of the baseline; {} where no data set has thresholds.
    """
    sets = [x for x in by_data_set(seeds) if x.thresholds is not None]
    best, heads = our_line(seeds), best_heads(seeds)
    of_ours = {run.init for run in seeds[0] if run.ours}
    if best is None or best[0] not in costs or not sets:
        return {}

    def seconds(init: str) -> dict[str, tuple[Time, ...]]:
        return {
            x.name: line_of(x, init, heads[init]).times[SHARE]["device seconds"]
            for x in sets
        }

    return {
        init: break_even(costs[best[0]] - costs[init], seconds(best[0]), seconds(init))
        for init in heads
        if init not in of_ours and init in costs
    }


def data_sets(extra: float, saved: float) -> int | None:
    """New data sets after which what was spent has been saved.

    Args:
      extra: device seconds spent.
      saved: device seconds on each data set.

    Returns:
      0 for at once, None for never.
    """
    if saved <= 0:
        return 0 if extra <= 0 and saved == 0 else None
    # A quotient that rounding alone lifted over a whole number is that number.
    return max(0, math.ceil(extra / saved * (1 - 1e-12)))


def in_words(found: BreakEven) -> str:
    """One sentence, for the verdict."""
    if not math.isfinite(found.saved):
        return (
            "has no break-even that can be given: it reached the threshold in "
            f"{found.ours} of {found.runs} runs, the baseline in {found.theirs}"
        )
    took = f"took {found.extra / 3600:+.3g} device hours to make"
    each = f"{took} and saves {found.saved:.3g} s on a data set"
    count = data_sets(found.extra, found.saved)
    if count is None:
        return f"never pays for itself: it {each}"
    if count == 0:
        return f"pays for itself at once: it {each}"
    text = f"pays for itself after {count:,} new data sets: it {each}"
    if found.low is None or found.high is None:
        return f"{text} (one seed)"
    fewest, most = (
        "never" if count is None else f"{count:,}"
        for count in (data_sets(found.extra, x) for x in (found.high, found.low))
    )
    return f"{text} (95 %: {fewest} to {most})"
