"""Writes docs/api.md: the pure layer, from its docstrings.

    python docs/api.py

A test compares the page with what this makes now.
"""

import inspect
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import metainit

PAGE = pathlib.Path(__file__).with_name("api.md")
SECTIONS = r"^(Attributes|Args|Returns|Raises|Example):\n"


def page() -> str:
    """The text of docs/api.md."""
    names = [x for x in metainit.__all__ if not inspect.ismodule(_of(x))]
    names += ["parallel.over", "step_sizes.init", "step_sizes.learned"]
    names += ["step_sizes.fixed", "step_sizes.sgd", "step_sizes.Sgd"]
    return "\n".join(
        [
            "# The pure layer, name by name",
            "",
            "Written by `python docs/api.py` from docstrings; a test keeps it true.",
            "[pure-layer.md](pure-layer.md) has an example.",
            "",
            *(line for name in names for line in _entry(name)),
        ]
    )


def _of(name: str) -> Any:
    value: Any = metainit
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _entry(name: str) -> Iterator[str]:
    value = _of(name)
    fields = getattr(value, "_fields", None)
    shown = f"({', '.join(fields)})" if fields else _signature(value)
    yield from (f"## metainit.{name}", "", f"`metainit.{name}{shown}`", "")
    about, *parts = re.split(SECTIONS, inspect.getdoc(value) or "", flags=re.M)
    told, *code = re.split(r"^    (?=\S)", about.strip(), maxsplit=1, flags=re.M)
    yield from (told.strip(), "")
    yield from (line for text in code for line in _python(text))
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        if title == "Example":
            yield from ("Example:", "", *_python(text))
        elif title == "Returns":
            yield from ("Returns:", "", *inspect.cleandoc(text).strip().splitlines())
        else:
            yield from (f"| {title.lower()} | |", "|---|---|")
            for row in re.split(r"^  (?=\S)", text.rstrip(), flags=re.M)[1:]:
                key, _, meaning = (
                    " ".join(row.split()).replace("|", "\\|").partition(": ")
                )
                yield f"| {', '.join(f'`{x}`' for x in key.split(', '))} | {meaning} |"
        yield ""


def _python(text: str) -> tuple[str, ...]:
    return "```python", inspect.cleandoc(text).strip(), "```", ""


def _signature(function: Any) -> str:
    """What a function takes, without its types."""
    signature = inspect.signature(function)
    plain = [x.replace(annotation=x.empty) for x in signature.parameters.values()]
    return str(inspect.Signature(plain))


if __name__ == "__main__":
    PAGE.write_text(page())
