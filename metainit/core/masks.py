"""Cutting a parameter tree in two by a mask, and putting it together again."""

from typing import Any

import jax
import jax.numpy as jnp

from metainit.core.types import Mask, PyTree


def is_float(leaf: Any) -> bool:
    """Whether a leaf has a gradient: real floating point, not integers or keys."""
    return jnp.issubdtype(jax.typeof(leaf).dtype, jnp.floating)


def split(tree: PyTree, mask: Mask | None, field: str) -> tuple[PyTree, PyTree]:
    """Cuts `tree` into (selected, rest), each with None in the other's places.

    Args:
      tree: pytree of arrays.
      mask: tree of booleans with the structure of `tree`, or `(path, leaf) -> bool`;
        None selects every float leaf. Leaves that are not float are never selected by
        None.
      field: the argument's name, for the error.

    Raises:
      ValueError: if the mask's structure is not the tree's, or if it selects a leaf
        that has no gradient (integers, keys).
    """
    paths: list[tuple[Any, Any]]
    structure: Any
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    if mask is None:
        chosen = [is_float(leaf) for _, leaf in paths]
    elif callable(mask):
        chosen = [bool(mask(path, leaf)) for path, leaf in paths]
    else:
        if jax.tree.structure(mask) != structure:
            raise ValueError(
                f"{field} has the structure {jax.tree.structure(mask)}, the parameters "
                f"have {structure}; give the same tree of booleans or a function "
                "(path, leaf) -> bool"
            )
        chosen = [bool(value) for value in jax.tree.leaves(mask)]
    for (path, leaf), selected in zip(paths, chosen, strict=True):
        if selected and not is_float(leaf):
            raise ValueError(
                f"{field} selects {jax.tree_util.keystr(path)}, which is "
                f"{jax.typeof(leaf).dtype} and has no gradient; select floating-point "
                "leaves"
            )
    pairs = list(zip([leaf for _, leaf in paths], chosen, strict=True))
    selected_tree = structure.unflatten([x if yes else None for x, yes in pairs])
    rest = structure.unflatten([None if yes else x for x, yes in pairs])
    return selected_tree, rest


def merge(first: PyTree, second: PyTree) -> PyTree:
    """The inverse of `split`: takes from each tree the leaves it has."""
    return jax.tree.map(
        lambda a, b: b if a is None else a, first, second, is_leaf=lambda x: x is None
    )
