"""After how many new data sets an initialisation has paid for itself.

All device time is of one kind of device: an hour of one is not an hour of another.
"""

import math
from collections.abc import Mapping, Sequence

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


def against_baselines(
    seeds: Sequence[Sequence[FineTuning]], costs: Mapping[str, float]
) -> dict[str, str]:
    """Tells, by baseline, when our best initialisation has paid for itself.

    Every initialisation has the head that did best on meta-validation, and the time is
    that to `SHARE`. `costs` are device seconds that making each took, mean over seeds;
    without those of another kind of device, which nothing is told of.
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
        init: in_words(costs[best[0]] - costs[init], seconds(best[0]), seconds(init))
        for init in heads
        if init not in of_ours and init in costs
    }


def in_words(
    extra: float,
    ours: Mapping[str, Sequence[Time]],
    theirs: Mapping[str, Sequence[Time]],
) -> str:
    """Words for the verdict when what our initialisation took to make has been saved.

    `extra` are device seconds beyond the baseline's; each side has seconds to the
    threshold by data set, one a seed. A ValueError says where the sides differ.
    """
    shapes = [{name: len(times) for name, times in x.items()} for x in (ours, theirs)]
    seeds = set(shapes[0].values())
    if shapes[0] != shapes[1] or len(seeds) != 1 or 0 in seeds:
        raise ValueError(
            "a saving needs the same data sets and seeds on both sides, got runs "
            f"{shapes[0]} against {shapes[1]}"
        )
    # Each [data sets, seeds, 2]: the time, and whether it is one.
    sides = [np.array([side[name] for name in ours]) for side in (ours, theirs)]
    reached = [int(side[..., 1].sum()) for side in sides]
    if min(reached) < (runs := sides[0][..., 1].size):
        return (
            "has no break-even that can be given: it reached the threshold in "
            f"{reached[0]} of {runs} runs, the baseline in {reached[1]}"
        )
    by_seed = (sides[1] - sides[0])[..., 0].mean(0)
    saved = float(by_seed.mean())
    each = f"took {extra / 3600:+.3g} device hours and saves {saved:.3g} s a data set"
    count = data_sets(extra, saved)
    if count is None:
        return f"never pays for itself: it {each}"
    if count == 0:
        return f"pays for itself at once: it {each}"
    text = f"pays for itself after {count:,} new data sets: it {each}"
    if len(by_seed) == 1:
        return f"{text} (one seed)"
    _, low, high = mean_interval(by_seed)
    fewest, most = (
        "never" if count is None else f"{count:,}"
        for count in (data_sets(extra, high), data_sets(extra, low))
    )
    return f"{text} (95 %: {fewest} to {most})"


def data_sets(extra: float, saved: float) -> int | None:
    """Counts new data sets until `extra` seconds are saved; None for never."""
    if saved <= 0:
        return 0 if extra <= 0 and saved == 0 else None
    # A quotient that rounding alone lifted over a whole number is that number.
    return max(0, math.ceil(extra / saved * (1 - 1e-12)))
