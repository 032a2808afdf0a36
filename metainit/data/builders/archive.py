"""Reads the files of an archive, or of the folder that it unpacks to, in one pass."""

import errno
import gzip
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

_TAR = (".tar", ".tar.gz", ".tgz")
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    RuntimeError,  # a zip is encrypted, or compressed as Python does not know
)
_BLOCK = 1 << 20
_MOST = 1 << 28  # bytes of a file, all of which is in memory
# The types of a tar's headers that describe the file behind them.
_DESCRIBING = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MOST_HEADER = 1 << 16  # bytes of such a header
_ADVICE = "delete it and get the official archive"


class ArchiveError(ValueError):
    """An archive that cannot be, or must not be, read."""


class Member(NamedTuple):
    """A file of an archive."""

    name: str  # its path with "/", which begins with the archive's root folder
    content: bytes
    position: int  # how many bytes of the archive were read so far


def members(path: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[Member]:
    """Yields the wanted regular files of an archive, a folder, or the file itself.

    A tar is decompressed once. A folder is walked in the order of its names. The names
    of its files begin with its own, as in the archive that it came from.

    Args:
      path: of the archive, the folder or the file.
      wanted: whether a file of that name is to be read.
      limit: the most bytes of all files and headers together.

    Raises:
      ArchiveError: the archive is cut short or damaged, or has more than `limit` bytes.
        Or a name leads outside, or a wanted file is a link, a device or over 256 MB.
    """
    if path.is_dir():
        yield from _folder_members(path.absolute(), wanted, limit)
    elif path.name.endswith(_TAR) or path.suffix == ".zip":
        read = _zip_members if path.suffix == ".zip" else _tar_members
        try:
            yield from read(path, wanted, limit)
        except (*_BROKEN, OSError) as error:
            # EINVAL: a damaged zip may give a place before its start.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            what = f"cut short or damaged ({str(error) or type(error).__name__})"
            raise ArchiveError(f"{path} is {what}; {_ADVICE}") from error
    elif wanted(path.name):
        content = path.read_bytes()
        yield Member(path.name, content, len(content))


def _tar_members(
    path: Path, wanted: Callable[[str], bool], limit: int
) -> Iterator[Member]:
    total = -tarfile.BLOCKSIZE  # so that one file may have `limit` bytes
    with (
        path.open("rb", buffering=_BLOCK) as file,
        _decompressed(file) as stream,
        # "r|" never goes back: a second pass would decompress everything again.
        tarfile.open(
            fileobj=stream, mode="r|", bufsize=1 << 16, tarinfo=_Entry
        ) as archive,
    ):
        while (entry := archive.next()) is not None:
            # Otherwise the headers of all files stay in memory.
            archive.members.clear()  # type: ignore[attr-defined]
            total += entry.size + tarfile.BLOCKSIZE
            name = _checked(path, entry.name, total, limit)
            if entry.isdir() or not wanted(name):
                continue
            if not entry.isreg():
                raise _not_plain(path, name)
            _check_size(path, name, entry.size)
            extracted = archive.extractfile(entry)
            assert extracted is not None
            yield Member(name, extracted.read(), file.tell())
        # Padding and gzip's checksum follow the last file.
        while block := stream.read(_BLOCK):
            _checked(path, "", total := total + len(block), limit + 2 * _BLOCK)


class _Entry(tarfile.TarInfo):
    """A tar's header, which raises an error if it is broken.

    `tarfile` takes a broken header for the end of the tar. It also reads a describing
    header into memory, so that a long one is refused.
    """

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Entry":
        entry = super().frombuf(buf, encoding, errors)
        if entry.type in _DESCRIBING and entry.size > _MOST_HEADER:
            raise tarfile.ReadError(f"{entry.size:,} bytes said of a file")
        if entry.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a file with holes")
        return entry

    def _proc_gnusparse_10(self, *_: Any) -> None:
        raise tarfile.ReadError("a file with holes")

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Entry":
        try:
            return super().fromtarfile(archive)
        except tarfile.HeaderError as error:
            if isinstance(error, tarfile.EOFHeaderError):  # type: ignore[attr-defined]
                raise
            raise tarfile.ReadError(f"{error}, in place of a file") from error


def _decompressed(file: Any) -> Any:
    """Decompresses a file if its first bytes are gzip's.

    The name does not say: browsers decompress files without renaming them.
    """
    return gzip.open(file) if file.peek(2).startswith(b"\x1f\x8b") else file


def _zip_members(
    path: Path, wanted: Callable[[str], bool], limit: int
) -> Iterator[Member]:
    total = position = 0
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            total += entry.file_size
            name = _checked(path, entry.filename, total, limit)
            position += entry.compress_size
            if entry.is_dir() or not wanted(name):
                continue
            # In a zip that was made on Unix, the upper half is the file's mode.
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                raise _not_plain(path, name)
            _check_size(path, name, entry.file_size)
            yield Member(name, archive.read(entry), position)


def _folder_members(
    top: Path, wanted: Callable[[str], bool], limit: int
) -> Iterator[Member]:
    def stop(error: OSError) -> None:
        raise error

    position = 0
    for folder, inner, files in os.walk(top, onerror=stop):
        inner.sort()
        for file in map(Path(folder).joinpath, sorted(files)):
            name = file.relative_to(top.parent).as_posix()
            if wanted(name):
                if file.is_symlink() or not file.is_file():
                    raise _not_plain(top, name)
                size = file.stat().st_size
                _check_size(top, _checked(top, name, position + size, limit), size)
                content = file.read_bytes()
                position += len(content)
                yield Member(name, content, position)


def _checked(path: Path, name: str, total: int, limit: int) -> str:
    """Returns the name of a file, or refuses it or the `total` bytes so far."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise ArchiveError(f"{path} holds {name!r}, which leads outside; {_ADVICE}")
    if total > limit:
        most = f"{limit / 1e6:,.0f} MB"
        raise ArchiveError(f"{path} declares more than {most} of files; {_ADVICE}")
    return str(PurePosixPath(name))


def _check_size(path: Path, name: str, size: int) -> None:
    if size > _MOST:
        what = f"has {size:,} bytes, and {_MOST:,} are the most of one file"
        raise ArchiveError(f"{path}: {name} {what}; {_ADVICE}")


def _not_plain(path: Path, name: str) -> ArchiveError:
    what = "is a link or a device; put the file itself there"
    return ArchiveError(f"{path}: {name} {what}")
