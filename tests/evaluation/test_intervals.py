"""Intervals over seeds and episodes: closed forms, refusals, and coverage."""

import importlib.util
import math
import pathlib
from types import ModuleType

import numpy as np
import pytest
import scipy.stats

from metainit.evaluation.intervals import (
    CONDITIONAL,
    OVER_SEEDS,
    compare,
    holm,
    over_seeds,
)

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
TABLES = 200


def test_seeds_with_episodes_of_their_own_give_students_interval() -> None:
    table = np.random.default_rng(0).normal(0.02, 0.1, (4, 50))
    expected = scipy.stats.ttest_1samp(table.mean(1), 0)
    low, high = expected.confidence_interval()
    found = over_seeds([table], same_episodes=False)
    assert found[:3] == pytest.approx((table.mean(), low, high))
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.seeds, found.scope) == (4, OVER_SEEDS)


def test_seeds_that_differ_in_nothing_give_the_interval_over_episodes() -> None:
    episodes = np.random.default_rng(0).normal(0.02, 0.1, 600)
    expected = scipy.stats.ttest_1samp(episodes, 0)
    found = over_seeds([np.tile(episodes, (3, 1))])
    low, high = expected.confidence_interval()
    assert found[:3] == pytest.approx((episodes.mean(), low, high))
    assert found.p == pytest.approx(expected.pvalue)


def test_both_sources_of_error_by_hand() -> None:
    """Two seeds, two episodes: seeds' means 2 and 4, episodes' 1 and 5, no rest."""
    found = over_seeds([np.array([[0, 4], [2, 6.0]])])
    seed, episode = 2 / 2, 8 / 2  # variances of the means, over their numbers
    banerjee = 12.7062**2 * (seed + episode)  # each with one degree of freedom
    satterthwaite = scipy.stats.t.ppf(0.975, 25 / 17) ** 2 * (seed + episode)
    half = math.sqrt((banerjee + 2 * satterthwaite) / 3)
    assert found[:3] == pytest.approx((3, 3 - half, 3 + half), rel=1e-5)


@pytest.mark.parametrize("degrees", [2, 4, 9])
def test_coverage_whatever_share_of_the_error_is_the_seeds(degrees: int) -> None:
    """Episodes' error known, the seeds' scaled chi-square: coverage as an integral."""
    episodes = 600
    quantiles = (np.arange(400) + 0.5) / 400
    chi_square = scipy.stats.chi2.ppf(quantiles, degrees) / degrees
    for share in np.linspace(0, 1, 11):
        covered = []
        for factor in chi_square:
            table = _with_errors(degrees + 1, episodes, share * factor, 1 - share)
            found = over_seeds([table])
            covered.append(2 * scipy.stats.norm.cdf(found.high - found.mean) - 1)
        assert 0.935 <= np.mean(covered) <= 0.965


def _with_errors(seeds: int, episodes: int, seed: float, episode: float) -> np.ndarray:
    """A table without rest and the squared errors of its mean that are asked for."""
    of_seed = np.linspace(-1, 1, seeds)
    of_seed *= math.sqrt(seed * seeds / of_seed.var(ddof=1))
    of_episode = np.linspace(-1, 1, episodes)
    of_episode *= math.sqrt(episode * episodes / of_episode.var(ddof=1))
    return of_seed[:, None] + of_episode


def test_what_is_one_runs_own_is_counted_once() -> None:
    """Rest alone: the interval is about Student's over seeds, not wider by a third."""
    rng = np.random.default_rng(0)
    ratio = []
    for _ in range(50):
        table = rng.normal(size=(5, 400))
        found, alone = over_seeds([table]), over_seeds([table], same_episodes=False)
        ratio.append((found.high - found.low) / (alone.high - alone.low))
    assert np.mean(ratio) == pytest.approx(1, abs=0.02)


def test_p_is_where_the_interval_ends_at_zero() -> None:
    table = np.random.default_rng(1).normal(size=(3, 40))
    table += np.linspace(0, 1, 40)
    width = over_seeds([table])
    at_edge = over_seeds([table - width.low])  # its interval begins at 0
    assert at_edge.low == pytest.approx(0, abs=1e-12)
    assert at_edge.p == pytest.approx(0.05)
    assert over_seeds([table - table.mean()]).p == pytest.approx(1)
    assert over_seeds([table + 1e9]).p == pytest.approx(0, abs=1e-12)


def test_one_seed_says_nothing_of_the_next() -> None:
    episodes = np.random.default_rng(0).normal(0.5, 0.1, 600)
    found = over_seeds([episodes[None]])
    low, high = scipy.stats.ttest_1samp(episodes, 0).confidence_interval()
    assert found[:3] == pytest.approx((episodes.mean(), low, high))
    assert (found.seeds, found.p, found.scope) == (1, None, CONDITIONAL)
    only = compare({"pets": episodes[None] + 1}, {"pets": episodes[None]})["pets"]
    assert only.difference.low > 0.9
    assert only.p is None and only.different is None  # however large


def test_data_sets_count_the_same_and_share_the_seeds() -> None:
    rng = np.random.default_rng(0)
    small, large = rng.normal(1, 0.1, (3, 20)), rng.normal(3, 0.1, (3, 2000))
    found = over_seeds([small, large])
    assert found.mean == pytest.approx((small.mean() + large.mean()) / 2)
    # A seed that is good on both varies their mean; one good on either cancels out.
    seed = np.array([[-1.0], [0.0], [1.0]])
    both = over_seeds([small + seed, large + seed])
    either = over_seeds([small + seed, large - seed])
    assert both.high - both.low > 10 * (either.high - either.low)


def test_nothing_varies() -> None:
    assert over_seeds([np.full((3, 9), 0.5)])[:3] == (0.5, 0.5, 0.5)
    assert over_seeds([np.full((3, 9), 0.5)]).p == 0
    assert over_seeds([np.zeros((3, 9))]).p == 1


def test_holm_by_hand() -> None:
    """In order 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04, raised to the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1, 1])
    assert holm([0.02]) == pytest.approx([0.02])
    assert len(holm([])) == 0


def test_differences_are_paired_and_corrected_over_data_sets() -> None:
    rng = np.random.default_rng(0)
    episode = rng.normal(0, 0.2, (3, 1, 300))  # how hard each is, for both
    first = {
        name: 0.7 + gain + episode[i] + rng.normal(0, 0.03, (5, 300))
        for i, (name, gain) in enumerate(
            {"cars": 0.02, "pets": 0.003, "sun": 0}.items()
        )
    }
    second = {
        name: 0.7 + episode[i] + rng.normal(0, 0.03, (5, 300))
        for i, name in enumerate(first)
    }
    found = compare(first, second)
    assert found["cars"].different and not found["sun"].different
    raw = [comparison.difference.p for comparison in found.values()]
    assert None not in raw
    corrected = [comparison.p for comparison in found.values()]
    assert corrected == pytest.approx(holm([p for p in raw if p is not None]))
    assert found["cars"].difference.mean == pytest.approx(0.02, abs=0.005)


def test_what_cannot_be_judged() -> None:
    table = np.zeros((3, 5))
    with pytest.raises(ValueError, match="at least 2 episodes"):
        over_seeds([np.zeros((3, 1))])
    with pytest.raises(ValueError, match="the same seeds in all"):
        over_seeds([table, np.zeros((2, 5))])
    with pytest.raises(ValueError, match="give \\[seeds, episodes\\]"):
        over_seeds([])
    with pytest.raises(ValueError, match="same data sets, seeds and episodes"):
        compare({"pets": table}, {"pets": np.zeros((3, 6))})
    with pytest.raises(ValueError, match="same data sets, seeds and episodes"):
        compare({"pets": table}, {"sun": table})


@pytest.fixture(scope="module")
def coverage() -> ModuleType:
    path = BENCHMARKS / "coverage.py"
    spec = importlib.util.spec_from_file_location("coverage_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_simulated_tables_are_covered(coverage: ModuleType) -> None:
    """The benchmark on a tenth of its tables, so with bounds to match.

    A share of 200 tables has a standard deviation of 1.5 % at 95 %.
    """
    rows = list(coverage.simulate(TABLES, seed=1))
    assert rows[0]["runs"] == 5
    for row in rows[1:]:
        if "coverage" in row:
            assert 0.89 <= row["coverage"], row
            by_seeds = row.get("students_interval_of_seed_means", 0)
            assert row["coverage"] >= by_seeds - 0.02, row
        elif row["case"] == "equal":
            assert row["called_different"] <= 0.11, row
        elif row["seeds"] == 5:
            assert row["called_different"] >= 0.8, row
    assert 0.94 <= np.mean([row["coverage"] for row in rows[1:] if "coverage" in row])
