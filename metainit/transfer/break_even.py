"""Counts the new data sets after which an initialisation has paid for itself.

All device time is of one kind of device: an hour of one is not an hour of another.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from metainit.evaluation.intervals import mean_interval
from metainit.transfer.time_to_threshold import SHARE, Efficiency, Line, Time


def against_baselines(
    efficiency: Efficiency, costs: Mapping[str, float]
) -> dict[str, str]:
    """Says for each baseline when our best initialisation has paid for itself.

    Every initialisation has its best head of meta-validation, and times are those to
    the threshold `SHARE`. `costs` are the device seconds of making each, mean over
    seeds. A baseline without a cost, from another kind of device, is left out.
    """
    sets, ours = [x for x in efficiency.data_sets if x.baseline], efficiency.ours
    if ours is None or ours[0] not in costs or not sets:
        return {}

    def seconds(line: Line) -> list[tuple[Time, ...]]:
        return [x.times(line, x.thresholds[SHARE])["device seconds"] for x in sets]

    return {
        init: sentence(costs[ours[0]] - costs[init], seconds(ours), seconds(line))
        for line in efficiency.heads.items()
        if (init := line[0]) in costs and not sets[0].runs[line][0].ours
    }


def sentence(
    extra: float, ours: Sequence[Sequence[Time]], theirs: Sequence[Sequence[Time]]
) -> str:
    """Says when the cost of making our initialisation has been saved.

    `extra` are its device seconds beyond the baseline's. Both sides have seconds to the
    threshold, [data sets][seeds], in the same order.
    """
    # Each [data sets, seeds]: the times, and whether the threshold was reached.
    (our_times, we_reached), (their_times, they_reached) = (
        np.moveaxis(np.array(side), -1, 0) for side in (ours, theirs)
    )
    if not (we_reached.all() and they_reached.all()):
        return (
            "has no break-even that can be given: it reached the threshold in "
            f"{we_reached.sum():.0f} of {we_reached.size} runs, the baseline in "
            f"{they_reached.sum():.0f}"
        )
    by_seed = (their_times - our_times).mean(0)
    saved = float(by_seed.mean())
    each = f"took {extra / 3600:+.3g} device hours and saves {saved:.3g} s a data set"
    count = data_sets(extra, saved)
    if not count:
        verdict = "pays for itself at once" if count == 0 else "never pays for itself"
        return f"{verdict}: it {each}"
    interval = "one seed"
    if len(by_seed) > 1:
        _, *limits = mean_interval(by_seed)
        least, most = (data_sets(extra, limit) for limit in reversed(limits))
        interval = f"95 %: {least:,} to {'never' if most is None else f'{most:,}'}"
    return f"pays for itself after {count:,} new data sets: it {each} ({interval})"


def data_sets(extra: float, saved: float) -> int | None:
    """Counts new data sets until `extra` seconds are saved; None for never."""
    if saved <= 0:
        return 0 if extra <= 0 and saved == 0 else None
    # A quotient that rounding alone lifted over a whole number is that number.
    return max(0, math.ceil(extra / saved * (1 - 1e-12)))
