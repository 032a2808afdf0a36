"""Prepares data sets of the catalog: fetches their files, checks and builds them."""

import contextlib
import errno
import io
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import absl.logging
import filelock
import tensorflow_datasets as tfds
from tqdm import tqdm

from metainit.data.builders import catalog, prepared
from metainit.data.builders.base import PrepareError, located
from metainit.data.builders.caltech256 import Caltech256
from metainit.data.builders.cifar100 import Cifar100
from metainit.data.builders.fetch import FetchError, digest, fetch
from metainit.data.builders.fgvc_aircraft import FgvcAircraft
from metainit.data.builders.flowers102 import Flowers102
from metainit.data.builders.oxford_pets import OxfordPets
from metainit.data.builders.stanford_cars import StanfordCars
from metainit.data.builders.sun397 import Sun397
from metainit.runtime import atomic

_TRAIN = (Cifar100, Caltech256, Flowers102)
_OTHERS = (StanfordCars, FgvcAircraft, OxfordPets, Sun397)
BUILDERS = {kind.name: kind for kind in (*_TRAIN, *_OTHERS)}


def prepare(
    name: str,
    root: Path,
    manual_dir: Path | None = None,
    skip_unreadable: bool = False,
    checksums: Mapping[str, str] | None = None,
    delete_archives: bool = False,
) -> Path:
    """Prepares a data set of the catalog below `<root>/tfds`, and returns its folder.

    It downloads the files that are missing and checks all of them, except folders that
    are unpacked already. If it fails or is stopped, it leaves nothing but downloads,
    which continue the next time. A second process waits for the first.

    Args:
      name: of the data set.
      root: the data folder, as of `cache.root`.
      manual_dir: where files are looked for, first in its folder `name`, to which
        downloads go; by default `<root>/downloads`.
      skip_unreadable: leave out and count images that do not decode or are missing.
      checksums: "sha256:HEX" by file name, in place of the catalog's.
      delete_archives: delete the files, but no folders, once all is prepared.

    Raises:
      ValueError: in one line, what is wrong and what to do.
    """
    folder, files = prepared.place(name, root), manual_dir or root / "downloads"
    if prepared.is_prepared(name, root):
        return folder
    with _alone(name, root, files):
        if prepared.is_prepared(name, root):
            return folder
        if prepared.is_built(name, root):
            atomic.clear(folder)
            prepared.seal(folder)
            return folder
        _obtain(name, files, checksums or {})
        _say(name, f"building {folder}")
        builder = BUILDERS[name](
            data_dir=os.fspath(root / "tfds"),
            manual_dir=files,
            skip_unreadable=skip_unreadable,
        )
        _run(builder)
        for path in chain(*(paths for _, paths in located(name, files))):
            if delete_archives and path.is_file():
                path.unlink()
                _say(name, f"deleted {path}")
    summary = prepared.summary(folder)
    _say(name, f"{sum(summary.images.values()):,} images prepared{summary.reductions}")
    return folder


def _say(name: str, what: str) -> None:
    print(f"{name}: {what}", flush=True)


def build(
    make: Callable[[], tfds.core.DatasetBuilder], name: str, root: Path
) -> tfds.core.DatasetBuilder:
    """Returns the builder that `make` makes, once its data set is prepared.

    Raises:
      ValueError: there is no room, or no permission to write.
    """
    with _alone(name, root, root):
        builder = make()
        if not Path(builder.data_dir).exists():
            _run(builder)
        return builder


def _run(builder: tfds.core.DatasetBuilder) -> None:
    """Builds all or nothing, without TFDS's messages and network access."""
    folder = Path(builder.data_dir)
    # A process that was killed leaves such a folder.
    for dead in folder.parent.glob(f"incomplete.*_{folder.name}"):
        shutil.rmtree(dead)
    tfds.disable_progress_bar()
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
        prepared.seal(folder)
    finally:
        absl.logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _alone(name: str, root: Path, files: Path) -> Iterator[None]:
    """Lets one process at a time work on a data set, and explains a full disk."""
    path = root / "tfds" / f".{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        try:
            held = lock.acquire(timeout=0)
        except filelock.Timeout:
            _say(name, "waiting for another process that prepares it")
            held = lock.acquire()
        with held:
            yield
    except (OSError, RuntimeError) as error:
        # ArrayRecord's writer reports a full disk by its text, without a number.
        full = os.strerror(errno.ENOSPC)
        if isinstance(error, RuntimeError) and full not in str(error):
            raise
        room = ""
        if name in BUILDERS:
            needed = tqdm.format_sizeof(2 * catalog.CATALOG[name].prepared_bytes, "B")
            room = f", with room for up to {needed}"
        free = tqdm.format_sizeof(shutil.disk_usage(existing(root)).free, "B")
        raise PrepareError(
            f"{name}: {error}; {root} and {files} must be folders that you may write "
            f"to{room}, and {free} are free; only downloads were kept; choose others "
            "by --data_dir and --manual_dir"
        ) from error


def existing(folder: Path) -> Path:
    """Finds the folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def read_checksums(path: Path) -> dict[str, str]:
    """Reads the checksums "sha256:HEX" by file name from the output of `sha256sum`.

    Raises:
      ValueError: a line is malformed, or names a file that no data set has.
    """
    known = {file.name for entry in catalog.CATALOG.values() for file in entry.files}
    checksums = {}
    for line in filter(str.strip, path.read_text(errors="replace").splitlines()):
        match = re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(\S.*?)\s*", line)
        if not match or match[2] not in known:
            raise PrepareError(
                f"--checksums {path} has the line {line!r}; write the sha256, 64 "
                f"digits, and one of the files {', '.join(sorted(known))}"
            )
        checksums[match[2]] = f"sha256:{match[1].lower()}"
    return checksums


def _obtain(name: str, files: Path, checksums: Mapping[str, str]) -> None:
    """Checks every file, and downloads those that are neither there nor unpacked."""
    missing = []
    for file, paths in located(name, files):
        if own := checksums.get(file.name):  # of another file, of unknown size
            file = file._replace(checksum=own, checksum_source="--checksums", bytes=0)
        missing += [file] * (not paths)
        for path in filter(Path.is_file, paths):
            _say(name, f"checking {path}")
            if (checksum := digest(path, file.checksum)) != file.checksum:
                sha256 = digest(path, "sha256:").partition(":")[2]
                raise PrepareError(
                    f"{path} is not the right file: it has {checksum}, not "
                    f"{file.checksum} ({file.checksum_source}); delete it or, if you "
                    f"trust it, --checksums FILE with the line '{sha256} {file.name}'"
                )
    for file in missing:
        _say(name, f"downloading {file.name}")
        trees = "".join(f" or the folder {tree}" for tree in file.trees)
        advice = f"put {file.name}{trees} into {files / name} yourself"
        try:
            fetch(file, files / name, advice)
        except FetchError as error:
            if file.needed:
                raise FetchError(f"{name}: {error}") from error
            _say(name, f"going on without {file.name}, which is optional: {error}")
