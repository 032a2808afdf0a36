"""Downloads that resume, and that are checked before they are believed."""

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

_BLOCK = 1 << 20
_TIMEOUT = 30.0


class FetchError(ValueError):
    """A file that a data set needs could not be had."""


def fetch(url: str, folder: Path, checksum: str, *, timeout: float = _TIMEOUT) -> Path:
    """The file at `url`, kept in `folder` under the last part of the url.

    A download that was cut continues where it stopped, in this call while every
    attempt brings some bytes, else in the next one. Only a file with the right
    checksum gets its name; it is then trusted.

    Args:
      url: http or https.
      folder: made where missing.
      checksum: "sha256:HEX" or "md5:HEX".
      timeout: seconds without a byte after which the server is given up.

    Raises:
      FetchError: no connection, an HTTP error, or a wrong checksum (nothing is kept).
    """
    path = folder / Path(urlsplit(url).path).name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _continue(url, part, timeout)
            break
        except urllib.error.HTTPError as error:
            # 416: nothing after what is there, which may be whole or nonsense.
            if error.code == 416 and before:
                break
            raise FetchError(_advice(url, f"the server says {error}")) from error
        except (OSError, HTTPException) as error:
            after = part.stat().st_size if part.exists() else 0
            if after <= before:
                raise FetchError(_advice(url, str(error))) from error
    kind, _, expected = checksum.partition(":")
    with part.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found != expected:
        part.unlink()
        reason = f"its {kind} is {found}, not {expected}; nothing was kept"
        raise FetchError(_advice(url, reason))
    os.replace(part, path)
    return path


def _continue(url: str, part: Path, timeout: float) -> None:
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "metainit"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        # 200 in place of 206: the server sends all of it again.
        resumed = answer.status == 206
        start = have if resumed else 0
        length = answer.headers["Content-Length"]
        total = start + int(length) if length else None
        with (
            part.open("ab" if resumed else "wb") as file,
            tqdm(
                desc=f"downloading {part.stem}",
                total=total,
                initial=start,
                unit="B",
                unit_scale=True,
                leave=False,
                disable=None,
            ) as progress,
        ):
            while block := answer.read1(_BLOCK):
                file.write(block)
                progress.update(len(block))
            if total is not None and file.tell() < total:
                raise ConnectionError(f"cut after {file.tell()} of {total} bytes")


def _advice(url: str, reason: str) -> str:
    return (
        f"cannot download {url}: {reason}; run the same command again to continue, or "
        "give a copy of the file with --config.data.archive=PATH"
    )
