"""What preparing data sets takes, before anything is fetched or written."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from metainit.data.builders import catalog, prepare, ready, words
from metainit.data.builders.base import Options

# For times: assumed bytes a second of the network; measured orders of magnitude of
# images and of archive bytes a second that a core converts.
_NETWORK = 10e6
_IMAGES = 600
_BYTES = 20e6
# Of an image of 256 x 192 pixels, JPEG of quality 95.
_SMALL_IMAGE = 25_000


class Row(NamedTuple):
    """What one data set takes; all sizes in bytes, all but `download` about.

    Attributes:
      name: of the data set.
      prepared: its folder where that is done, else None; then nothing below but
        `cache` is needed.
      download: still to be fetched.
      result: on disk once prepared.
      temporary: on the same disk while it is built, besides: the spooled images.
      cache: of decoded images.
      seconds: download at 10 MB/s, and building.
      licence: None for unknown.
      terms: None for unknown.
      note: what else there is to know, or "".
    """

    name: str
    prepared: Path | None
    download: int
    result: int
    temporary: int
    cache: int
    seconds: float
    licence: str | None
    terms: str | None
    note: str


class Plan(NamedTuple):
    """What several data sets take, one built after the other.

    Attributes:
      rows: one each.
      free: bytes on the disk of the data folder.
      needed: bytes there, temporary ones included.
      shortage: "" or what does not fit where.
      impossible: whether downloads and results alone do not fit.
      cached: [H, W, C] of the images that caches are of.
    """

    rows: Sequence[Row]
    free: int
    needed: int
    shortage: str
    impossible: bool
    cached: tuple[int, int, int]


def plan(
    names: Sequence[str],
    root: Path,
    manual_dir: Path | None = None,
    options: Options = prepare.WHOLE,
    size: int = 84,
    channels: int = 3,
) -> Plan:
    """What it takes to prepare and use data sets of the catalog.

    Args:
      names: of the catalog.
      root, manual_dir, options: see `prepare.prepare`.
      size, channels: of the cached images.

    Raises:
      ValueError: a name that is not in the catalog.
    """
    rows = [_row(name, root, manual_dir, options, size, channels) for name in names]
    lasting = sum(row.result + row.cache for row in rows)
    passing = max((row.temporary for row in rows), default=0)
    download = sum(row.download for row in rows)
    data, downloads = _existing(root), _existing(manual_dir or root)
    if os.stat(data).st_dev == os.stat(downloads).st_dev:
        demands = [(data, lasting + download, passing)]
    else:
        demands = [(data, lasting, passing), (downloads, download, 0)]
    short = [
        f"{words.size(keeps + passes)} are needed on the disk of {folder}, "
        f"{words.size(passes)} of it only while building, {words.size(free)} are free"
        for folder, keeps, passes in demands
        if keeps + passes > (free := shutil.disk_usage(folder).free)
    ]
    return Plan(
        rows,
        shutil.disk_usage(data).free,
        demands[0][1] + passing,
        " and ".join(short),
        any(keeps > shutil.disk_usage(folder).free for folder, keeps, _ in demands),
        (size, size, channels),
    )


def table(made: Plan) -> list[str]:
    """The plan as lines to print, terms included."""
    lines = []
    for row in made.rows:
        parts = [f"prepared in {row.prepared}"]
        if not row.prepared:
            parts = [
                f"download {words.size(row.download)}",
                f"prepared {words.size(row.result)}",
                f"while building {words.size(row.temporary)} more",
                f"about {words.time(row.seconds)}",
            ]
        shape = "x".join(map(str, made.cached))
        cache = f"cache {words.size(row.cache)} at {shape}"
        lines.append(f"{row.name}: {', '.join([*parts, cache])}")
        if row.note:
            lines.append(f"  {row.note}")
        lines.append(f"  licence: {row.licence or 'unknown'}")
        entry = catalog.find(row.name)
        lines.append(f"  terms: {row.terms or f'unknown, see {entry.homepage}'}")
    seconds = sum(row.seconds for row in made.rows)
    lines.append(
        f"together about {words.size(made.needed)}, {words.time(seconds)} "
        f"(downloads at {_NETWORK / 1e6:.0f} MB/s); {words.size(made.free)} are free"
    )
    if made.shortage:
        lines.append(
            f"not enough room: {made.shortage}; reduce with --max_side or --fraction, "
            "or choose another --data_dir"
        )
    return lines


def _row(
    name: str,
    root: Path,
    manual_dir: Path | None,
    options: Options,
    size: int,
    channels: int,
) -> Row:
    entry = catalog.find(name)
    if prepare.is_prepared(name, root):
        done = ready.read(prepare.place(name, root))
        reduced = ready.reductions(done.settings)
        return Row(
            name=name,
            prepared=done.folder,
            download=0,
            result=0,
            temporary=0,
            cache=sum(done.images.values()) * size * size * channels,
            seconds=0.0,
            licence=entry.licence,
            terms=entry.terms,
            note=f"reduced: {reduced}" if reduced else "",
        )
    folder = prepare.manual(root, manual_dir)
    found = prepare.there(name, folder)
    missing = [file for file in entry.files if not found[file.name]]
    download = sum(file.bytes - _part(folder / name / file.name) for file in missing)
    images = round(entry.total * options.fraction)
    result = round(entry.prepared_bytes * options.fraction)
    if options.max_side:
        small = _SMALL_IMAGE * max(1, (options.max_side / 256) ** 2)
        result = min(result, round(images * small))
    cores = os.cpu_count() or 1
    building = (images / _IMAGES + entry.download_bytes / _BYTES) / cores
    notes = [entry.note.removesuffix(".")] if entry.note and missing else []
    if older := ready.find(name, root):
        notes.append(f"{older[-1].folder} is of another version of its builder")
    return Row(
        name=name,
        prepared=None,
        download=max(download, 0),
        result=result,
        temporary=result,
        cache=images * size * size * channels,
        seconds=download / _NETWORK + building,
        licence=entry.licence,
        terms=entry.terms,
        note="; ".join(notes),
    )


def _part(path: Path) -> int:
    """Bytes of a download that was left."""
    part = path.with_name(path.name + ".part")
    return part.stat().st_size if part.exists() else 0


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that there is."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder
