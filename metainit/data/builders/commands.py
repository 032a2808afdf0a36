"""Lists, plans, prepares and checks the data sets.

metainit datasets list
metainit datasets plan NAME... | CONFIG.py
metainit datasets prepare NAME... | all
metainit datasets verify NAME
metainit datasets show NAME [--out FILE.png]
metainit datasets check-links [NAME...]
"""

import argparse
import importlib.util
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metainit.data import cache
from metainit.data.builders import catalog, links, ready, words

# What needs TFDS is imported where it is used: listing stays quick.


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    0: done; 1: checked, and something is wrong; 2: a mistake, told in one line.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same line again goes on with the downloads")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metainit datasets", description="Data sets of metainit."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    places = argparse.ArgumentParser(add_help=False)
    places.add_argument(
        "--data_dir",
        default="",
        help="root of everything; default $METAINIT_DATA_DIR or ~/.cache/metainit",
    )
    manual = argparse.ArgumentParser(add_help=False)
    manual.add_argument(
        "--manual_dir",
        type=_path,
        help="holds NAME/FILE, downloaded or your own; default DATA_DIR/downloads",
    )
    reductions = argparse.ArgumentParser(add_help=False)
    reductions.add_argument(
        "--max_side",
        type=_side,
        default=0,
        metavar="PIXELS",
        help="reduce images with a longer side, e.g. 256",
    )
    reductions.add_argument(
        "--fraction",
        type=_fraction,
        default=1.0,
        metavar="SHARE",
        help="keep so many of the images, e.g. 0.1",
    )

    def command(
        name: str, run: Any, about: str, *parents: argparse.ArgumentParser
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, parents=[places, *parents])
        made.set_defaults(run=run)
        return made

    command("list", _list, "what there is, and what of it is prepared")
    plan = command(
        "plan", _plan, "what preparing takes, and the terms", manual, reductions
    )
    plan.add_argument("names", nargs="+", metavar="NAME|all|CONFIG.py")
    prepare = command("prepare", _prepare, "download and prepare", manual, reductions)
    prepare.add_argument("names", nargs="+", metavar="NAME|all")
    prepare.add_argument(
        "--checksums",
        type=_path,
        metavar="FILE",
        help="lines of sha256 and file name, in place of the catalog's",
    )
    prepare.add_argument(
        "--skip_unreadable",
        action="store_true",
        help="leave out and count images that do not decode",
    )
    prepare.add_argument(
        "--delete_archives",
        action="store_true",
        help="delete a data set's archives once it is prepared",
    )
    verify = command("verify", _verify, "count and decode what is prepared")
    verify.add_argument("name", metavar="NAME")
    show = command("show", _show, "write a picture with some images")
    show.add_argument("name", metavar="NAME")
    show.add_argument("--out", type=_path, metavar="FILE.png", help="default NAME.png")
    check = command("check-links", _check_links, "whether the addresses still work")
    check.add_argument("names", nargs="*", metavar="NAME")
    return parser


def _list(arguments: argparse.Namespace) -> int:
    root = cache.root(arguments.data_dir)
    rows = [("name", "role", "classes", "images", "download", "prepared", "licence")]
    for entry in catalog.CATALOG.values():
        found = ready.find(entry.name, root)
        state = "no"
        if found:
            images = sum(found[-1].images.values())
            state = f"{images:,} images, {words.size(found[-1].bytes)}"
            if reduced := ready.reductions(found[-1].settings):
                state += f" ({reduced})"
        rows.append(
            (
                entry.name,
                entry.role,
                str(entry.classes),
                f"{entry.total:,}",
                words.size(entry.download_bytes),
                state,
                entry.licence or "unknown",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    print(f"data folder: {root}")
    return 0


def _plan(arguments: argparse.Namespace) -> int:
    from metainit.data import loading
    from metainit.data.builders import plan

    root = cache.root(arguments.data_dir)
    size, channels, names = 84, 3, arguments.names
    others: Mapping[str, int] = {}
    if len(names) == 1 and names[0].partition(":")[0].endswith(".py"):
        data = _config(names[0]).data
        names = list(loading.of_catalog(data))
        size, channels = data.size, data.channels
        data.data_dir = arguments.data_dir or data.data_dir
        others = loading.downloads(data)
        root = cache.root(data.data_dir)
    made = plan.plan(
        _all(names), root, arguments.manual_dir, _options(arguments), size, channels
    )
    for url, megabytes in others.items():
        print(f"download {url}, {megabytes} MB")
    if made.rows:
        print("\n".join(plan.table(made)))
    elif not others:
        print("nothing to download or to prepare")
    return 0


def _prepare(arguments: argparse.Namespace) -> int:
    from metainit.data.builders import plan, prepare

    root, options = cache.root(arguments.data_dir), _options(arguments)
    checksums = (
        prepare.read_checksums(arguments.checksums) if arguments.checksums else {}
    )
    names = _all(arguments.names)
    made = plan.plan(names, root, arguments.manual_dir, options)
    print("\n".join(plan.table(made)), flush=True)
    if made.impossible:
        raise ValueError(f"not enough room: {made.shortage}; nothing was begun")
    failed = []
    for name in names:
        try:
            folder = prepare.prepare(
                name,
                root,
                arguments.manual_dir,
                options,
                checksums,
                arguments.delete_archives,
                lambda line: print(line, flush=True),
            )
            print(f"{name}: ready in {folder}, as data.name=tfds:{name}", flush=True)
        except ValueError as error:
            # The others are not to wait for a dead link.
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
            failed.append(name)
    if failed and len(names) > 1:
        print(f"error: not prepared: {', '.join(failed)}", file=sys.stderr)
    return 2 if failed else 0


def _verify(arguments: argparse.Namespace) -> int:
    from metainit.data.builders import verify

    entry = catalog.find(arguments.name)
    done = _ready(arguments)
    found = verify.verify(entry, done.folder)
    least, most = found.per_class
    counts = ", ".join(f"{split} {count:,}" for split, count in found.images.items())
    print(f"{entry.name} in {done.folder}")
    print(f"images: {counts}")
    print(f"classes: {found.classes}, {least} to {most} images each")
    print(f"decoded: {found.decoded} of them")
    for note in found.notes:
        print(f"note: {note}")
    for problem in found.problems:
        print(f"wrong: {problem}")
    print("not as in the catalog" if found.problems else "as in the catalog")
    return 1 if found.problems else 0


def _show(arguments: argparse.Namespace) -> int:
    from metainit.data.builders import contact_sheet

    out = arguments.out or Path(f"{arguments.name}.png")
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out {out}: the sheet is a PNG; name it FILE.png")
    sheet = contact_sheet.contact_sheet(_ready(arguments).folder)
    sheet.save(out)
    print(f"wrote {out}, {sheet.width} x {sheet.height} pixels")
    return 0


def _check_links(arguments: argparse.Namespace) -> int:
    entries = [catalog.find(name) for name in arguments.names or catalog.CATALOG]
    bad = []
    for entry in entries:
        for link in links.check(entry):
            state = link.problem or f"ok, {link.note}"
            print(f"{entry.name} {link.file}: {link.url} {state}", flush=True)
            if link.problem:
                bad.append(link.url)
    if bad:
        print(f"{len(bad)} addresses do not work: {' '.join(bad)}")
    return 1 if bad else 0


def _ready(arguments: argparse.Namespace) -> ready.Ready:
    """The newest preparation of the named data set."""
    catalog.find(arguments.name)
    root = cache.root(arguments.data_dir)
    found = ready.find(arguments.name, root)
    if not found:
        raise ValueError(
            f"{arguments.name} is not prepared in {root}; run python -m "
            f"metainit datasets prepare {arguments.name}, or name another --data_dir"
        )
    return found[-1]


def _options(arguments: argparse.Namespace) -> Any:
    from metainit.data.builders.base import Options

    skip = getattr(arguments, "skip_unreadable", False)
    return Options(arguments.max_side, arguments.fraction, skip)


def _all(names: Sequence[str]) -> list[str]:
    """The data sets meant; "all" is all of them."""
    chosen = list(catalog.CATALOG) if "all" in names else list(dict.fromkeys(names))
    return [catalog.find(name).name for name in chosen]


def _config(given: str) -> Any:
    """The configuration of "FILE.py" or "FILE.py:variant"."""
    path, _, variant = given.partition(":")
    if not Path(path).is_file():
        raise ValueError(f"there is no config {path}")
    spec = importlib.util.spec_from_file_location("config", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant) if variant else module.get_config()


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _side(text: str) -> int:
    side = int(text)
    if side < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return side


def _fraction(text: str) -> float:
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return share
