"""What a search tries: grids whole, draws repeatable, mistakes named."""

import numpy as np
import pytest
import scipy.stats

from metainit.experiments.sweep import Axis, draw, grid, key, parse

READ = {
    "outer.learning_rate = 0.001, 3e-3": Axis("outer.learning_rate", (0.001, 0.003)),
    "method.head=zero,prototype": Axis("method.head", ("zero", "prototype")),
    "evaluate.steps=(0, 1),(0, 2)": Axis("evaluate.steps", ((0, 1), (0, 2))),
    "cold_start=True,False,True": Axis("cold_start", (True, False)),
    "joint.learning_rate=1e-4..1e-2": Axis("joint.learning_rate", (), 1e-4, 1e-2),
    "warm_start=1..100": Axis("warm_start", (), 1, 100),
}


def test_fields_are_read():
    assert parse(tuple(READ)) == tuple(READ.values())
    assert parse(("a=1,True,1.0",))[0].values == (1, True, 1.0)


def test_draws_are_a_function_of_the_seed_and_differ():
    axes = parse(("a=1,2,3", "rate=1e-4..1e-2", "b=x,y"))
    ten = draw(axes, 10, seed=0)
    assert draw(axes, 4, seed=0) == ten[:4]  # a longer search goes on
    assert draw(axes, 10, seed=1) != ten
    assert len({key(trial) for trial in ten}) == 10
    # A space that has no more to give is tried whole: a grid is every combination.
    small = parse(("a=1,2,3", "b=x,y"))
    every = [{"a": a, "b": b} for a in (1, 2, 3) for b in "xy"]
    assert grid(small) == every
    assert sorted(map(key, draw(small, 50, seed=0))) == sorted(map(key, every))


def test_ranges_are_uniform_in_the_logarithm():
    trials = draw(parse(("rate=1e-4..1e-2", "steps=1..1000")), 500, seed=0)
    rates = np.log([trial["rate"] for trial in trials])
    uniform = scipy.stats.uniform(np.log(1e-4), np.log(100))
    assert scipy.stats.kstest(rates, uniform.cdf).pvalue > 0.01
    steps = [trial["steps"] for trial in trials]
    assert all(isinstance(step, int) and 1 <= step <= 1000 for step in steps)
    assert np.median(steps) == pytest.approx(1000**0.5, rel=0.5)
    assert min(steps) == 1 and max(steps) > 900


@pytest.mark.parametrize(
    "fields, words",
    [
        ((), "no field to search"),
        (("inner.steps",), "'inner.steps' cannot be read; write NAME=VALUE"),
        *(((field,), "cannot be read") for field in ("=1,2", "a=")),
        (("a=1,2", "b=1", "a=3"), "^a stands there twice"),
        (("a=3..1",), "'a=3..1' is no range: its ends must be numbers above 0"),
        *(((f"a={ends}",), "is no range") for ends in ("0..1", "x..y", "1..")),
        (("a=0.1..1",), "a is a range, and a grid needs values"),
    ],
)
def test_what_cannot_be_read(fields, words):
    with pytest.raises(ValueError, match=words):
        grid(parse(fields))
