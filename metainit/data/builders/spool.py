"""Images on disk between the pass that reads them and the one that writes them."""

import tempfile
from pathlib import Path
from typing import Self


class Spool:
    """Byte strings by name, in a file without a name: it cannot be left behind.

    Attributes:
      names: by name, where the bytes start and how many there are.
    """

    def __init__(self, folder: Path):
        self._file = tempfile.TemporaryFile(dir=folder)
        self._end = 0
        self.names: dict[str, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def add(self, name: str, content: bytes) -> None:
        self._file.seek(self._end)
        self._file.write(content)
        self.names[name] = self._end, len(content)
        self._end += len(content)

    def read(self, name: str) -> bytes:
        start, length = self.names[name]
        self._file.seek(start)
        return self._file.read(length)
