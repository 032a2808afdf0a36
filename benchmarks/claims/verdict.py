"""The outcome of a claim: ours beside the strongest baseline, and a table."""

import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.claims import layout
from benchmarks.claims.claim import CODE, Claim
from metainit.evaluation import intervals
from metainit.evaluation.intervals import Interval
from metainit.reporting import seeds_report, tables
from metainit.reporting.seeds_report import Compared, Entry
from metainit.runtime.cost import OURS


def compare(
    folders: Sequence[pathlib.Path], rivals: Sequence[pathlib.Path] = ()
) -> Compared:
    """Compares kept seeds of a claim with those of its rivals; these are never ours."""
    own, others = (list(map(os.path.relpath, x)) for x in (folders, rivals))
    compared = seeds_report.compare([*own, *others])
    ours = [entry for entry in compared.entries if entry.init in OURS]
    for label, runs in compared.experiments.items():
        if label and runs[0].path in own:
            ours = [entry for entry in ours if entry.name == f"{label}: {entry.init}"]
    return compared._replace(ours=max(ours, key=_validated))


def _validated(entry: Entry) -> float:
    return float(np.mean([row.validation_accuracy for row in entry.chosen]))


def report(
    claim: Claim,
    protocol: str,
    folders: Sequence[pathlib.Path],
    rivals: Mapping[str, Sequence[pathlib.Path]],
) -> str:
    """Writes the claim, its outcome on every data set, and the table of all rows.

    Args:
      claim: what was claimed.
      protocol: one of the claim's protocols; "" is the one that decides.
      folders: the seeds that are done.
      rivals: by name of another claim, its seeds, whose baselines count as well.
    """
    others = list(itertools.chain(*rivals.values()))
    compared = compare(folders, others)
    threshold = f"{claim.smallest:g} points are worth having"
    lines = [*opening(claim, threshold, protocol), *versions([*folders, *others])]
    for name, seeds in {"its own": folders, **rivals}.items():
        if missing := claim.seeds - len(seeds):
            lines.append(f"{missing} of {claim.seeds} seeds are to be run: {name}.")
    outcomes = [_line(claim, name, x) for name, x in comparisons(compared).items()]
    lines += ["", *outcomes, *_mean_line(compared), ""]
    return "\n".join([*lines, layout.render(seeds_report.summary(compared))])


def opening(claim: Claim, threshold: str, protocol: str) -> list[str]:
    """Says what was claimed, what decides it, and what it was set against."""
    lines = [f"Claim: {claim.hypothesis}", f"Decides: {claim.primary}; {threshold}."]
    if protocol:
        lines.append(f"Another protocol, which does not decide: {protocol}.")
    return [*lines, f"Against: {claim.baselines}"]


class Comparison(NamedTuple):
    """Ours beside the baseline with the highest mean on a data set.

    Attributes:
      ours: the best of ours on meta-validation.
      strongest: that baseline.
      difference: ours minus the baseline, over seeds. Its p is corrected by Holm's
        method over the data sets that are no held-out classes.
      above: on how many seeds the interval over episodes is above zero.
    """

    ours: Entry
    strongest: Entry
    difference: Interval
    above: int


def comparisons(compared: Compared) -> dict[str, Comparison]:
    """Compares ours with the strongest baseline on every data set of unseen classes."""
    baselines = [entry for entry in compared.entries if entry.init not in OURS]
    names, ours = compared.unseen, compared.ours
    against = {x: max(baselines, key=lambda y, x=x: mean(y, x)) for x in names}
    differences = intervals.compare(
        {name: ours.measured(name) for name in names},
        {name: against[name].measured(name) for name in names},
    )
    by_set = {}
    for name, theirs in against.items():
        pairs = zip(ours.measured(name), theirs.measured(name), strict=True)
        above = sum(intervals.paired_interval(*pair).low > 0 for pair in pairs)
        by_set[name] = Comparison(ours, theirs, differences[name], above)
    return by_set


def mean(entry: Entry, data_set: str) -> float:
    """Gives the mean accuracy in percent; each seed counts the same."""
    return 100 * float(np.mean([np.mean(x) for x in entry.measured(data_set)]))


def _line(claim: Claim, name: str, comparison: Comparison) -> str:
    ours, theirs, difference, above = comparison
    points, outcome = 100 * difference.mean, "not won"
    if difference.different and abs(points) >= claim.smallest:
        outcome = "won" if points > 0 else "lost"
    if outcome == "won" and claim.every_seed and above < len(ours.chosen):
        outcome = "not won on every seed"
    return (
        f"{name}: {outcome}. {ours.name} {mean(ours, name):.1f}, {theirs.name} "
        f"{mean(theirs, name):.1f}, difference {tables.points(difference)}"
        f"{_p(difference)}; by itself above zero on {above} of {len(ours.chosen)} seeds"
    )


def _mean_line(compared: Compared) -> list[str]:
    """Gives a line on the mean of several data sets; each of them counts the same."""
    if len(compared.unseen) < 2:
        return []

    def by_seed(entry: Entry) -> list[np.ndarray]:  # [data sets] a seed
        means = [list(map(np.mean, entry.measured(x))) for x in compared.unseen]
        return list(np.array(means).T)

    baselines = [entry for entry in compared.entries if entry.init not in OURS]
    strongest = max(baselines, key=lambda entry: np.mean(by_seed(entry)))
    ours, theirs = map(by_seed, (compared.ours, strongest))
    difference = intervals.compare({"": ours}, {"": theirs})[""]
    return [
        f"mean of all {len(compared.unseen)}: {compared.ours.name} "
        f"{100 * np.mean(ours):.1f}, {strongest.name} {100 * np.mean(theirs):.1f}, "
        f"difference {tables.points(difference)}{_p(difference)}"
    ]


def _p(difference: Interval) -> str:
    return "" if difference.p is None else f", p {difference.p:.2g}"


def versions(folders: Sequence[pathlib.Path]) -> list[str]:
    """Names the versions of the code where seeds ran with several."""
    commits: dict[str, str] = {}  # by digest of the package
    seeds: dict[str, list[str]] = {}
    for folder in folders:
        code = json.loads((folder / CODE).read_text())
        commits.setdefault(code["package"], code["commit"] or "unknown")
        seeds.setdefault(code["package"], []).append(folder.name)
    if len(commits) < 2:
        return []
    parts = (f"{', '.join(seeds[x])} by {commit}" for x, commit in commits.items())
    return [f"Warning: seeds of different versions of the code: {'; '.join(parts)}."]
