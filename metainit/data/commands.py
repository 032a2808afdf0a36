"""The command `metainit datasets` lists, plans, prepares and checks data sets."""

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from metainit.data import cache, images, loading
from metainit.data.builders import catalog, prepared
from metainit.runtime.arguments import Parser
from metainit.runtime.atomic import DamagedError

# Modules that need TFDS are imported where they are used, so that listing is quick.

_SAMPLE = 200  # images that `verify` decodes


def main(argv: Sequence[str], data_of: Callable[[str], Any]) -> int:
    """Runs the command line.

    Args:
      argv: its words.
      data_of: gives the `data` section of a "CONFIG.py" or "CONFIG.py:VARIANT".

    Returns:
      The exit status: 0 if all was done, 1 if a check found something wrong, and 2 if
      not all data sets are prepared.

    Raises:
      ValueError, OSError: a mistake of the user's.
    """
    arguments = parser().parse_args(argv)
    arguments.data_of = data_of
    return arguments.run(arguments)


def _tell(error: object) -> None:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)


def parser() -> Parser:
    """The options of `metainit datasets`."""
    options = Parser(
        "metainit datasets",
        "Lists, plans, prepares and checks data sets.",
        "metainit datasets prepare cifar100",
    )
    commands = options.add_subparsers(required=True, metavar="COMMAND")
    root = "root of everything; default $METAINIT_DATA_DIR or ~/.cache/metainit"

    def command(name: str, run: Any, about: str) -> Any:
        add = commands.add_parser(name, help=about)
        add.set_defaults(run=run)
        add.add_argument("--data_dir", default="", help=root)
        return add.add_argument

    command("list", _list, "what there is, and what of it is prepared")
    plan = command("plan", _plan, "what preparing takes, and the terms")
    names = "of data sets, or the file of a config that asks for some"
    plan("names", nargs="+", metavar="NAME|all|CONFIG.py", help=names)
    prepare = command("prepare", _prepare, "download and prepare")
    prepare("names", nargs="+", metavar="NAME|all", help="of data sets")
    manual = "holds NAME/FILE, downloaded or your own; default DATA_DIR/downloads"
    for add in (plan, prepare):
        add("--manual_dir", type=_path, help=manual)
    sums = "lines of sha256 and file name, in place of the catalog's"
    prepare("--checksums", type=_path, metavar="FILE", help=sums)
    skip = "leave out and count images that do not decode"
    prepare("--skip_unreadable", action="store_true", help=skip)
    delete = "delete a data set's archives once it is prepared"
    prepare("--delete_archives", action="store_true", help=delete)
    verify = command("verify", _verify, "count and decode what is prepared")
    verify("name", metavar="NAME", help="of a data set")
    return options


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _list(arguments: argparse.Namespace) -> int:
    root = cache.root(arguments.data_dir)
    form = "{:<14} {:<11} {:>8} {:>9} {:>9}  {:<30} {}"
    head = "name", "role", "classes", "images", "download", "prepared", "licence"
    print(form.format(*head))
    for entry in catalog.CATALOG.values():
        state = "on first use" if entry.roles else "no"
        if not entry.roles and (newest := prepared.newest(entry.name, root)):
            size = tqdm.format_sizeof(newest.bytes, "B")
            count = sum(newest.images.values())
            state = f"{count:,} images, {size}{newest.reductions}"
        role, licence = entry.role or "own split", entry.terms.licence or "unknown"
        download = tqdm.format_sizeof(sum(file.bytes for file in entry.files), "B")
        counts = entry.classes, f"{entry.total:,}"
        print(form.format(entry.name, role, *counts, download, state, licence))
    print(f"data folder: {root}")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    from metainit.data.builders import plan

    size, channels, names = 84, 3, arguments.names
    data_dir, others = arguments.data_dir, {}
    if len(names) == 1 and names[0].partition(":")[0].endswith(".py"):
        data = arguments.data_of(names[0])
        data_dir = data_dir or data.data_dir
        names = loading.names_to_prepare(data)
        size, channels = data.size or 224, getattr(data, "channels", 3)
        others = loading.downloads(dataclasses.replace(data, data_dir=data_dir))
    root = cache.root(data_dir)
    planned = plan.make(_all(names), root, arguments.manual_dir, size, channels)
    for url, megabytes in others.items():
        print(f"download {url}, {megabytes} MB")
    if planned.needs:
        print("\n".join(planned.lines))
    elif not others:
        print("nothing to download or to prepare")
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from metainit.data.builders import plan, prepare

    root = cache.root(arguments.data_dir)
    sums = prepare.read_checksums(arguments.checksums) if arguments.checksums else {}
    names = _all(arguments.names)
    planned = plan.make(names, root, arguments.manual_dir)
    print("\n".join(planned.lines), flush=True)
    if planned.shortage:
        raise ValueError(f"{planned.shortage}; nothing was begun")
    failed = []
    for name in names:
        try:
            folder = prepare.prepare(
                name,
                root,
                manual_dir=arguments.manual_dir,
                skip_unreadable=arguments.skip_unreadable,
                checksums=sums,
                delete_archives=arguments.delete_archives,
            )
            print(f"{name}: ready in {folder}, as data.name=tfds:{name}", flush=True)
        except ValueError as error:
            # A dead link does not keep the other data sets.
            _tell(error)
            failed.append(name)
    if failed and len(names) > 1:
        _tell(f"not prepared: {', '.join(failed)}")
    return 2 if failed else 0


def _all(names: Sequence[str]) -> list[str]:
    chosen = catalog.to_prepare() if "all" in names else dict.fromkeys(names)
    return [catalog.find(name).name for name in chosen]


def _verify(arguments: argparse.Namespace) -> int:
    """Counts every image of every class and split, and decodes a sample."""
    entry, root = catalog.find(arguments.name), cache.root(arguments.data_dir)
    if not (summary := prepared.newest(entry.name, root)):
        how = f"run metainit datasets prepare {entry.name}, or name another --data_dir"
        raise ValueError(f"{entry.name} is not prepared in {root}; {how}")
    builder = prepared.opened(summary.folder)
    every = max(1, sum(summary.images.values()) // _SAMPLE)
    splits: Counter[str] = Counter()
    classes: Counter[int] = Counter()
    problems: list[str] = []
    decoded = 0
    for split, total in sorted(summary.images.items()):
        items = prepared.encoded(builder, [split])
        bar = tqdm(items, f"{entry.name}: counting {split}", total, disable=None)
        try:
            for number, item in enumerate(bar):
                if number % every == 0:
                    try:
                        images.decode(item, 32, 3)
                        decoded += 1
                    except images.Unreadable as error:
                        what = f"does not decode as an image ({error})"
                        problems.append(f"{item.name} {what}")
                splits[split] += 1
                classes[item.label] += 1
        except DamagedError as error:
            problems.append(str(error))
    counts = ", ".join(f"{split} {count:,}" for split, count in splits.items())
    print(f"{entry.name} in {summary.folder}{summary.reductions}")
    print(f"images: {counts}; {decoded} of them decoded")
    sizes = sorted(classes.values()) or [0]
    print(f"classes: {len(classes)}, {sizes[0]} to {sizes[-1]} images each")
    problems += _differences(entry, summary, splits, sizes)
    for problem in problems:
        print(f"wrong: {problem}")
    print("not as in the catalog" if problems else "as in the catalog")
    return 1 if problems else 0


def _differences(
    entry: catalog.Entry,
    summary: prepared.Summary,
    splits: Counter[str],
    sizes: Sequence[int],
) -> Iterator[str]:
    """Yields what differs from the catalog; `sizes` counts the images of each class."""
    left_out = sum(summary.settings.get(what, 0) for what in ("unreadable", "missing"))
    if (total := splits.total()) + left_out != entry.total:
        also = f" and {left_out:,} left out" if left_out else ""
        yield f"{total:,} images{also}, the catalog has {entry.total:,}"
    if len(sizes) != entry.classes:
        yield f"{len(sizes)} classes, the catalog has {entry.classes}"
    # SUN397 may be without its partitions, and then has other splits.
    known = entry.images if entry.images.keys() == splits.keys() else {}
    for split, expected in known.items():
        if not 0 <= expected - splits[split] <= left_out:
            yield f"{splits[split]:,} images in {split}, the catalog has {expected:,}"
    least, most = sizes[0], sizes[-1]
    low, high = entry.per_class or (least, most)
    if most > high or least < low - left_out:
        yield f"{least} to {most} images a class, the catalog has {low} to {high}"
