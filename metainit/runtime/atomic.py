"""Files that are there whole or not at all: text, JSON, rows and arrays."""

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
    """A file that cannot be read as what was written."""


@contextlib.contextmanager
def reading(path: str | os.PathLike[str], advice: str = "") -> Iterator[None]:
    """Makes a `DamagedError` of what goes wrong where a file is read and understood.

    Raises:
      DamagedError: naming the file, and `advice`.
    """
    try:
        yield
    except DamagedError as error:
        raise DamagedError(f"{error}; {advice}" if advice else str(error)) from None
    except Exception as error:  # parsers raise a dozen kinds
        words = f"{path} cannot be read ({type(error).__name__}: {error})"
        raise DamagedError(f"{words}; {advice}" if advice else words) from None


def refused(error: BaseException | None) -> str:
    """Says what the system refused, where that is why something failed, else ""."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _REFUSALS:
            words = error.strerror or str(error)
            return f"{error.filename}: {words}" if error.filename else words
        # Libraries pass on that the disk is full in words of their own.
        for full in map(os.strerror, (errno.ENOSPC, errno.EDQUOT)):
            if full in str(error):
                return full
        error = error.__cause__ or error.__context__
    return ""


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replaces the file at `path` by `content`; a kill leaves the old one."""
    _write(path, [content])


def _write(path: str | os.PathLike[str], parts: Iterable[bytes]) -> None:
    """Replaces a file as `write_bytes` does; the parts may be read from the old one."""
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
    _write(path, (line(row).encode() for row in rows))


def line(row: Mapping[str, Any]) -> str:
    """Writes a row as `write_rows` does."""
    plain = json.loads(json.dumps(dict(row), default=float))
    finite = {
        name: None if isinstance(x, float) and not math.isfinite(x) else x
        for name, x in plain.items()
    }
    return json.dumps(finite) + "\n"


def read_json(path: str | os.PathLike[str], *names: str) -> Any:
    """Reads the value of a file of `write_json`, an object that has these names.

    It raises DamagedError where it is none.
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

    Raises DamagedError where there is no such file or array, or it is damaged.
    """
    with reading(path):
        stored = untrusted.read_npz(path)
        index = json.loads(str(stored["index"]))
        return [(about, stored[f"{name}{i}"]) for i, about in enumerate(index)]
