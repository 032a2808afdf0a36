"""The outcome of a claim that steps decide: how many times fewer ours takes."""

import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.claims import verdict
from benchmarks.claims.claim import Claim
from metainit.evaluation import intervals
from metainit.evaluation.intervals import Interval
from metainit.reporting import tables
from metainit.reporting.finished_runs import TRANSFER, fine_tunings
from metainit.runtime import atomic
from metainit.transfer import time_to_threshold
from metainit.transfer.time_to_threshold import SHARE, UNITS, DataSet, Efficiency, Line


class Ratio(NamedTuple):
    """Ours beside the fastest baseline, on a data set.

    Attributes:
      ours: our initialisation and its head.
      theirs: the baseline and head with the fewest steps to the threshold, by the mean
        of their logarithms.
      log: the logarithm of their steps divided by ours, paired by seed. Its p is
        corrected by Holm's method.
    """

    ours: Line
    theirs: Line
    log: Interval

    def __str__(self) -> str:
        """Formats the ratio with its interval, "1.57 [1.01, 2.43]"."""
        times, low, high = np.exp(self.log[:3])
        return f"{times:.3g} [{low:.3g}, {high:.3g}]"


def read(folders: Sequence[pathlib.Path]) -> Efficiency:
    """Gathers the fine-tunings of kept seeds."""
    kept = (atomic.read_rows(folder / TRANSFER) for folder in folders)
    return time_to_threshold.efficiency(list(map(fine_tunings, kept)))


def ratios(
    efficiency: Efficiency, share: float = SHARE, head: str = ""
) -> dict[str, Ratio]:
    """Compares steps to a share of the best baseline's final accuracy, by data set.

    A run that never arrives counts with all of its steps, and one that arrives before
    its first step counts with one. With a `head`, both sides have that one. Without it
    ours has the head that meta-validation chose, and baselines have any.
    """
    ours, theirs = efficiency.ours, {}
    assert ours is not None
    ours = (ours[0], head) if head else ours

    def logs(data_set: DataSet, line: Line) -> np.ndarray:  # [seeds, 1]
        times = data_set.times(line, data_set.thresholds[share])["steps"]
        return np.log([[max(1.0, time.value)] for time in times])

    sets = [x for x in efficiency.data_sets if x.baseline]
    for x in sets:
        baselines = (line for line, runs in x.runs.items() if not runs[0].ours)
        lines = [line for line in baselines if not head or line[1] == head]
        theirs[x.name] = min(lines, key=lambda line, x=x: logs(x, line).mean())
    compared = intervals.compare(
        {x.name: logs(x, theirs[x.name]) for x in sets},
        {x.name: logs(x, ours) for x in sets},
    )
    return {name: Ratio(ours, theirs[name], log) for name, log in compared.items()}


def report(claim: Claim, protocol: str, folders: Sequence[pathlib.Path]) -> str:
    """Writes the claim, its outcome on every data set, and what every line took."""
    efficiency = read(folders)
    threshold = f"{claim.ratio:g} times are worth having"
    lines = verdict.opening(claim, threshold, protocol) + verdict.versions(folders)
    if missing := claim.seeds - len(folders):
        lines.append(f"{missing} of {claim.seeds} seeds are to be run.")
    if len(folders) < 2:
        return "\n".join([*lines, "One seed has no interval."])
    by_share = {x: ratios(efficiency, x) for x in time_to_threshold.SHARES}
    by_head = [ratios(efficiency, head=head) for head in _shared_heads(efficiency)]
    ahead = time_to_threshold.against(efficiency)
    for data_set in efficiency.data_sets:
        name = data_set.name
        if data_set.baseline and name in by_share[SHARE]:
            lines += ["", _outcome(claim, name, by_share[SHARE][name])]
            lines.append(_end(data_set, ahead[data_set.baseline][name]))
            for share, by_set in by_share.items():
                lines += _times(data_set, share, by_set[name])
            lines += [_same_head(data_set, by_set[name]) for by_set in by_head]
    return "\n".join(lines)


def _outcome(claim: Claim, name: str, ratio: Ratio) -> str:
    outcome, least = "not won", math.log(claim.ratio)
    if ratio.log.different and abs(ratio.log.mean) >= least:
        outcome = "won" if ratio.log.mean > 0 else "lost"
    return (
        f"{name}: {outcome}. {', '.join(ratio.ours)} takes {ratio} times fewer steps "
        f"to {SHARE:.0%} than {', '.join(ratio.theirs)}, p {ratio.log.p:.2g}"
    )


def _end(data_set: DataSet, ahead: Interval) -> str:
    """Tells the best baseline's final accuracy, and ours minus it."""
    assert data_set.baseline is not None
    final, room = data_set.last(data_set.baseline).mean(), data_set.before_steps
    return (
        f"  the best baseline in the end, {', '.join(data_set.baseline)}: "
        f"{100 * final:.1f} %"
        + ("" if room is None else f", of which {room:.0%} needs no step")
        + f"; ours minus it {tables.points(ahead)}, p {ahead.p:.2g}"
    )


def _times(data_set: DataSet, share: float, ratio: Ratio) -> list[str]:
    """Tells what ours and the fastest baseline took, in every unit."""
    threshold = data_set.thresholds[share]
    heading = f"  to {share:.0%}, {100 * threshold:.1f} %: {ratio} times fewer steps"
    lines = [heading]
    for line in (ratio.ours, ratio.theirs):
        times = data_set.times(line, threshold)
        reached = sum(time.reached for time in times["steps"])
        units = (f"{time_to_threshold.restricted_mean(times[x])} {x}" for x in UNITS)
        lines.append(
            f"    {', '.join(line)}: {'; '.join(units)}, {reached} of "
            f"{len(times['steps'])} seeds"
        )
    return lines


def _shared_heads(efficiency: Efficiency) -> list[str]:
    """Lists the heads that take steps and that both ours and baselines have."""
    by_side: dict[bool, set[str]] = {True: set(), False: set()}
    for (_, head), runs in efficiency.data_sets[0].runs.items():
        if not runs[0].in_closed_form:
            by_side[runs[0].ours].add(head)
    return sorted(by_side[True] & by_side[False])


def _same_head(data_set: DataSet, ratio: Ratio) -> str:
    """Compares both sides with the same head; this decides no claim."""
    mine, theirs = (data_set.last(line) for line in (ratio.ours, ratio.theirs))
    mean, least, most = intervals.mean_interval(100 * (mine - theirs))
    return (
        f"  with {ratio.ours[1]} on both sides {ratio} times fewer steps to "
        f"{SHARE:.0%} than {ratio.theirs[0]}, p {ratio.log.p:.2g}; in the end "
        f"{mean:+.1f} [{least:.1f}, {most:.1f}]"
    )
