"""The files of an archive, or of the tree it unpacks to, in one pass.

Nothing is ever extracted in place: contents are handed on as bytes.
"""

import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

_TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
)


class ArchiveError(ValueError):
    """An archive that cannot be, or must not be, read."""


class Member(NamedTuple):
    """A file of an archive.

    Attributes:
      name: its path, with "/" and the archive's own root folder.
      content: its bytes.
    """

    name: str
    content: bytes


def members(
    path: Path,
    wanted: Callable[[str], bool],
    limit: int,
    read_bytes: Callable[[int], Any] = lambda count: None,
) -> Iterator[Member]:
    """The wanted regular files of an archive, a folder, or the file itself.

    A tar, compressed or not, is decompressed once, from its start to its end. A folder
    is walked in the order of its names, and its own name is the first part of those of
    its files, as if the archive that it came from were read. Links are never followed.

    Args:
      path: a tar (also .gz, .bz2, .xz), a zip, a folder, or any other file, which is
        handed on whole.
      wanted: which names to read.
      limit: bytes of all files together above which the archive is refused.
      read_bytes: told how many bytes of `path` were read since the last call.

    Raises:
      ArchiveError: cut short or damaged, names that lead outside, a wanted file that
        is a link, or more than `limit` bytes.
    """
    if path.is_dir():
        return _of_folder(path, wanted, read_bytes)
    if path.name.endswith(_TAR):
        return _of_tar(path, wanted, limit, read_bytes)
    if path.suffix == ".zip":
        return _of_zip(path, wanted, limit, read_bytes)
    return _of_file(path, wanted, read_bytes)


def _of_tar(path, wanted, limit, read_bytes):
    total = 0
    try:
        with (
            _Counted(path, read_bytes) as file,
            tarfile.open(fileobj=file, mode="r|*") as archive,
        ):
            for entry in archive:
                _check_name(path, entry.name)
                total += entry.size
                _check_size(path, total, limit)
                name = str(PurePosixPath(entry.name))
                if not wanted(name):
                    continue
                if entry.islnk() or entry.issym():
                    raise _is_link(path, name)
                if entry.isreg():
                    extracted = archive.extractfile(entry)
                    assert extracted is not None
                    yield Member(name, extracted.read())
    except _BROKEN as error:
        raise _broken(path, error) from error


def _of_zip(path, wanted, limit, read_bytes):
    try:
        with zipfile.ZipFile(path) as archive:
            total = 0
            for entry in archive.infolist():
                _check_name(path, entry.filename)
                total += entry.file_size
                _check_size(path, total, limit)
            for entry in archive.infolist():
                name = str(PurePosixPath(entry.filename))
                if entry.is_dir() or not wanted(name):
                    continue
                if (entry.external_attr >> 16) & 0o170000 == 0o120000:
                    raise _is_link(path, name)
                read_bytes(entry.compress_size)
                yield Member(name, archive.read(entry))
    except _BROKEN as error:
        raise _broken(path, error) from error


def _of_folder(path, wanted, read_bytes):
    top = path.absolute()
    for folder, inner, files in os.walk(top):
        inner.sort()
        for file in sorted(files):
            found = Path(folder, file)
            name = found.relative_to(top.parent).as_posix()
            if not wanted(name):
                continue
            if found.is_symlink():
                raise _is_link(path, name)
            content = found.read_bytes()
            read_bytes(len(content))
            yield Member(name, content)


def _of_file(path, wanted, read_bytes):
    if wanted(path.name):
        content = path.read_bytes()
        read_bytes(len(content))
        yield Member(path.name, content)


def _check_name(path: Path, name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise ArchiveError(
            f"{path} holds {name!r}, which leads outside of it; nothing was written. "
            "This is not the official archive: delete it and get that"
        )


def _check_size(path: Path, total: int, limit: int) -> None:
    if total > limit:
        raise ArchiveError(
            f"{path} declares more than {limit / 1e6:,.0f} MB of files, more than this "
            "data set can have; it is not the official archive: delete it and get that"
        )


def _is_link(path: Path, name: str) -> ArchiveError:
    return ArchiveError(
        f"{path}: {name} is a link, and links are not followed; put the file itself "
        "there"
    )


def _broken(path: Path, error: Exception) -> ArchiveError:
    reason = str(error) or type(error).__name__
    return ArchiveError(
        f"{path} is cut short or damaged ({reason}); delete it and get it again"
    )


class _Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, read_bytes: Callable[[int], Any]):
        self._file = path.open("rb")
        self._read_bytes = read_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._read_bytes(len(content))
        return content

    def close(self) -> None:
        self._file.close()
        super().close()
