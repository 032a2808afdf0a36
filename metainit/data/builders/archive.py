"""The files of an archive, or of the tree it unpacks to, in one pass.

Nothing is ever extracted in place: contents are handed on as bytes.
"""

import bz2
import gzip
import io
import lzma
import os
import stat
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
_BLOCK = 1 << 20


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
        is a link or a device, or more than `limit` bytes.
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
            io.BufferedReader(_Counted(path, read_bytes), _BLOCK) as file,
            _decompressed(file) as stream,
            # "r|" never goes back: a second pass would decompress everything again.
            tarfile.open(
                fileobj=stream, mode="r|", bufsize=1 << 16, tarinfo=_Entry
            ) as archive,
        ):
            while (entry := archive.next()) is not None:
                # Else all of them stay in memory.
                archive.members.clear()  # type: ignore[attr-defined]
                _check_name(path, entry.name)
                total += entry.size
                _check_size(path, total, limit)
                name = str(PurePosixPath(entry.name))
                if entry.isdir() or not wanted(name):
                    continue
                if not entry.isreg():
                    raise _not_plain(path, name)
                extracted = archive.extractfile(entry)
                assert extracted is not None
                yield Member(name, extracted.read())
            # Behind the last file there is padding, and gzip's checksum.
            while stream.read(_BLOCK):
                pass
    except _BROKEN as error:
        raise _broken(path, error) from error
    except OSError as error:
        if error.errno is None:  # bz2 and gzip about their content, not the system
            raise _broken(path, error) from error
        raise


class _Entry(tarfile.TarInfo):
    """A header of a tar that is not taken for the tar's end where it is broken."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Entry":
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            if isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
                raise
            raise tarfile.ReadError(
                f"{error}, in place of a file or the end"
            ) from error


def _decompressed(file: Any) -> Any:
    """What is in the file, by its first bytes: browsers decompress without renaming."""
    start = file.peek(6)
    if start.startswith(b"\x1f\x8b"):
        return gzip.GzipFile(fileobj=file, mode="rb")
    if start.startswith(b"BZh"):
        return bz2.BZ2File(file)
    if start.startswith(b"\xfd7zXZ"):
        return lzma.LZMAFile(file)
    return file


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
                # The upper half has the mode, where a Unix made the zip.
                if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                    raise _not_plain(path, name)
                read_bytes(entry.compress_size)
                yield Member(name, archive.read(entry))
    # RuntimeError: encrypted, or compressed in a way that Python does not know.
    except (*_BROKEN, RuntimeError) as error:
        raise _broken(path, error) from error


def _of_folder(path, wanted, read_bytes):
    top = path.absolute()
    for folder, inner, files in os.walk(top, onerror=_raise):
        inner.sort()
        for file in sorted(files):
            found = Path(folder, file)
            name = found.relative_to(top.parent).as_posix()
            if not wanted(name):
                continue
            if found.is_symlink() or not found.is_file():
                raise _not_plain(path, name)
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


def _raise(error: OSError) -> None:
    raise error


def _not_plain(path: Path, name: str) -> ArchiveError:
    return ArchiveError(
        f"{path}: {name} is a link or a device, and such are not followed; put the "
        "file itself there"
    )


def _broken(path: Path, error: Exception) -> ArchiveError:
    reason = str(error) or type(error).__name__
    return ArchiveError(
        f"{path} is cut short or damaged ({reason}); delete it and get it again"
    )


class _Counted(io.RawIOBase):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, read_bytes: Callable[[int], Any]):
        self._file = path.open("rb", buffering=0)
        self._read_bytes = read_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self._read_bytes(count)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
