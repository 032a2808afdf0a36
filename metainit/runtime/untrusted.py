"""Files that a stranger may have made: nothing is allocated on their word alone.

What is no regular file, or larger than any that is known here, is not read. Everything
wrong is a ValueError, or an OSError for a file that cannot be opened.
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

MOST = 1 << 29  # bytes of weights
MOST_JSON = 1 << 24
MOST_LINE = 1 << 20
_MOST_HEADER = 1 << 22  # of safetensors: names and shapes of 30,000 arrays
_MOST_ARRAYS = 1 << 28  # of an .npz file, all together
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_bytes(path: str | os.PathLike[str], most: int = MOST) -> bytes:
    """Reads a regular file of at most so many bytes."""
    path = pathlib.Path(path)
    if (size := _size(path)) > most:
        raise ValueError(f"{path} has {size:,} bytes, more than {most:,}")
    return path.read_bytes()


def read_lines(path: str | os.PathLike[str], most: int = MOST_LINE) -> Iterator[str]:
    """Yields lines of at most so many bytes of a regular file of any size."""
    _size(path)
    with open(path, "rb") as file:
        number = 0
        while line := file.readline(most + 1):
            number += 1
            if len(line) > most:
                raise ValueError(f"{path}, line {number} has more than {most:,} bytes")
            yield line.decode(errors="replace")


def _size(path: str | os.PathLike[str]) -> int:
    """Gives the bytes of a regular file."""
    about = os.stat(path)
    if not stat.S_ISREG(about.st_mode):
        raise ValueError(f"{path} is no regular file")
    return about.st_size


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
    """Reads an array; NumPy itself gives memory to the shape that the header claims."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"an array of format {version}")
    shape, by_columns, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    flat = np.frombuffer(bytearray(file.read()), dtype)
    return flat.reshape(shape, order="F" if by_columns else "C")


def read_npy(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads an .npy file, memory-mapped: it has all the bytes that it claims."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: {error}") from None
