"""Writes docs/reference.md: every command with its options, every field of a config.

    python docs/reference.py

A test compares the page with what this makes now.
"""

import argparse
import ast
import dataclasses
import importlib
import io
import pathlib
import tokenize
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from metainit.__main__ import COMMANDS, HELP
from metainit.config import fields

PAGE = pathlib.Path(__file__).with_name("reference.md")
KINDS = {
    "Meta-learning": fields.Experiment,
    "Comparing initialisations (`metainit compare`, configs/transfer.py)": (
        fields.TransferExperiment
    ),
    "Searches (`metainit tune`, configs/tune.py)": fields.Search,
    "A plain classifier (configs/mlp.py)": fields.Supervised,
}
PARSERS = {"list_all": "list_parser", "show_cache": "cache_parser"}


def page() -> str:
    """The text of docs/reference.md."""
    return "\n".join(
        [
            "# Reference",
            "",
            "Written by `python docs/reference.py`; a test keeps it true. What stands",
            "in a report and in a run's folder is in [report.md](report.md).",
            "",
            "## Commands",
            "",
            *("```text", HELP, "```", ""),
            *(line for name in COMMANDS for line in _command(name)),
            "## Fields",
            "",
            "`metainit train NAME FIELD=VALUE` changes them; `--config.FIELD=VALUE` is",
            "the same. A tuple of one value is `(VALUE,)`.",
            "",
            *(line for title, kind in KINDS.items() for line in _kind(title, kind)),
        ]
    )


def parser_of(name: str) -> argparse.ArgumentParser:
    """The parser of a command."""
    module, _, function = COMMANDS[name][0].partition(":")
    default = "parser" if function == "main" else f"{function}_parser"
    make = PARSERS.get(function, default)
    return getattr(importlib.import_module(module), make)()


def _command(name: str) -> Iterator[str]:
    parser = parser_of(name)
    example = (parser.epilog or "").partition("\n")[2].strip()
    about = (parser.description or "").replace("\n", " ")
    yield from (f"### metainit {name}", "", about, "", f"    {example}", "")
    subparsers = [x for x in parser._actions if hasattr(x, "_choices_actions")]
    if subparsers:
        for about in subparsers[0]._choices_actions:
            inner = subparsers[0].choices[about.dest]
            help_of = about.help
            yield from (f"`metainit {name} {about.dest}`: {help_of}.", "")
            yield from _options(inner)
    else:
        yield from _options(parser)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from ("| option | meaning |", "|---|---|")
    for action in parser._actions:
        if action.dest == "help" or action.help == argparse.SUPPRESS:
            continue
        shown = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
        if action.choices and not action.metavar:
            shown = ", ".join(map(str, action.choices))
        names = " ".join([", ".join(action.option_strings), str(shown)]).strip()
        yield f"| {_cell(f'`{names}`')} | {_cell(action.help or '')} |"
    yield ""


def _kind(title: str, kind: type) -> Iterator[str]:
    yield from (f"### {title}", "")
    yield from _rows(kind, "")


def _rows(of: Any, prefix: str) -> Iterator[str]:
    """A table of a section's own fields, and then those of the sections in it."""
    types = typing.get_type_hints(of, include_extras=True)
    about, sections, rows = comments(), [], []
    for field in dataclasses.fields(of):
        kind = types[field.name]
        if dataclasses.is_dataclass(kind):
            sections.append((kind, f"{prefix}{field.name}."))
            continue
        cells = (
            f"`{prefix}{field.name}`",
            f"`{field.default!r}`",
            what(kind),
            about.get((of.__name__, field.name), ""),
        )
        rows.append(f"| {' | '.join(map(_cell, cells))} |")
    if rows:
        yield from ("| field | default | values | meaning |", "|---|---|---|---|")
        yield from (*rows, "")
    for kind, name in sections:
        # A search's experiment has the fields of the first table.
        if name != "experiment.":
            told = " ".join((kind.__doc__ or "").split())
            yield from (f"**`{name}`** {told}", "")
            yield from _rows(kind, name)


def what(kind: Any) -> str:
    """In words, what values a field takes."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        rules = [rule.words for rule in arguments[1:]]
        return f"{what(arguments[0])}: {'; '.join(rules)}"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"a tuple of {what(arguments[0])}"
    return {int: "whole number", float: "number", str: "text", bool: "True or False"}[
        kind
    ]


def comments() -> dict[tuple[str, str], str]:
    """What the source says of each field, above it or behind it, by class and name."""
    source = pathlib.Path(fields.__file__).read_text()
    alone, behind = {}, {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            first = not token.line[: token.start[1]].strip()
            place = alone if first else behind
            place[token.start[0]] = token.string.lstrip("# ")
    found = {}
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.ClassDef):
            continue
        for item in node.body:
            if not isinstance(item, ast.AnnAssign):
                continue
            above, line = [], item.lineno - 1
            while line in alone:
                above.insert(0, alone[line])
                line -= 1
            own = range(item.lineno, (item.end_lineno or 0) + 1)
            after = [behind[number] for number in own if number in behind]
            name = item.target.id  # type: ignore[union-attr]
            found[node.name, name] = " ".join(above + after)
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
