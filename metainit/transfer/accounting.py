"""When making an initialisation has paid for itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation.metrics import mean_interval
from metainit.transfer.time_to_threshold import Time, common_horizon


class Saving(NamedTuple):
    """Seconds saved on a new data set, the mean over data sets.

    Attributes:
      mean: baseline's restricted time to the threshold minus ours.
      low, high: its 95 % interval over seeds; None for one seed.
      ours, theirs: runs that reached the threshold within the data set's horizon.
      runs: of each. Where only theirs did not all get there the saving is at least
        `mean`, where only ours did not, it is at most that.
      never: data sets on which all runs of a side did not, in words; where there are
        any, no break-even can be given.
    """

    mean: float
    low: float | None
    high: float | None
    ours: int
    theirs: int
    runs: int
    never: tuple[str, ...] = ()


class BreakEven(NamedTuple):
    """When meta-training has paid for itself.

    Attributes:
      data_sets: new data sets after which it has; 0 for at once, None for never, or
        where none can be given (`Saving.never`).
      fewest, most: the same at the ends of the saving's interval.
      extra_seconds: device time it took beyond the baseline's.
      saving: on each data set.
    """

    data_sets: int | None
    fewest: int | None
    most: int | None
    extra_seconds: float
    saving: Saving


def saving(
    ours: Mapping[str, Sequence[Time]], theirs: Mapping[str, Sequence[Time]]
) -> Saving:
    """Device seconds that our initialisation saves on a new data set.

    Times are restricted to a data set's common horizon, so that a run which never
    reached the threshold counts as having taken that long.

    Args:
      ours, theirs: seconds to the threshold by data set, one a seed, seeds in one
        order on both sides.

    Raises:
      ValueError: data sets or numbers of seeds that differ.
    """
    shapes = [{k: len(v) for k, v in side.items()} for side in (ours, theirs)]
    seeds = set(shapes[0].values())
    if shapes[0] != shapes[1] or len(seeds) != 1 or 0 in seeds:
        raise ValueError(
            "a saving needs the same data sets and seeds on both sides, got runs "
            f"{shapes[0]} against {shapes[1]}"
        )
    by_set = []  # of [seeds]
    there = []  # [2]: runs of ours and of theirs
    never = []
    for name in ours:
        horizon = common_horizon([ours[name], theirs[name]])
        counts = [
            sum(time.reached and time.value <= horizon for time in side[name])
            for side in (ours, theirs)
        ]
        there.append(counts)
        if 0 in counts:
            who = "the baseline never" if counts[0] else "it never"
            who = who if any(counts) else "neither"
            never.append(
                f"{who} reached the threshold within {horizon:.3g} s on {name}"
            )
        by_set.append(
            [
                min(their.value, horizon) - min(our.value, horizon)
                for our, their in zip(ours[name], theirs[name], strict=True)
            ]
        )
    by_seed = np.mean(by_set, 0)
    low: float | None = None
    high: float | None = None
    mean = float(by_seed.mean())
    if len(by_seed) > 1:
        _, low, high = mean_interval(by_seed)
    ours_there, theirs_there = (int(count) for count in np.sum(there, 0))
    runs = len(by_seed) * len(ours)
    return Saving(mean, low, high, ours_there, theirs_there, runs, tuple(never))


def break_even(ours: float, baseline: float, saved: Saving) -> BreakEven:
    """New data sets until making our initialisation has paid for itself.

    Args:
      ours: device seconds it took to make, all it needs included.
      baseline: device seconds it took to make the best baseline's.
      saved: on each new data set, on the same kind and number of devices.
    """
    extra = ours - baseline
    if saved.never:
        return BreakEven(None, None, None, extra, saved)
    return BreakEven(
        _data_sets(extra, saved.mean),
        None if saved.high is None else _data_sets(extra, saved.high),
        None if saved.low is None else _data_sets(extra, saved.low),
        extra,
        saved,
    )


def in_words(found: BreakEven) -> str:
    """One sentence, for the verdict."""
    saved = found.saving
    if saved.never:
        return f"has no break-even that can be given: {'; '.join(saved.never)}"
    ours_all, theirs_all = (side == saved.runs for side in (saved.ours, saved.theirs))
    bound = turned = ""  # of the saving, and of what shrinks where it grows
    if ours_all and not theirs_all:
        bound, turned = "at least ", "at most "
    elif theirs_all and not ours_all:
        bound, turned = "at most ", "at least "
    each = f"it saves {bound}{saved.mean:.3g} s a data set"
    if saved.mean < 0:
        each = f"it takes {turned}{-saved.mean:.3g} s more on a data set"
    if not ours_all and not theirs_all:
        each += " (runs of both that did not get there count up to the horizon)"
    extra = found.extra_seconds
    to_make = f"{abs(extra):.3g} s {'more' if extra >= 0 else 'less'} to make"
    if bound and found.data_sets == (None if ours_all else 0):
        return f"may or may not pay for itself: {each}, and took {to_make}"
    if found.data_sets is None:
        return f"never pays for itself: {each}, and took {to_make}"
    if found.data_sets == 0:
        return f"pays for itself at once: {each}, and took no longer to make"
    text = f"pays for itself after {turned}{found.data_sets:,} new data sets"
    text += f"{', if ever' if bound and theirs_all else ''}: {each}"
    if saved.low is None:
        return f"{text} (one seed)"
    if bound:
        return text
    fewest, most = (
        "never" if count is None else f"{count:,}"
        for count in (found.fewest, found.most)
    )
    return f"{text} (95 %: {fewest} to {most})"


def _data_sets(extra: float, saved: float) -> int | None:
    if saved <= 0:
        return 0 if extra <= 0 and saved == 0 else None
    # A quotient that rounding alone lifted over a whole number is that number.
    return max(0, math.ceil(extra / saved * (1 - 1e-12)))
