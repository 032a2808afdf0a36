"""Lists what metainit keeps on disk between runs, and clears what it can remake."""

import contextlib
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import filelock

_DECODED = re.compile(r".+-\d+x\d+x\d+-[0-9a-f]{16}")  # as of `cache.cached`
_FEATURES = re.compile(r"[0-9a-f]{64}")  # as of `frozen_features.encode`


class Kind(NamedTuple):
    """One kind of files that are kept.

    Attributes:
      name: as `metainit cache` lists it.
      about: what the files are, or how to get them again.
      folder: where they lie.
      entries: the files and folders; others beside them are not ours.
      bytes: the room that they take.
    """

    name: str
    about: str
    folder: Path
    entries: tuple[Path, ...]
    bytes: int


def compiled() -> Path:
    """Names the folder of compiled programs, if the user has chosen none."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "metainit" / "jax"


def clearable(root: Path) -> tuple[Kind, ...]:
    """Lists what the next run makes again by itself, below `cache.root`."""
    images, features = root / "cache", root / "features"
    return (
        _kind("images", "decoded copies of images", images, _DECODED),
        _kind("features", "what frozen encoders gave", features, _FEATURES),
        _kind("compiled", "programs, compiled for this machine", compiled()),
    )


def lasting(root: Path) -> tuple[Kind, ...]:
    """Lists what would have to be fetched again."""
    return (
        _kind("downloads", "archives as they were fetched", root / "downloads"),
        _kind("data sets", "prepared: metainit datasets list", root / "tfds"),
    )


def clear(kind: Kind) -> int:
    """Deletes the files of a kind that no process is writing; returns their bytes."""
    freed = 0
    for path in kind.entries:
        lock: Any = contextlib.nullcontext()
        if kind.name == "features":
            lock = filelock.FileLock(path.with_suffix(".lock"), timeout=0)
        with contextlib.suppress(filelock.Timeout), lock:
            freed += _size(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            if kind.name == "features":
                path.with_suffix(".lock").unlink(missing_ok=True)
    return freed


def _kind(
    name: str, about: str, folder: Path, pattern: re.Pattern[str] | None = None
) -> Kind:
    entries = tuple(
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if pattern is None or (pattern.fullmatch(path.stem) and path.suffix != ".lock")
    )
    return Kind(name, about, folder, entries, sum(map(_size, entries)))


def _size(path: Path) -> int:
    """Counts the bytes of a file or folder, without files that vanish meanwhile."""
    if not path.is_dir():
        with contextlib.suppress(OSError):
            return path.stat().st_size
        return 0
    return sum(_size(below) for below in path.iterdir())
