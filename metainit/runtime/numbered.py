"""Arrays of several data sets in one .npz file, beside what describes each."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metainit.runtime import atomic


def write(
    path: str | os.PathLike[str],
    about: Sequence[Any],
    arrays: Sequence[Mapping[str, np.ndarray]],
) -> None:
    """Stores descriptions (JSON values) and, for each, arrays of the same names."""
    named: dict[str, Any] = {
        f"{name}{number}": array
        for number, of_one in enumerate(arrays)
        for name, array in of_one.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **named | {"index": np.array(json.dumps(list(about)))})
    atomic.write_bytes(path, buffer.getvalue())


def read(
    path: str | os.PathLike[str], names: Sequence[str]
) -> list[tuple[Any, dict[str, np.ndarray]]]:
    """Reads (about, arrays by name) of each data set that `write` stored.

    Raises:
      ValueError: no such file, it is damaged, or lacks one of `names`.
    """
    try:
        # NumPy itself leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            return [
                (about, {name: stored[f"{name}{number}"] for name in names})
                for number, about in enumerate(json.loads(str(stored["index"])))
            ]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error})") from None
