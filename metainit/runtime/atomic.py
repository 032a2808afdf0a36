"""Files that are there whole or not at all."""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any


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
    lines = []
    for row in rows:
        plain = json.loads(json.dumps(dict(row), default=float))
        finite = {
            name: None if isinstance(x, float) and not math.isfinite(x) else x
            for name, x in plain.items()
        }
        lines.append(json.dumps(finite) + "\n")
    write_text(path, "".join(lines))


def read_rows(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Reads the rows of a file of `write_rows`."""
    return [json.loads(line) for line in pathlib.Path(path).read_text().splitlines()]
