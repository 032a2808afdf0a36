"""One digest for everything that is known by its content."""

import hashlib
from typing import Any

import numpy as np

from metainit.core import leaves


def sha256(tree: Any) -> str:
    """Computes the SHA-256 of a tree of arrays and words, as hexadecimal digits.

    Names, types, shapes and values of all leaves count.
    """
    digest = hashlib.sha256()
    for name, leaf in leaves.by_name(tree).items():
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
