"""What seeds of a claim come to where steps decide: how many times fewer ours takes."""

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
    """Ours beside the baseline that is there first, on a data set.

    Attributes:
      theirs: of all baselines and heads, that with the fewest steps to the threshold,
        mean of logarithms.
      log: of their steps by ours, paired by seed; p is after Holm's correction.
    """

    ours: Line
    theirs: Line
    log: Interval


def read(folders: Sequence[pathlib.Path]) -> Efficiency:
    """Gathers the fine-tunings of kept seeds."""
    kept = (atomic.read_rows(folder / TRANSFER) for folder in folders)
    return time_to_threshold.efficiency(list(map(fine_tunings, kept)))


def ratios(found: Efficiency, share: float = SHARE, head: str = "") -> dict[str, Ratio]:
    """Compares steps to a share of the best baseline's final accuracy, by data set.

    A run that never got there counts with all of its steps, and one that is there
    before its first step with one. With a `head` both sides have that one; without,
    ours has the one that meta-validation chose, and baselines have any.
    """
    ours, theirs = found.ours, {}
    assert ours is not None
    ours = (ours[0], head) if head else ours

    def logs(data_set: DataSet, line: Line) -> np.ndarray:  # [seeds, 1]
        times = data_set.times(line, data_set.thresholds[share])["steps"]
        return np.log([[max(1.0, time.value)] for time in times])

    sets = [x for x in found.data_sets if x.baseline]
    for x in sets:
        baselines = (line for line, runs in x.runs.items() if not runs[0].ours)
        lines = [line for line in baselines if not head or line[1] == head]
        theirs[x.name] = min(lines, key=lambda line, x=x: logs(x, line).mean())
    compared = intervals.compare(
        {x.name: logs(x, theirs[x.name]) for x in sets},
        {x.name: logs(x, ours) for x in sets},
    )
    return {name: Ratio(ours, theirs[name], log) for name, log in compared.items()}


def in_words(claim: Claim, protocol: str, folders: Sequence[pathlib.Path]) -> str:
    """The claim, what was found on every data set, and what every line took."""
    found, said = read(folders), [f"Claim: {claim.hypothesis}"]
    said.append(f"Decides: {claim.primary}; {claim.ratio:g} times are worth having.")
    said += [f"Another protocol, which does not decide: {protocol}."] * bool(protocol)
    said += [f"Against: {claim.baselines}", *verdict.versions(folders)]
    if missing := claim.seeds - len(folders):
        said.append(f"{missing} of {claim.seeds} seeds are to be run.")
    if len(folders) < 2:
        return "\n".join([*said, "One seed has no interval."])
    of_share = {share: ratios(found, share) for share in time_to_threshold.SHARES}
    of_head = {head: ratios(found, head=head) for head in _stepped(found)}
    ahead = time_to_threshold.against(found)
    for data_set in found.data_sets:
        if data_set.baseline and data_set.name in of_share[SHARE]:
            said += ["", _line(claim, data_set, of_share[SHARE][data_set.name])]
            said.append(_end(data_set, ahead[data_set.baseline][data_set.name]))
            for share, of_sets in of_share.items():
                said += _took(data_set, share, of_sets[data_set.name])
            said += [_alike(data_set, of_sets) for of_sets in of_head.values()]
    return "\n".join(said)


def _line(claim: Claim, data_set: DataSet, ratio: Ratio) -> str:
    word, least = "not won", math.log(claim.ratio)
    if ratio.log.different and abs(ratio.log.mean) >= least:
        word = "won" if ratio.log.mean > 0 else "lost"
    times, low, high = np.exp(ratio.log[:3])
    return (
        f"{data_set.name}: {word}. {', '.join(ratio.ours)} takes {times:.3g} "
        f"[{low:.3g}, {high:.3g}] times fewer steps to {SHARE:.0%} than "
        f"{', '.join(ratio.theirs)}, p {ratio.log.p:.2g}"
    )


def _end(data_set: DataSet, ahead: Interval) -> str:
    """What the best baseline ends at, what of it needs no step, and ours minus it."""
    assert data_set.baseline is not None
    final, room = data_set.last(data_set.baseline).mean(), data_set.before_steps
    return (
        f"  the best baseline in the end, {', '.join(data_set.baseline)}: "
        f"{100 * final:.1f} %"
        + ("" if room is None else f", of which {room:.0%} needs no step")
        + f"; ours minus it {tables.points(ahead)}, p {ahead.p:.2g}"
    )


def _took(data_set: DataSet, share: float, ratio: Ratio) -> list[str]:
    """What ours and the first of the baselines took, in every unit."""
    threshold, (times, low, high) = data_set.thresholds[share], np.exp(ratio.log[:3])
    lines = [
        f"  to {share:.0%}, {100 * threshold:.1f} %: "
        f"{times:.3g} [{low:.3g}, {high:.3g}] times fewer steps"
    ]
    for line in (ratio.ours, ratio.theirs):
        took = data_set.times(line, threshold)
        reached = sum(time.reached for time in took["steps"])
        units = (f"{time_to_threshold.in_words(took[x])} {x}" for x in UNITS)
        lines.append(
            f"    {', '.join(line)}: {'; '.join(units)}, {reached} of "
            f"{len(took['steps'])} seeds"
        )
    return lines


def _stepped(found: Efficiency) -> list[str]:
    """Lists the heads that take steps and that ours and baselines have both."""
    of_side: dict[bool, set[str]] = {True: set(), False: set()}
    for (_, head), runs in found.data_sets[0].runs.items():
        if not runs[0].in_closed_form:
            of_side[runs[0].ours].add(head)
    return sorted(of_side[True] & of_side[False])


def _alike(data_set: DataSet, of_sets: dict[str, Ratio]) -> str:
    """The same with one head on both sides, which no claim is decided by."""
    ratio = of_sets[data_set.name]
    times, low, high = np.exp(ratio.log[:3])
    mine, theirs = (data_set.last(line) for line in (ratio.ours, ratio.theirs))
    mean, least, most = intervals.mean_interval(100 * (mine - theirs))
    return (
        f"  with {ratio.ours[1]} on both sides {times:.3g} [{low:.3g}, {high:.3g}] "
        f"times fewer steps to {SHARE:.0%} than {ratio.theirs[0]}, p "
        f"{ratio.log.p:.2g}; in the end {mean:+.1f} [{least:.1f}, {most:.1f}]"
    )
