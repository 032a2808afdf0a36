"""Accuracy by head and steps: ours minus every baseline with the same head.

    python -m benchmarks.claims.by_head d2

A table is made of the head and the steps that each initialisation does best with on
meta-validation; here both sides have the same ones. Means are over data sets, of which
each counts the same, and intervals over seeds.
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np

from benchmarks.claims import claim as claims
from benchmarks.claims import pictures, verdict
from metainit.evaluation import intervals
from metainit.runtime.cost import RANDOM


def in_words(
    folders: Sequence[pathlib.Path], ours: str, data_sets: Sequence[str]
) -> str:
    """A line for each head, number of steps and baseline but random weights."""
    every = [pictures.curves(folders, name) for name in data_sets]

    def by_seed(init: str, head: str, step: int) -> np.ndarray:  # [seeds], in percent
        return np.mean([curves[init, head][step] for curves in every], axis=0)

    lines = []
    for init, head in every[0]:
        if init in (ours, RANDOM) or (ours, head) not in every[0]:
            continue
        for step in sorted(every[0][init, head]):
            mine, theirs = (by_seed(name, head, step) for name in (ours, init))
            mean, low, high = intervals.mean_interval(mine - theirs)
            steps = f"{step} step{'s' * (step != 1)}"
            lines.append(
                f"{head}, {steps}: {ours} {mine.mean():.1f}, {init} "
                f"{theirs.mean():.1f}, {mean:+.1f} [{low:.1f}, {high:.1f}]"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    name = parser.parse_args().name
    folders = claims.done(name)
    compared = verdict.compare(folders)
    print(in_words(folders, compared.ours.init, compared.unseen))


if __name__ == "__main__":
    main()
