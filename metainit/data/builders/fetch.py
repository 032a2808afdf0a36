"""Downloads files and checks them, and reads the data sets that are made of them."""

import errno
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from metainit.config.fields import Data
from metainit.data import cache, images
from metainit.data.builders.catalog import Entry, File

_BLOCK = 1 << 20
_TIMEOUT = 30.0  # seconds without a byte
_ADVICE = "give a copy of the file with --config.data.archive=PATH"


# The classes of each role, the images of each class with any label, and a function that
# reads both from the paths of files.
Split = Mapping[str, Sequence[str]]
Images = Mapping[str, Sequence[images.Encoded]]
Load = Callable[[Sequence[Path]], tuple[Split, Images]]


class FetchError(ValueError):
    """A file that a data set needs could not be downloaded."""


def fetch(file: File, folder: Path, advice: str = _ADVICE) -> Path:
    """Downloads a file of a data set into `folder`, unless it is there.

    A download that was cut continues where it stopped: in this call as long as every
    attempt brings some bytes, otherwise in the next call. Only a file with the right
    checksum gets its name. An answer of over twice `file.bytes` is refused, unless that
    is 0.

    Raises:
      FetchError: no address gives the file, for reasons that it names; or the disk is
        full.
    """
    path = folder / file.name
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    reasons = []
    for url in file.urls:
        reason = _download(url, part, file.bytes)
        if not reason:
            checksum = digest(part, file.checksum)
            if checksum == file.checksum:
                os.replace(part, path)
                return path
            part.unlink()
            reason = f"it has {checksum}, not {file.checksum}; nothing was kept"
        reasons.append(f"cannot download {url}: {reason}")
    raise FetchError(
        f"{'; '.join(reasons)}; run the same command again to continue, or {advice}"
    )


def read(data: Data, entry: Entry, load: Load) -> dict[str, cache.Part]:
    """Reads a data set that comes with a split of classes, downloaded on first use.

    Args:
      data: its `archive` may name files in place of the download, with commas.
      entry: the data set.
      load: reads the classes and images from the files.

    Raises:
      ValueError: a file is absent, cannot be downloaded, or is refused by `load`.
    """
    if data.archive:
        paths = [Path(path).expanduser() for path in data.archive.split(",")]
    else:
        folder = cache.root(data.data_dir) / "downloads"
        paths = [fetch(file, folder) for file in entry.files]
    for path in paths:
        if not path.is_file():
            raise ValueError(f"data.archive: there is no file {path}")

    def build() -> dict[str, cache.Pending]:
        try:
            split, class_images = load(paths)
        except ValueError as error:
            given = ",".join(map(str, paths))
            official = " and ".join(file.name for file in entry.files)
            advice = f"give {official}, or what is laid out alike"
            raise ValueError(f"data.archive={given}: {error}; {advice}") from error

        def pending(names: Sequence[str]) -> cache.Pending:
            # In the order of classes, so that an episode reads neighbouring pages.
            items = [
                item._replace(label=label)
                for label, name in enumerate(names)
                for item in class_images.get(name, ())
            ]
            return cache.Pending(items, len(items), names)

        return {role: pending(names) for role, names in split.items()}

    skip = bool(data.skip_undecodable)
    key, shape = (cache.file_key(*paths), skip), (data.size, data.size, data.channels)
    return cache.cached(data.data_dir, entry.name, key, shape, skip, build)


def digest(path: Path, checksum: str) -> str:
    """Hashes a file in the way of a `checksum`, "sha256:HEX" or "md5:HEX"."""
    kind = checksum.partition(":")[0]
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()}"


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _download(url: str, part: Path, size: int) -> str:
    """Downloads the rest of the file at `url`; returns why it failed, or ""."""
    while True:
        before = _size(part)
        try:
            return _continue(url, part, size)
        except (OSError, HTTPException) as error:
            # 416: nothing follows the bytes that are there, be they right or wrong.
            if getattr(error, "code", None) == 416 and before:
                return ""
            if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
                raise FetchError(
                    f"the disk of {part.parent} is full; what came of {part.stem} is "
                    "kept; make room, and run the same command again to continue"
                ) from error
            if isinstance(error, urllib.error.HTTPError) or _size(part) <= before:
                return str(error) or type(error).__name__


def _continue(url: str, part: Path, size: int) -> str:
    have = _size(part)
    headers = {"User-Agent": "metainit"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
        # With 200 in place of 206 the server sends the whole file again.
        resumed = answer.status == 206
        start = have if resumed else 0
        length = answer.headers["Content-Length"]
        total = start + int(length) if length else None
        title, scale = f"downloading {part.stem}", {"unit": "B", "unit_scale": True}
        with (
            part.open("ab" if resumed else "wb") as file,
            # Shown on a terminal only.
            tqdm(None, title, total, disable=None, initial=start, **scale) as bar,
        ):
            while block := answer.read1(_BLOCK):
                file.write(block)
                bar.update(len(block))
                if max(file.tell(), total or 0) > (2 * size or float("inf")):
                    part.unlink()
                    return f"it has over twice the {size:,} bytes of the right file"
            if total is not None and file.tell() < total:
                raise ConnectionError(f"cut after {file.tell()} of {total} bytes")
    return ""
