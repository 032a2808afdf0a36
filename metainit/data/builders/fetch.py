"""Downloads that resume, and that are checked before they are believed."""

import errno
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

_BLOCK = 1 << 20
_TIMEOUT = 30.0
HEADERS = {"User-Agent": "metainit"}


class FetchError(ValueError):
    """A file that a data set needs could not be had."""


def fetch(
    urls: str | Sequence[str],
    folder: Path,
    checksum: str,
    *,
    size: int | None = None,
    advice: str = "give a copy of the file with --config.data.archive=PATH",
    timeout: float = _TIMEOUT,
) -> Path:
    """The file at a url, kept in `folder` under the last part of the first url.

    A download that was cut continues where it stopped, in this call while every
    attempt brings some bytes, else in the next one. Only a file with the right
    checksum gets its name; it is then trusted. Whatever is wrong with a url, the next
    one is tried.

    Args:
      urls: http or https, all of the same file, in order of preference.
      folder: made where missing.
      checksum: "sha256:HEX" or "md5:HEX".
      size: of the file in bytes, where known; an answer of more than twice as many is
        refused.
      advice: how to do without the download, for the error.
      timeout: seconds without a byte after which the server is given up.

    Raises:
      FetchError: no url has it: no connection, an HTTP error, a wrong size or checksum
        (of which nothing is kept); or the disk is full.
    """
    urls = [urls] if isinstance(urls, str) else list(urls)
    path = folder / Path(urlsplit(urls[0]).path).name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    reasons = []
    for url in urls:
        try:
            _download(url, part, size, timeout)
            found = digest(part, checksum)
            if found == checksum:
                os.replace(part, path)
                return path
            part.unlink()
            kind, _, found = found.partition(":")
            expected = checksum.partition(":")[2]
            reason = f"its {kind} is {found}, not {expected}; nothing was kept"
        except _Refused as refused:
            reason = str(refused)
        reasons.append(f"cannot download {url}: {reason}")
    raise FetchError(
        f"{'; '.join(reasons)}; run the same command again to continue, or {advice}"
    )


def digest(path: Path, checksum: str) -> str:
    """What `checksum` ("sha256:HEX" or "md5:HEX") would have to be for this file."""
    kind = checksum.partition(":")[0]
    with (
        path.open("rb") as file,
        _bar(f"checking {path.name}", path.stat().st_size) as bar,
    ):
        hashed = hashlib.new(kind)
        while block := file.read(_BLOCK):
            hashed.update(block)
            bar.update(len(block))
    return f"{kind}:{hashed.hexdigest()}"


class _Refused(Exception):
    """A url that does not have the file."""


def _download(url: str, part: Path, size: int | None, timeout: float) -> None:
    """Fills `part` up to the end of the file at `url`."""
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            return _continue(url, part, size, timeout)
        except urllib.error.HTTPError as error:
            # 416: nothing after what is there, which may be whole or nonsense.
            if error.code == 416 and before:
                return None
            raise _Refused(f"the server says {error}") from error
        except (OSError, HTTPException) as error:
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise FetchError(
                    f"the disk of {part.parent} is full; what came of {part.stem} is "
                    "kept; make room, and run the same command again to continue"
                ) from error
            after = part.stat().st_size if part.exists() else 0
            if after <= before:
                raise _Refused(_reason(error, timeout)) from error


def _continue(url: str, part: Path, size: int | None, timeout: float) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = dict(HEADERS)
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        # 200 in place of 206: the server sends all of it again.
        resumed = answer.status == 206
        start = have if resumed else 0
        length = answer.headers["Content-Length"]
        total = start + int(length) if length else None
        most = float("inf") if size is None else 2 * size
        if total is not None and total > most:
            part.unlink(missing_ok=True)
            raise _Refused(
                f"it has {total:,} bytes there, the right file {size:,}; nothing was "
                "kept"
            )
        with (
            part.open("ab" if resumed else "wb") as file,
            _bar(f"downloading {part.stem}", total, start) as bar,
        ):
            while block := answer.read1(_BLOCK):
                file.write(block)
                bar.update(len(block))
                if file.tell() > most:
                    part.unlink()
                    raise _Refused(
                        f"it does not end, the right file has {size:,} bytes; nothing "
                        "was kept"
                    )
            if total is not None and file.tell() < total:
                raise ConnectionError(f"cut after {file.tell()} of {total} bytes")


def _reason(error: Exception, timeout: float) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(cause, TimeoutError):
        return f"timed out, the server sent nothing for {timeout:g} s"
    return str(error) or type(error).__name__


def _bar(title: str, total: int | None, start: int = 0) -> tqdm:
    """Bytes, bytes a second and time left; only on a terminal."""
    return tqdm(
        desc=title,
        total=total,
        initial=start,
        unit="B",
        unit_scale=True,
        leave=False,
        disable=None,
    )
