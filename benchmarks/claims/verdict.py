"""What seeds of a claim come to: ours and the strongest baseline, and a table."""

import itertools
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.claims.claim import CODE, Claim
from metainit.evaluation import intervals
from metainit.evaluation.intervals import Interval
from metainit.reporting import seeds_report, tables
from metainit.reporting.seeds_report import Compared, Entry
from metainit.runtime.cost import OURS


def compare(
    folders: Sequence[pathlib.Path], rivals: Sequence[pathlib.Path] = ()
) -> Compared:
    """Compares kept seeds of a claim, and of its rivals, of which none is ours."""
    own, others = (list(map(os.path.relpath, x)) for x in (folders, rivals))
    compared = seeds_report.compare([*own, *others])
    ours = [entry for entry in compared.entries if entry.init in OURS]
    for label, runs in compared.experiments.items():
        if label and runs[0].path in own:
            ours = [entry for entry in ours if entry.name == f"{label}: {entry.init}"]
    return compared._replace(ours=max(ours, key=_validated))


def _validated(entry: Entry) -> float:
    return float(np.mean([row.validation_accuracy for row in entry.chosen]))


def in_words(
    claim: Claim,
    protocol: str,
    folders: Sequence[pathlib.Path],
    rivals: Mapping[str, Sequence[pathlib.Path]],
) -> str:
    """The claim, what was found on every data set, and the table of all rows.

    `folders` are the seeds of one of the claim's protocols, "" for the one that
    decides; `rivals` those of other claims whose baselines count, by name.
    """
    other = f"Another protocol, which does not decide: {protocol}."
    others = list(itertools.chain(*rivals.values()))
    compared = compare(folders, others)
    said = [
        f"Claim: {claim.hypothesis}",
        f"Decides: {claim.primary}; {claim.smallest:g} points are worth having.",
        *([other] if protocol else []),
        f"Against: {claim.baselines}",
        *versions([*folders, *others]),
    ]
    for of, seeds in {"its own": folders, **rivals}.items():
        if missing := claim.seeds - len(seeds):
            said.append(f"{missing} of {claim.seeds} seeds are to be run: {of}.")
    told = [_line(claim, name, x) for name, x in found(compared).items()]
    told += _together(compared)
    return "\n".join([*said, "", *told, "", seeds_report.terminal(compared)])


class Found(NamedTuple):
    """Ours beside the baseline with the highest mean on a data set.

    Attributes:
      difference: ours minus that, over seeds; p is after Holm's correction over the
        data sets that are no held-out classes.
      above: the seeds on which its interval over episodes is above zero.
    """

    ours: Entry
    strongest: Entry
    difference: Interval
    above: int


def found(compared: Compared) -> dict[str, Found]:
    """What was found on every data set of unseen classes."""
    baselines = [entry for entry in compared.entries if entry.init not in OURS]
    names, ours = compared.unseen, compared.ours
    against = {x: max(baselines, key=lambda y, x=x: mean(y, x)) for x in names}
    differences = intervals.compare(
        {name: ours.measured(name) for name in names},
        {name: against[name].measured(name) for name in names},
    )
    every = {}
    for name, theirs in against.items():
        pairs = zip(ours.measured(name), theirs.measured(name), strict=True)
        above = sum(intervals.paired_interval(*pair).low > 0 for pair in pairs)
        every[name] = Found(ours, theirs, differences[name], above)
    return every


def mean(entry: Entry, data_set: str) -> float:
    """Accuracy in percent, seeds counting the same."""
    return 100 * float(np.mean([np.mean(x) for x in entry.measured(data_set)]))


def _line(claim: Claim, name: str, found: Found) -> str:
    ours, theirs, difference, above = found
    points, word = 100 * difference.mean, "not won"
    if difference.different and abs(points) >= claim.smallest:
        word = "won" if points > 0 else "lost"
    if word == "won" and claim.every_seed and above < len(ours.chosen):
        word = "not won on every seed"
    return (
        f"{name}: {word}. {ours.name} {mean(ours, name):.1f}, {theirs.name} "
        f"{mean(theirs, name):.1f}, difference {tables.points(difference)}"
        f"{_p(difference)}; by itself above zero on {above} of {len(ours.chosen)} seeds"
    )


def _together(compared: Compared) -> list[str]:
    """A line for the mean of several data sets, each of which counts the same."""
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
    by_package: dict[str, list[str]] = {}
    for folder in folders:
        code = json.loads((folder / CODE).read_text())
        of = by_package.setdefault(code["package"], [f"{code['commit'] or 'unknown'}"])
        of.append(folder.name)
    if len(by_package) < 2:
        return []
    parts = (f"{', '.join(seeds)} by {at}" for at, *seeds in by_package.values())
    return [f"Warning: seeds of different versions of the code: {'; '.join(parts)}."]
