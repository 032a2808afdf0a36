"""One digest for everything that is known by its content."""

import hashlib
from typing import Any

import jax
import numpy as np


def sha256(tree: Any) -> str:
    """SHA-256 of a tree of arrays and words, as hexadecimal digits.

    Two trees have one digest where names, types, shapes and values of all leaves are
    the same.
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.asarray(leaf)
        name = jax.tree_util.keystr(path)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
