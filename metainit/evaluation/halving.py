"""Successive halving: drops the worse settings of a grid after few episodes.

Jamieson & Talwalkar 2016 (arXiv:1502.07943), by thirds: each rung has three times the
episodes of the one before, and the best third of its settings. Measurements of one rung
count on the next, so that nothing is measured twice.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from metainit.evaluation.results import Measurements

# `(number of a setting, which episodes of each sample) -> what it measured on them`.
MeasureFn = Callable[[int, list[slice]], Measurements]


class Winner(NamedTuple):
    """The best setting.

    Attributes:
      setting: its number.
      step: the position of its best step, the fewest among equals.
      measurements: those of the setting on all episodes, by rung and then by sample.
      rungs: the number of settings and of their episodes, by rung.
    """

    setting: int
    step: int
    measurements: Measurements
    rungs: tuple[tuple[int, int], ...]


def winner(
    settings: int, sizes: Sequence[int], rungs: int, measure: MeasureFn, by_loss: bool
) -> Winner:
    """Finds the best of some settings by mean accuracy after its best step.

    Among equals the one of the smallest loss wins with `by_loss`, else the first. The
    samples have `sizes` episodes. The first rung has a share 3^-(rungs - 1) of each
    sample, rounded up, and the last rung has all. With one rung, or one setting, every
    setting meets every episode.
    """
    alive, done = list(range(settings)), [0] * len(sizes)
    measured: dict[int, list[Measurements]] = {number: [] for number in alive}
    met: list[tuple[int, int]] = []
    for left in reversed(range(rungs)):
        left = left if len(alive) > 1 else 0  # nothing would be dropped
        ends = [-(-size // 3**left) for size in sizes]
        parts = list(map(slice, done, ends))
        for number in alive if ends != done else ():
            measured[number].append(measure(number, parts))
        met.append((len(alive), sum(ends)))
        ranks = {number: _rank(pooled(measured[number]), by_loss) for number in alive}
        # Stable, so that the first of equals stays the first.
        ranked = sorted(alive, key=ranks.__getitem__)
        if not left:
            break
        alive, done = sorted(ranked[: -(-len(alive) // 3)]), ends
    best = pooled(measured[ranked[0]])
    return Winner(ranked[0], int(np.argmax(_means(best))), best, tuple(met))


def cost(settings: int, sizes: Sequence[int], rungs: int) -> int:
    """Counts the episodes that `winner` measures, summed over settings."""
    counted = 0

    def count(number: int, parts: list[slice]) -> Measurements:
        nonlocal counted
        counted += sum(part.stop - part.start for part in parts)
        return {"accuracy": np.zeros((1, 1)), "loss": np.zeros((1, 1))}

    winner(settings, sizes, rungs, count, by_loss=False)
    return counted


def pooled(parts: Sequence[Measurements]) -> Measurements:
    """Joins measurements of the episodes of several parts, [steps, episodes]."""
    return {name: np.concatenate([x[name] for x in parts], 1) for name in parts[0]}


def _means(measured: Measurements) -> np.ndarray:
    """Averages accuracy by step; one that is not finite counts as 0."""
    means = measured["accuracy"].mean(1)
    return np.where(np.isfinite(means), means, 0)


def _rank(measured: Measurements, by_loss: bool) -> tuple[float, float]:
    return -_means(measured).max(), measured["loss"].mean() if by_loss else 0.0
