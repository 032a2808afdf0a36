"""After how many new data sets an initialisation has paid for itself.

All device time is of one kind of device: an hour of one is not an hour of another.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from metainit.evaluation.intervals import mean_interval
from metainit.transfer.time_to_threshold import SHARE, Efficiency, Line, Time


def against_baselines(found: Efficiency, costs: Mapping[str, float]) -> dict[str, str]:
    """Tells, by baseline, when our best initialisation has paid for itself.

    Every initialisation has the head that did best on meta-validation, and the time is
    that to `SHARE`. `costs` are device seconds that making each took, mean over seeds;
    without those of another kind of device, which nothing is told of.
    """
    sets, ours = [x for x in found.data_sets if x.baseline], found.ours
    if ours is None or ours[0] not in costs or not sets:
        return {}

    def seconds(line: Line) -> list[tuple[Time, ...]]:
        return [x.times(line, x.thresholds[SHARE])["device seconds"] for x in sets]

    return {
        init: in_words(costs[ours[0]] - costs[init], seconds(ours), seconds(line))
        for line in found.heads.items()
        if (init := line[0]) in costs and not sets[0].runs[line][0].ours
    }


def in_words(
    extra: float, ours: Sequence[Sequence[Time]], theirs: Sequence[Sequence[Time]]
) -> str:
    """Words for the verdict when what our initialisation took to make has been saved.

    `extra` are device seconds beyond the baseline's; each side has seconds to the
    threshold, [data sets][seeds], of the same ones.
    """
    # Each [data sets, seeds]: the times, and whether they are some.
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
