"""Plans what preparing data sets takes, shows it with their terms, and does it."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from metainit.data.builders import catalog, prepare, prepared
from metainit.data.builders.base import located
from metainit.data.builders.prepared import Summary


class Need(NamedTuple):
    """What one data set takes in bytes; all numbers but `download` are estimates."""

    entry: catalog.Entry
    cache: int  # of decoded images
    prepared: Summary | None = None  # if it is prepared, nothing below is needed
    download: int = 0  # still to be fetched
    result: int = 0  # once prepared; building takes as much again


class Plan(NamedTuple):
    """What several data sets take that are built one after the other."""

    needs: Sequence[Need]
    lines: Sequence[str]  # tell all of it, with the terms
    shortage: str  # says that there is no room for what will stay; or ""


def make(
    names: Sequence[str],
    root: Path,
    manual_dir: Path | None = None,
    size: int = 84,
    channels: int = 3,
) -> Plan:
    """Plans to prepare data sets of the catalog and to use their images at a size."""
    files, pixels = manual_dir or root / "downloads", size * size * channels
    needs = [_need(name, root, files, pixels) for name in names]
    data, downloads = prepare.existing(root), prepare.existing(files)
    fetched = sum(need.download for need in needs)
    lasting = sum(need.result + need.cache for need in needs)
    if os.stat(data).st_dev == os.stat(downloads).st_dev:
        lasting += fetched
    shortage = ""
    for folder, needed in ((downloads, fetched), (data, lasting)):
        free = shutil.disk_usage(folder).free
        if needed > free:
            shortage = (
                f"not enough room: {_size(needed)} are needed on the disk of {folder}, "
                f"{_size(free)} are free; choose another --data_dir"
            )
    building = max((need.result for need in needs), default=0)
    lines = [
        *chain(*(_lines(need, f"{size}x{size}x{channels}") for need in needs)),
        f"together about {_size(lasting)}, while building {_size(building)} more; "
        f"{_size(shutil.disk_usage(data).free)} are free",
    ]
    return Plan(needs, [*lines, *filter(None, [shortage])], shortage)


def _need(name: str, root: Path, files: Path, pixels: int) -> Need:
    entry = catalog.find(name)
    if prepared.is_prepared(name, root):
        there = prepared.summary(prepared.place(name, root))
        return Need(entry, sum(there.images.values()) * pixels, there)
    missing = [file for file, paths in located(name, files) if not paths]
    parts = [files / name / f"{file.name}.part" for file in missing]
    begun = sum(part.stat().st_size for part in parts if part.exists())
    return Need(
        entry,
        cache=entry.total * pixels,
        download=max(sum(file.bytes for file in missing) - begun, 0),
        result=entry.prepared_bytes,
    )


def _lines(need: Need, shape: str) -> Iterator[str]:
    terms, result = need.entry.terms, _size(need.result)
    takes = f"download {_size(need.download)}, prepared {result}"
    if need.prepared:
        takes = f"prepared in {need.prepared.folder}{need.prepared.reductions}"
    yield f"{need.entry.name}: {takes}, cache {_size(need.cache)} at {shape}"
    if need.download and need.entry.note:
        yield f"  {need.entry.note}"
    yield f"  licence: {terms.licence or 'unknown'}"
    yield f"  terms: {terms.terms or f'unknown, see {terms.homepage}'}"


def _size(count: float) -> str:
    return tqdm.format_sizeof(count, "B")


def show(names: Sequence[str], root: Path, size: int, channels: int) -> Plan:
    """Makes the plan of the data sets that are not prepared yet, and prints it."""
    missing = [name for name in names if not prepared.is_prepared(name, root)]
    plan = make(missing, root, size=size, channels=channels)
    if missing:
        print("to prepare first:", *plan.lines, sep="\n", flush=True)
    return plan


def carry_out(plan: Plan, root: Path, *, agreed: bool) -> None:
    """Fetches and prepares the data sets of a plan, if the user agrees.

    Raises:
      ValueError: the user did not agree, there is no room, or a data set could not be
        prepared. Those that were prepared before it stay.
    """
    if not plan.needs:
        return
    if plan.shortage:
        raise ValueError(f"{plan.shortage}; nothing was begun")
    how = "pass --yes to agree to the terms above and go on"
    if not agreed and not sys.stdin.isatty():
        raise ValueError(f"data sets have to be prepared first: {how}")
    question = "prepare them, under these terms? [y/N] "
    if not agreed and input(question).strip().lower() not in ("y", "yes"):
        raise ValueError(f"nothing was prepared; {how}")
    for need in plan.needs:
        folder = prepare.prepare(need.entry.name, root)
        print(f"{need.entry.name}: ready in {folder}", flush=True)
