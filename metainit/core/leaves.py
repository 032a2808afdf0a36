"""Leaves of a tree by name, and what tells two trees apart."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from metainit.core.types import PyTree


def by_name(tree: PyTree) -> dict[str, Any]:
    """The leaves by the `jax.tree_util.keystr` of their paths, in the tree's order."""
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in pairs}


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
