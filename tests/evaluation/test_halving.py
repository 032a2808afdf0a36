"""Settings that are dropped early, against a slow version and by hand."""

import math

import numpy as np
import pytest

from metainit.evaluation import halving
from metainit.evaluation.halving import winner

SIZES = (20, 20)  # episodes of two samples


def grid(settings, seed):
    """Accuracy and loss of two samples, [settings, steps, episodes]."""
    rng = np.random.default_rng(seed)
    tables = []
    for size in SIZES:
        accuracy = rng.integers(0, 6, (settings, 3, size)) / 10
        tables.append({"accuracy": accuracy, "loss": rng.random(accuracy.shape)})
    return tables


def measured_by(tables, asked):
    def measure(number, parts):
        asked.append((number, tuple(parts)))
        pairs = [
            {name: of[number][:, part] for name, of in table.items()}
            for table, part in zip(tables, parts, strict=True)
        ]
        return halving.pooled(pairs)

    return measure


def slow(tables, rungs, by_loss):
    """The rule in loops: all that is left of the grid is looked at anew."""
    settings = len(tables[0]["accuracy"])
    alive, met = set(range(settings)), []
    for rung in range(1, rungs + 1):
        share = 3.0 ** (rung - rungs)
        count = [math.ceil(share * size - 1e-9) for size in SIZES]
        if len(alive) == 1:
            count = list(SIZES)
        met.append((len(alive), sum(count)))
        scores = []
        for number in sorted(alive):
            some = [
                {name: of[number][:, :n] for name, of in table.items()}
                for table, n in zip(tables, count, strict=True)
            ]
            both = {x: np.concatenate([y[x] for y in some], 1) for x in some[0]}
            best = max(row.sum() / sum(count) for row in both["accuracy"])
            scores.append((-best, both["loss"].mean() if by_loss else 0, number))
        if count == list(SIZES):
            return min(scores)[2], tuple(met)
        keep = math.ceil(len(alive) / 3)
        alive = {number for _, _, number in sorted(scores)[:keep]}
    raise AssertionError


@pytest.mark.parametrize("by_loss", [False, True])
@pytest.mark.parametrize("rungs", [1, 2, 3, 4])
@pytest.mark.parametrize("settings", [1, 3, 10])
def test_it_is_the_slow_version(settings, rungs, by_loss):
    for seed in range(5):
        tables, asked = grid(settings, seed), []
        won = winner(settings, SIZES, rungs, measured_by(tables, asked), by_loss)
        setting, met = slow(tables, rungs, by_loss)
        assert (won.setting, won.rungs) == (setting, met)
        # Judged on all its episodes, none of which was measured twice.
        for name, values in won.measurements.items():
            whole = np.concatenate([table[name][setting] for table in tables], 1)
            assert values.shape == whole.shape
            np.testing.assert_array_equal(np.sort(values, 1), np.sort(whole, 1))
        means = np.concatenate([x["accuracy"][setting] for x in tables], 1).mean(1)
        assert won.step == means.argmax()
        episodes = [
            (number, sample, episode)
            for number, parts in asked
            for sample, part in enumerate(parts)
            for episode in range(SIZES[sample])[part]
        ]
        assert len(episodes) == len(set(episodes))
        assert len(episodes) == halving.cost(settings, SIZES, rungs)


def test_rungs_by_hand():
    def rungs(settings, episodes, count=3):
        shape = 2, episodes
        same = dict.fromkeys(("accuracy", "loss"), np.zeros(shape))
        won = winner(settings, [episodes], count, lambda *_: same, by_loss=False)
        assert (won.setting, won.step) == (0, 0)  # the first of equals
        return won.rungs

    assert rungs(9, 100) == ((9, 12), (3, 34), (1, 100))
    assert rungs(3, 100) == ((3, 12), (1, 100))  # nothing is left to be dropped
    assert rungs(4, 100) == ((4, 12), (2, 34), (1, 100))
    assert rungs(16, 2, 4) == ((16, 1), (6, 1), (2, 1), (1, 2))
    assert rungs(9, 100, 1) == ((9, 100),)
    assert rungs(1, 100) == ((1, 100),)


def test_what_is_not_finite_is_the_worst():
    accuracy = np.full((3, 2, 20), 0.5)
    accuracy[0] = np.nan
    accuracy[2, 1, 0] = np.nan
    accuracy[1] = 0.1
    table = {"accuracy": accuracy, "loss": accuracy}
    for rungs in (1, 3):
        measure = measured_by([table, table], [])
        won = winner(3, SIZES, rungs, measure, by_loss=False)
        assert (won.setting, won.step) == (2, 0)
