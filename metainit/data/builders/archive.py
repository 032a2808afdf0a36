"""The files of an archive, or of the tree it unpacks to, in one pass, as bytes."""

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
_MOST = 1 << 28  # bytes of a file: it is in memory, whole
# The kinds of what a tar says of the file that follows.
_SAID = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_MOST_HEADER = 1 << 16  # bytes of a name, or of what else a tar says of a file
_ADVICE = "delete it and get the official archive"


class ArchiveError(ValueError):
    """An archive that cannot be, or must not be, read."""


class Member(NamedTuple):
    """A file of an archive."""

    name: str  # its path, with "/" and the archive's own root folder
    content: bytes
    position: int  # bytes of the archive that were read so far


def members(path: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[Member]:
    """Yields the wanted regular files of an archive, a folder, or the file itself.

    A tar is decompressed once. A folder is walked in the order of its names, and its
    own name is the first part of those of its files, as in the archive it came from.

    Raises:
      ArchiveError: cut short or damaged, names that lead outside, a wanted file that
        is a link or a device or has over 256 MB, or files, and what a tar says of them,
        of more than `limit` bytes together.
    """
    if path.is_dir():
        yield from _of_folder(path.absolute(), wanted, limit)
    elif path.name.endswith(_TAR) or path.suffix == ".zip":
        read = _of_zip if path.suffix == ".zip" else _of_tar
        try:
            yield from read(path, wanted, limit)
        except (*_BROKEN, OSError) as error:
            # A zip's places may lie before its start.
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            what = f"cut short or damaged ({str(error) or type(error).__name__})"
            raise ArchiveError(f"{path} is {what}; {_ADVICE}") from error
    elif wanted(path.name):
        content = path.read_bytes()
        yield Member(path.name, content, len(content))


def _of_tar(path: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[Member]:
    total = -tarfile.BLOCKSIZE  # a limit of the very bytes of one file is enough
    with (
        path.open("rb", buffering=_BLOCK) as file,
        _decompressed(file) as stream,
        # "r|" never goes back: a second pass would decompress everything again.
        tarfile.open(
            fileobj=stream, mode="r|", bufsize=1 << 16, tarinfo=_Entry
        ) as archive,
    ):
        while (entry := archive.next()) is not None:
            # Else all of them stay in memory.
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
        # Behind the last file there is padding, and gzip's checksum.
        while block := stream.read(_BLOCK):
            _checked(path, "", total := total + len(block), limit + 2 * _BLOCK)


class _Entry(tarfile.TarInfo):
    """A header of a tar that is not taken for the tar's end where it is broken.

    What else is said of a file is read into memory, at once: it must be short.
    """

    @classmethod
    def frombuf(cls, buf: Any, encoding: str, errors: str) -> "_Entry":
        entry = super().frombuf(buf, encoding, errors)
        if entry.type in _SAID and entry.size > _MOST_HEADER:
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
    """Opens it by its first bytes: browsers decompress without renaming."""
    return gzip.open(file) if file.peek(2).startswith(b"\x1f\x8b") else file


def _of_zip(path: Path, wanted: Callable[[str], bool], limit: int) -> Iterator[Member]:
    total = position = 0
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            total += entry.file_size
            name = _checked(path, entry.filename, total, limit)
            position += entry.compress_size
            if entry.is_dir() or not wanted(name):
                continue
            # The upper half has the mode, where a Unix made the zip.
            if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
                raise _not_plain(path, name)
            _check_size(path, name, entry.file_size)
            yield Member(name, archive.read(entry), position)


def _of_folder(
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
    """Passes on the name of a file, unless it or the `total` bytes are refused."""
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
