"""Leaves of a tree by name, and what tells two trees apart."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metainit.core.types import PyTree


def dotted(path: tuple) -> str:
    """Names a leaf by the keys of its path, as files of weights do: "head.bias"."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def by_name(tree: PyTree, name: Callable = jax.tree_util.keystr) -> dict[str, Any]:
    """The leaves by the `name` of their paths, in the tree's order."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return {name(path): leaf for path, leaf in pairs}


def joined(
    tree: PyTree, named: Mapping[str, Any], join: Callable = lambda a, b: b
) -> PyTree:
    """Joins each leaf with the value of the same name, where there is one."""

    def one(path, leaf):
        name = jax.tree_util.keystr(path)
        return join(leaf, named[name]) if name in named else leaf

    return jax.tree_util.tree_map_with_path(one, tree)


def shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    """The shapes of the leaves by name."""
    return {name: tuple(np.shape(leaf)) for name, leaf in by_name(tree).items()}


def kinds(tree: PyTree) -> dict[str, list[Any]]:
    """[dtype, shape] of each leaf by name, values that JSON knows."""
    return {
        name: [str(leaf.dtype), list(leaf.shape)]
        for name, leaf in by_name(tree).items()
    }


def differences(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """What tells two trees apart, in one line; "" where nothing does.

    Args:
      given, wanted: what is compared of each leaf, such as its shape, by name.

    Returns:
      Every name that differs, with both values; None stands for a leaf that is missing.
    """
    return "; ".join(
        f"{name}: given {given.get(name)}, wanted {wanted.get(name)}"
        for name in sorted(given.keys() | wanted.keys())
        if given.get(name) != wanted.get(name)
    )


def filled(
    wanted: PyTree,
    arrays: Mapping[str, Any],
    unfit: str,
    name: Callable = jax.tree_util.keystr,
) -> PyTree:
    """Fills a tree of shapes with JAX arrays by name.

    It raises ValueError, which begins with `unfit`, where names or shapes differ.
    """
    given = {key: array.shape for key, array in arrays.items()}
    fitting = {key: np.shape(leaf) for key, leaf in by_name(wanted, name).items()}
    if differing := differences(given, fitting):
        raise ValueError(f"{unfit}: {differing}")
    filled = [jnp.asarray(arrays[key]) for key in fitting]
    return jax.tree.unflatten(jax.tree.structure(wanted), filled)
