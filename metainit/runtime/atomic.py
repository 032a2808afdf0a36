"""Files that are written whole or not at all: text, JSON, rows and arrays."""

import contextlib
import errno
import io
import json
import math
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from metainit.runtime import untrusted

_REFUSALS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO),
    *(errno.EROFS, errno.EACCES, errno.EPERM),
}


class DamagedError(ValueError):
    """A file that does not hold what was written to it."""


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], advice: str = "") -> Iterator[None]:
    """Turns any error in its block, which reads and parses a file, into one kind.

    Raises:
      DamagedError: it names the file, and ends in `advice`.
    """
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{error}; {advice}" if advice else str(error)) from None
    except Exception as error:  # parsers raise a dozen kinds
        words = f"{path} cannot be read ({type(error).__name__}: {error})"
        raise DamagedError(f"{words}; {advice}" if advice else words) from None


def refused(error: BaseException | None) -> str:
    """Describes the system's refusal that caused an error; "" where there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _REFUSALS:
            words = error.strerror or str(error)
            return f"{error.filename}: {words}" if error.filename else words
        # Libraries raise errors of their own where the disk is full.
        for full in map(os.strerror, (errno.ENOSPC, errno.EDQUOT)):
            if full in str(error):
                return full
        error = error.__cause__ or error.__context__
    return ""


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces a file by `content`; if the process is killed, the old one stays."""
    _write(path, [content])


def _write(path: str | os.PathLike[str], parts: Iterable[bytes]) -> None:
    """Replaces a file by parts, which may be read from the old file meanwhile."""
    path = pathlib.Path(path)
    # In the same folder, since a rename is atomic within one file system only.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.writelines(parts)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def clear(folder: pathlib.Path) -> None:
    """Removes temporary files that killed processes have left below a folder.

    No process may be writing there.
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
    """Replaces the file at `path` by lines of JSON, one object for each row.

    Numbers may be of NumPy or JAX. One that is not finite becomes null.
    """
    _write(path, (line(row).encode() for row in rows))


def line(row: Mapping[str, Any]) -> str:
    """Formats a row as `write_rows` does."""
    plain = json.loads(json.dumps(dict(row), default=float))
    finite = {
        name: None if isinstance(x, float) and not math.isfinite(x) else x
        for name, x in plain.items()
    }
    return json.dumps(finite) + "\n"


def read_json(path: str | os.PathLike[str], *names: str) -> Any:
    """Reads a JSON object that has these names from a file of `write_json`.

    It raises DamagedError where the file holds anything else.
    """
    with reading(path):
        value = untrusted.read_json(path)
        if lacking := [name for name in names if name not in value]:
            raise ValueError(f"it has no {', '.join(lacking)}")
        return value


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the rows of a file of `write_rows`, or raises DamagedError."""
    with reading(path):
        lines = untrusted.read_bytes(path).decode().splitlines()
    rows = []
    for number, text in enumerate(lines, start=1):
        with reading(f"{path}, line {number},"):
            rows.append(dict(json.loads(text)))
    return rows


def write_arrays(
    path: str | os.PathLike[str],
    about: Sequence[Any],
    arrays: Sequence[Mapping[str, np.ndarray]],
) -> None:
    """Stores JSON values in one .npz file, and a group of named arrays for each.

    All groups have the same names.
    """
    named: dict[str, Any] = {
        f"{name}{number}": array
        for number, group in enumerate(arrays)
        for name, array in group.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **named | {"index": np.array(json.dumps(list(about)))})
    write_bytes(path, buffer.getvalue())


def read_arrays(
    path: str | os.PathLike[str], name: str
) -> list[tuple[Any, np.ndarray]]:
    """Reads each JSON value that `write_arrays` stored, with its array of this name.

    It raises DamagedError where the file or an array is missing or damaged.
    """
    with reading(path):
        stored = untrusted.read_npz(path)
        index = json.loads(str(stored["index"]))
        return [(about, stored[f"{name}{i}"]) for i, about in enumerate(index)]
