"""Accuracy by head and steps: ours minus every baseline that has the same head.

    python -m benchmarks.claims.by_head d2

In the table of a claim, each initialisation has the head and the steps that suit it
best on meta-validation. Here both sides have the same head, and take as many steps.
Means are over data sets, which count the same; intervals are over seeds.
"""

import argparse
import pathlib
from collections.abc import Sequence

import numpy as np

from benchmarks.claims import claim as claims
from benchmarks.claims import pictures, verdict
from metainit.evaluation import intervals
from metainit.runtime.cost import RANDOM


def lines(
    folders: Sequence[pathlib.Path], ours: str, data_sets: Sequence[str]
) -> list[str]:
    """Gives a line for each head, number of steps and baseline but random weights."""
    curves = [pictures.curves(folders, name) for name in data_sets]

    def by_seed(init: str, head: str, step: int) -> np.ndarray:  # [seeds], in percent
        return np.mean([by_line[init, head][step] for by_line in curves], axis=0)

    texts = []
    for init, head in curves[0]:
        if init in (ours, RANDOM) or (ours, head) not in curves[0]:
            continue
        for step in sorted(curves[0][init, head]):
            mine, theirs = (by_seed(name, head, step) for name in (ours, init))
            mean, low, high = intervals.mean_interval(mine - theirs)
            steps = f"{step} step{'s' * (step != 1)}"
            texts.append(
                f"{head}, {steps}: {ours} {mine.mean():.1f}, {init} "
                f"{theirs.mean():.1f}, {mean:+.1f} [{low:.1f}, {high:.1f}]"
            )
    return texts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    name = parser.parse_args().name
    folders = claims.done(name)
    compared = verdict.compare(folders)
    print("\n".join(lines(folders, compared.ours.init, compared.unseen)))


if __name__ == "__main__":
    main()
