"""Which settings a search tries: every combination of values, or draws from ranges.

A field is "NAME=VALUE,VALUE,...", or "NAME=LOW..HIGH" for a random search, which draws
uniformly in the logarithm: rates and sizes matter by factor.
"""

import ast
import itertools
import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_DRAWS = 100  # a trial; so many in vain, and the space has no more to give

Fields = dict[str, Any]  # a setting to try: value by dotted name


class Axis(NamedTuple):
    """The values that one field may take; () for a range from low to high, above 0.

    Both ends are whole numbers for whole numbers.
    """

    name: str
    values: tuple[Any, ...]
    low: float = 0
    high: float = 0


def parse(fields: Sequence[str]) -> tuple[Axis, ...]:
    """Reads fields such as "inner.steps=1,3" or "outer.learning_rate=1e-4..1e-2".

    It raises ValueError for a field that cannot be read or stands there twice.
    """
    axes = tuple(_axis(field) for field in fields)
    names = [axis.name for axis in axes]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{', '.join(twice)} stands there twice; give all its values")
    if not axes:
        raise ValueError("no field to search; give some, such as ('inner.steps=1,3',)")
    return axes


def _axis(field: str) -> Axis:
    name, _, text = (part.strip() for part in field.partition("="))
    if not name or not text:
        words = "cannot be read; write NAME=VALUE,VALUE,... or NAME=LOW..HIGH"
        raise ValueError(f"{field!r} {words}")
    low, dots, high = text.partition("..")
    if dots:
        ends = literal(low), literal(high)
        numbers = all(isinstance(x, int | float) for x in ends)
        if not numbers or not 0 < ends[0] < ends[1] < math.inf:
            words = "is no range: its ends must be numbers above 0 that rise"
            raise ValueError(f"{field!r} {words}")
        return Axis(name, (), *ends)
    values = literal(f"({text},)")
    if isinstance(values, str):  # words without quotes
        values = tuple(map(literal, text.split(",")))
    # By their text, since 1 and True are equal, and in order.
    return Axis(name, tuple({repr(value): value for value in values}.values()))


def literal(text: str) -> Any:
    """Reads a Python value, or takes the text itself, as of "zero"."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()


def grid(axes: Sequence[Axis]) -> list[Fields]:
    """Lists every combination, the last axis changing fastest; refuses ranges."""
    if ranges := [axis.name for axis in axes if not axis.values]:
        words = "a grid needs values; give them, or search.trials to draw"
        raise ValueError(f"{ranges[0]} is a range, and {words}")
    pairs = ([(axis.name, value) for value in axis.values] for axis in axes)
    return [dict(combination) for combination in itertools.product(*pairs)]


def draw(axes: Sequence[Axis], trials: int, seed: int) -> list[Fields]:
    """Draws different settings, fewer than `trials` where the axes give no more.

    Axes are independent (Bergstra & Bengio 2012, "Random Search for Hyper-Parameter
    Optimization"); more trials begin with the same ones.
    """
    settings: dict[str, Fields] = {}
    for number in range(_DRAWS * trials):
        if len(settings) == trials:
            break
        # As a spawn key, the number cannot run into the words of a large seed.
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
        fields = {axis.name: _draw(axis, rng) for axis in axes}
        settings.setdefault(key(fields), fields)
    return list(settings.values())


def _draw(axis: Axis, rng: np.random.Generator) -> Any:
    if axis.values:
        return axis.values[rng.integers(len(axis.values))]
    value = math.exp(rng.uniform(math.log(axis.low), math.log(axis.high)))
    if isinstance(axis.low, int) and isinstance(axis.high, int):
        return round(value)
    return float(f"{value:.3g}")  # as much as anybody will copy


def key(fields: Fields) -> str:
    """Makes a text that tells settings apart, however they were stored."""
    return json.dumps(fields, sort_keys=True)
