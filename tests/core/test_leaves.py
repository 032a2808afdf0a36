"""Leaves by name: what is told of two trees that differ."""

import jax.numpy as jnp
import numpy as np

from metainit.core import leaves

TREE = {"b": [jnp.zeros((2, 3)), None], "a": np.arange(3, dtype=np.int32)}


def test_every_difference_is_named():
    shapes = leaves.shapes(TREE)
    assert list(leaves.by_name(TREE)) == ["['a']", "['b'][0]"]
    assert shapes == {"['a']": (3,), "['b'][0]": (2, 3)}
    assert leaves.kinds(TREE)["['b'][0]"] == ["float32", [2, 3]]
    assert leaves.differences(shapes, shapes) == ""
    other = {"['b'][0]": (2, 4), "['c']": ()}
    assert leaves.differences(shapes, other) == (
        "['a']: given (3,), wanted None; ['b'][0]: given (2, 3), wanted (2, 4); "
        "['c']: given None, wanted ()"
    )
