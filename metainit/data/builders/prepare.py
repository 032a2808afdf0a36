"""From a name to a prepared data set: plan, fetch what is missing, check it, build."""

import contextlib
import errno
import io
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import absl.logging
import filelock
import tensorflow_datasets as tfds
from tqdm import tqdm

from metainit.data.builders import catalog, prepared
from metainit.data.builders.base import (
    WHOLE,
    ArchiveBuilder,
    Options,
    PrepareError,
    locate,
)
from metainit.data.builders.caltech256 import Caltech256
from metainit.data.builders.cifar100 import Cifar100
from metainit.data.builders.fetch import FetchError, digest, fetch
from metainit.data.builders.fgvc_aircraft import FgvcAircraft
from metainit.data.builders.flowers102 import Flowers102
from metainit.data.builders.oxford_pets import OxfordPets
from metainit.data.builders.stanford_cars import StanfordCars
from metainit.data.builders.sun397 import Sun397

_SEVEN = (
    Cifar100,
    Caltech256,
    Flowers102,
    StanfordCars,
    FgvcAircraft,
    OxfordPets,
    Sun397,
)
BUILDERS: dict[str, type[ArchiveBuilder]] = {kind.name: kind for kind in _SEVEN}

# For times: assumed bytes a second of the network; measured orders of magnitude of
# images and of archive bytes a second that a core converts.
_NETWORK = 10e6
_IMAGES = 600
_BYTES = 20e6
# Of an image of 256 x 192 pixels, JPEG of quality 95.
_SMALL_IMAGE = 25_000

Say = Callable[[str], object]


def place(name: str, root: Path) -> Path:
    """Names the folder of a data set as its present builder prepares it."""
    catalog.find(name)
    return root / "tfds" / name / str(BUILDERS[name].VERSION)


def is_prepared(name: str, root: Path) -> bool:
    """Tells whether it is there as its present builder prepares it, reduced or not."""
    return (place(name, root) / "dataset_info.json").is_file()


def prepare(
    name: str,
    root: Path,
    manual_dir: Path | None = None,
    options: Options = WHOLE,
    checksums: Mapping[str, str] | None = None,
    delete_archives: bool = False,
    say: Say = print,
) -> Path:
    """Prepares a data set of the catalog below `<root>/tfds`, and returns its folder.

    What is missing of its files is downloaded; files that the user has put there are
    checked like those. An unpacked tree is taken as it is. Interrupted or refused, it
    leaves nothing but downloads, which are continued the next time. A second process
    waits for the first.

    Args:
      manual_dir: files are looked for in `<manual_dir>/<name>`, where downloads go,
        then in `manual_dir` itself; by default `<root>/downloads`.
      checksums: "sha256:HEX" by file name, in place of the catalog's.
      delete_archives: delete files, never a tree, once the data set is prepared.
      say: is told what is done, a line at a time.

    Raises:
      ValueError: in one line, what is wrong and what to do.
    """
    folder = place(name, root)
    if is_prepared(name, root):
        return _as_asked(name, folder, options)
    files = manual_dir or root / "downloads"
    with _explained(name, root, files), _alone(name, root, say):
        if is_prepared(name, root):
            return _as_asked(name, folder, options)
        _obtain(name, files, checksums or {}, say)
        say(f"{name}: building {folder}")
        data_dir = os.fspath(root / "tfds")
        _run(BUILDERS[name](data_dir=data_dir, manual_dir=files, options=options))
        for path in chain(*(paths for _, paths in _located(name, files))):
            if delete_archives and path.is_file():
                path.unlink()
                say(f"{name}: deleted {path}")
    summary = prepared.summary(folder)
    reduced = f" ({summary.reductions})" if summary.reductions else ""
    say(f"{name}: {sum(summary.images.values()):,} images prepared{reduced}")
    return folder


def build(
    make: Callable[[], tfds.core.DatasetBuilder], name: str, root: Path
) -> tfds.core.DatasetBuilder:
    """Returns the builder that `make` makes, with its data set in `<root>/tfds`.

    Raises:
      ValueError: no room or no permission to write.
    """
    with _explained(name, root, root), _alone(name, root, lambda line: None):
        builder = make()
        if not Path(builder.data_dir).exists():
            _run(builder)
        return builder


def _run(builder: tfds.core.DatasetBuilder) -> None:
    """Builds all or nothing, without TFDS's messages and look-ups on the network."""
    folder = Path(builder.data_dir)
    # Of a process that was killed.
    for dead in folder.parent.glob(f"incomplete.*_{folder.name}"):
        shutil.rmtree(dead)
    tfds.disable_progress_bar()
    verbosity = absl.logging.get_verbosity()
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            config = tfds.download.DownloadConfig(try_download_gcs=False)
            builder.download_and_prepare(download_config=config)
    finally:
        absl.logging.set_verbosity(verbosity)


@contextlib.contextmanager
def _alone(name: str, root: Path, say: Say) -> Iterator[None]:
    """Lets one process at a time fetch and build a data set."""
    path = root / "tfds" / f".{name.replace('/', '-')}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        held = lock.acquire(timeout=0)
    except filelock.Timeout:
        say(f"{name}: waiting for another process that prepares it")
        held = lock.acquire()
    with held:
        yield


@contextlib.contextmanager
def _explained(name: str, root: Path, files: Path) -> Iterator[None]:
    """Tells what is wrong with the system in one line that says what to do."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        # ArrayRecord's writer passes on that the disk is full, and no number.
        full = os.strerror(errno.ENOSPC)
        if isinstance(error, RuntimeError) and full not in str(error):
            raise
        needed = 2 * catalog.CATALOG[name].prepared_bytes if name in BUILDERS else 0
        room = f", with room for up to {_size(needed)}" if needed else ""
        free = _size(shutil.disk_usage(_existing(root)).free)
        raise PrepareError(
            f"{name}: {error}; {root} and {files} must be folders that you may write "
            f"to{room}, and {free} are free; nothing was kept but downloads; make "
            "room, choose others with --data_dir and --manual_dir, or take less with "
            "--max_side or --fraction"
        ) from error


def read_checksums(path: Path) -> dict[str, str]:
    """Reads "sha256:HEX" by file name, from lines as the program sha256sum writes them.

    Raises:
      ValueError: the line that is none, or a file that no data set has.
    """
    known = {file.name for entry in catalog.CATALOG.values() for file in entry.files}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PrepareError(f"--checksums {path} cannot be read: {error}") from error
    checksums = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        match = re.fullmatch(r"([0-9a-fA-F]{64})\s+\*?(\S.*?)\s*", line)
        if not match or match[2] not in known:
            raise PrepareError(
                f"--checksums {path}, line {number} is {line!r}; write the sha256, 64 "
                f"digits, and one of the files {', '.join(sorted(known))}"
            )
        checksums[match[2]] = f"sha256:{match[1].lower()}"
    return checksums


def _as_asked(name: str, folder: Path, options: Options) -> Path:
    """Returns the folder, unless another reduction of the data set was asked for."""
    present = {**vars(WHOLE), **prepared.summary(folder).settings}
    has, wants, whole = (
        f"max_side={of['max_side']}, fraction={of['fraction']:g}"
        for of in (present, vars(options), vars(WHOLE))
    )
    if wants in (has, whole):
        return folder
    raise PrepareError(
        f"{name} is prepared already, with {has} and not with {wants}; to have that, "
        f"delete {folder} and run this again"
    )


def _obtain(name: str, files: Path, checksums: Mapping[str, str], say: Say) -> None:
    """Checks every file, and downloads what is neither there nor unpacked."""
    missing = []
    for file, paths in _located(name, files):
        if own := checksums.get(file.name):  # of another file, of unknown size
            file = file._replace(checksum=own, checksum_source="--checksums", bytes=0)
        missing += [file] * (not paths)
        for path in filter(Path.is_file, paths):
            say(f"{name}: checking {path}")
            _check(path, file)
    for file in missing:
        say(f"{name}: downloading {file.name}")
        trees = "".join(f" or the folder {tree}" for tree in file.trees)
        advice = f"put {file.name}{trees} into {files / name} yourself"
        try:
            fetch(file, files / name, advice)
        except FetchError as error:
            if file.needed:
                raise FetchError(f"{name}: {error}") from error
            say(f"{name}: going on without {file.name}, which is optional: {error}")


def _located(name: str, files: Path) -> list[tuple[catalog.File, list[Path]]]:
    """Finds the archive or the trees of each file of a data set; [] for none."""
    return [(file, locate(file, files, name)) for file in catalog.find(name).files]


def _check(path: Path, file: catalog.File) -> None:
    checksum = digest(path, file.checksum)
    if checksum == file.checksum:
        return
    sha256 = digest(path, "sha256:").partition(":")[2]
    raise PrepareError(
        f"{path} is not the right file: it has {checksum}, expected is {file.checksum} "
        f"({file.checksum_source}); delete it to have it downloaded, or, if you trust "
        f"it, give --checksums FILE with the line '{sha256} {file.name}'"
    )


class Need(NamedTuple):
    """What one data set takes; all sizes in bytes, all but `download` about."""

    entry: catalog.Entry
    cache: int  # of decoded images
    prepared: Path | None = None  # where that is done; then nothing below is needed
    download: int = 0  # still to be fetched
    result: int = 0  # once prepared; as much again is needed while it is built
    seconds: float = 0.0  # of download at 10 MB/s, and of building
    note: str = ""


class Plan(NamedTuple):
    """What several data sets take, one built after the other."""

    needs: Sequence[Need]
    lines: Sequence[str]  # all of it in words, terms included
    shortage: str  # what does not fit where, or ""
    impossible: bool  # whether downloads and results alone do not fit


def plan(
    names: Sequence[str],
    root: Path,
    manual_dir: Path | None = None,
    options: Options = WHOLE,
    size: int = 84,
    channels: int = 3,
) -> Plan:
    """Plans to `prepare` data sets of the catalog, and to use images of a size."""
    files, pixels = manual_dir or root / "downloads", size * size * channels
    needs = [_need(name, root, files, options, pixels) for name in names]
    data, downloads = _existing(root), _existing(files)
    passing = max((need.result for need in needs), default=0)
    lasting = sum(need.result + need.cache for need in needs)
    fetched = sum(need.download for need in needs)
    demands = [(data, lasting, passing), (downloads, fetched, 0)]
    if os.stat(data).st_dev == os.stat(downloads).st_dev:
        demands = [(data, lasting + fetched, passing)]
    shortages, impossible = [], False
    for folder, keeps, passes in demands:
        free = shutil.disk_usage(folder).free
        impossible |= keeps > free
        if keeps + passes > free:
            shortages.append(
                f"{_size(keeps + passes)} are needed on the disk of {folder}, "
                f"{_size(passes)} of it only while building, {_size(free)} are free"
            )
    shortage = " and ".join(shortages)
    time = tqdm.format_interval(sum(need.seconds for need in needs))
    lines = [
        *chain(*(_lines(need, f"{size}x{size}x{channels}") for need in needs)),
        f"together about {_size(demands[0][1] + passing)}, {time} (downloads at "
        f"{_NETWORK / 1e6:.0f} MB/s); {_size(shutil.disk_usage(data).free)} are free",
    ]
    if shortage:
        how = "reduce with --max_side or --fraction, or choose another --data_dir"
        lines.append(f"not enough room: {shortage}; {how}")
    return Plan(needs, lines, shortage, impossible)


def _need(name: str, root: Path, files: Path, options: Options, pixels: int) -> Need:
    entry = catalog.find(name)
    if is_prepared(name, root):
        summary = prepared.summary(place(name, root))
        cache = sum(summary.images.values()) * pixels
        note = f"reduced: {summary.reductions}" if summary.reductions else ""
        return Need(entry, cache, prepared=summary.folder, note=note)
    missing = [file for file, paths in _located(name, files) if not paths]
    parts = [files / name / f"{file.name}.part" for file in missing]
    begun = sum(part.stat().st_size for part in parts if part.exists())
    download = max(sum(file.bytes for file in missing) - begun, 0)
    count = round(entry.total * options.fraction)
    result = round(entry.prepared_bytes * options.fraction)
    if options.max_side:
        small = _SMALL_IMAGE * max(1, (options.max_side / 256) ** 2)
        result = min(result, round(count * small))
    building = (count / _IMAGES + entry.download_bytes / _BYTES) / (os.cpu_count() or 1)
    notes = [entry.note.removesuffix(".")] if entry.note and missing else []
    if older := prepared.find(name, root):
        notes.append(f"{older[-1].folder} is of another version of its builder")
    return Need(
        entry=entry,
        cache=count * pixels,
        download=download,
        result=result,
        seconds=download / _NETWORK + building,
        note="; ".join(notes),
    )


def _lines(need: Need, shape: str) -> Iterator[str]:
    terms, takes = need.entry.terms, f"prepared in {need.prepared}"
    if not need.prepared:
        time = tqdm.format_interval(need.seconds)
        download, result = _size(need.download), _size(need.result)
        takes = f"download {download}, prepared {result}, while building {result} more"
        takes += f", about {time}"
    yield f"{need.entry.name}: {takes}, cache {_size(need.cache)} at {shape}"
    if need.note:
        yield f"  {need.note}"
    yield f"  licence: {terms.licence or 'unknown'}"
    yield f"  terms: {terms.terms or f'unknown, see {terms.homepage}'}"


def _size(count: float) -> str:
    return tqdm.format_sizeof(count, "B")


def _existing(folder: Path) -> Path:
    """Finds the folder, or the nearest above it that there is."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def show(names: Sequence[str], root: Path, size: int, channels: int) -> Plan:
    """Prints and returns the `plan` of the data sets that are not prepared yet."""
    missing = [name for name in names if not is_prepared(name, root)]
    needs = plan(missing, root, size=size, channels=channels)
    if missing:
        print("to prepare first:", *needs.lines, sep="\n", flush=True)
    return needs


def obtain(needs: Plan, root: Path, *, agreed: bool) -> None:
    """Fetches and prepares the data sets of a plan, once the user has `agreed`.

    Raises:
      ValueError: not agreed to, no room, or a data set that cannot be had; those that
        were prepared before it stay.
    """
    if not needs.needs:
        return
    if needs.impossible:
        raise ValueError(f"not enough room: {needs.shortage}; nothing was begun")
    how = "pass --yes to agree to the terms above and go on"
    if not agreed and not sys.stdin.isatty():
        raise ValueError(f"data sets have to be prepared first: {how}")
    question = "prepare them, under these terms? [y/N] "
    if not agreed and input(question).strip().lower() not in ("y", "yes"):
        raise ValueError(f"nothing was prepared; {how}")
    for need in needs.needs:
        folder = prepare(need.entry.name, root)
        print(f"{need.entry.name}: ready in {folder}", flush=True)
