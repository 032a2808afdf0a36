"""Files that are there whole or not at all: text, JSON, rows and arrays."""

import io
import json
import math
import os
import pathlib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces the file at `path` by `content`; a kill leaves the old one."""
    path = pathlib.Path(path)
    # In the same folder, since a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def clear(folder: pathlib.Path) -> None:
    """Removes below a folder what `write_bytes` left where it was killed.

    Nobody may be writing there.
    """
    for path in folder.rglob(".*"):
        if path.suffix[1:].isdecimal() and path.is_file():
            path.unlink()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Replaces the file at `path` by `text` in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Replaces the file at `path` by a JSON value."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_rows(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Replaces the file at `path` by lines of JSON, an object a row.

    Numbers of NumPy and JAX are numbers; one that is not finite is null.
    """
    write_text(path, "".join(map(line, rows)))


def line(row: Mapping[str, Any]) -> str:
    """Writes a row as `write_rows` does."""
    plain = json.loads(json.dumps(dict(row), default=float))
    finite = {
        name: None if isinstance(x, float) and not math.isfinite(x) else x
        for name, x in plain.items()
    }
    return json.dumps(finite) + "\n"


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the rows of a file of `write_rows`."""
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]


def write_arrays(
    path: str | os.PathLike[str],
    about: Sequence[Any],
    arrays: Sequence[Mapping[str, np.ndarray]],
) -> None:
    """Stores JSON values and, for each, arrays of the same names, as one .npz file."""
    named: dict[str, Any] = {
        f"{name}{number}": array
        for number, of_one in enumerate(arrays)
        for name, array in of_one.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **named | {"index": np.array(json.dumps(list(about)))})
    write_bytes(path, buffer.getvalue())


def read_arrays(
    path: str | os.PathLike[str], name: str
) -> list[tuple[Any, np.ndarray]]:
    """Reads each JSON value that `write_arrays` stored, with its array of this name.

    Raises ValueError where there is no such file or array, or it is damaged.
    """
    try:
        # NumPy itself leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            index = json.loads(str(stored["index"]))
            return [(about, stored[f"{name}{i}"]) for i, about in enumerate(index)]
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error})") from None
