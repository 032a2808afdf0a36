"""Readers of files that a stranger may have made.

They check the size that a file claims before they allocate it. They refuse what is no
regular file, or is larger than a limit. They raise ValueError for all that is wrong,
and OSError for a file that cannot be opened.
"""

import json
import os
import pathlib
import stat
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy

MOST = 1 << 29  # bytes of a file of weights
MOST_JSON = 1 << 24
MOST_LINE = 1 << 20
_MOST_HEADER = 1 << 22  # of safetensors: names and shapes of 30,000 arrays
_MOST_ARRAYS = 1 << 28  # bytes of all arrays of an .npz file
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_bytes(path: str | os.PathLike[str], most: int = MOST) -> bytes:
    """Reads a regular file of at most `most` bytes."""
    path = pathlib.Path(path)
    if (size := _size(path)) > most:
        raise ValueError(f"{path} has {size:,} bytes, more than {most:,}")
    return path.read_bytes()


def read_lines(path: str | os.PathLike[str], most: int = MOST_LINE) -> Iterator[str]:
    """Yields the lines of a regular file, each of at most `most` bytes."""
    _size(path)
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(most + 1):
            number += 1
            if len(line) > most:
                raise ValueError(f"{path}, line {number} has more than {most:,} bytes")
            yield line.decode(errors="replace")


def _size(path: str | os.PathLike[str]) -> int:
    """Gives the size of a regular file in bytes."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is no regular file")
    return status.st_size


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON value."""
    try:
        return json.loads(read_bytes(path, MOST_JSON))
    except RecursionError:
        raise ValueError(f"{path} is JSON that is nested too deeply") from None


def tensors(
    content: bytes, path: str | os.PathLike[str], most_header: int = _MOST_HEADER
) -> dict[str, np.ndarray]:
    """Parses the content of a safetensors file at `path`."""
    if int.from_bytes(content[:8], "little") > most_header:
        raise ValueError(f"{path}: is no sound safetensors file (its header is huge)")
    try:
        return safetensors.numpy.load(content)
    except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ValueError(f"{path}: is no sound safetensors file ({line})") from None


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of an .npz file, without pickles."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if (size := sum(member.file_size for member in members)) > _MOST_ARRAYS:
                raise ValueError(f"its arrays have {size:,} bytes")
            arrays = {}
            for member in members:
                with archive.open(member) as file:
                    arrays[member.filename.removesuffix(".npy")] = _array(file)
            return arrays
    except OSError:
        raise
    except Exception as error:  # zipfile's and NumPy's parsers raise a dozen kinds
        raise ValueError(str(error) or type(error).__name__) from None


def _array(file: IO[bytes]) -> np.ndarray:
    """Reads an array, without allocating the shape that its header claims."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"an array of format {version}")
    shape, by_columns, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    flat = np.frombuffer(bytearray(file.read()), dtype)
    return flat.reshape(shape, order="F" if by_columns else "C")


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """Maps an .npy file into memory; it must have all the bytes that it claims."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: {error}") from None
