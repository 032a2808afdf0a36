"""A working folder belongs to one config: the first run claims it."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from metainit import atomic

_ABSENT = "(absent)"


def claim(
    workdir: str | os.PathLike[str],
    config: Mapping[str, Any],
    may_change: Sequence[str] = (),
    only_up: Sequence[str] = (),
    flag: str = "--workdir",
) -> None:
    """Ties `workdir` to `config`, or checks that they are tied already.

    The first use writes `config.json`. A later use compares: equal configs pass,
    allowed differences are stored, and any other difference is refused.

    Args:
      workdir: folder of the run; made when absent.
      config: nested dict of JSON values.
      may_change: dotted names that may differ; a name covers what lies under it.
      only_up: dotted names of numbers that may grow, but not shrink.
      flag: of the command line that gives the folder, for the messages.

    Raises:
      ValueError: the folder holds files but no `config.json`, its `config.json`
        cannot be read, or a difference is not allowed (every one is listed).
    """
    workdir, field = pathlib.Path(workdir), flag.lstrip("-")
    path = workdir / "config.json"
    given = json.loads(json.dumps(config))  # tuples become lists, as when stored
    if not path.exists():
        if workdir.exists() and not workdir.is_dir():
            raise ValueError(f"{field}: {workdir} is a file; give a folder")
        # Hidden files are no run's: a desktop's, or a write that was killed.
        if workdir.exists() and any(p.name[0] != "." for p in workdir.iterdir()):
            raise ValueError(
                f"{field}: {workdir} holds files but no config.json, so it is not "
                f"the folder of a run; give an empty or new folder as {flag}"
            )
        workdir.mkdir(parents=True, exist_ok=True)
        _store(path, given)
        return
    try:
        stored = json.loads(path.read_text())
        before, after = flat(stored), flat(given)
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{field}: {path} cannot be read ({error}); give another {flag}"
        ) from None
    refused = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        if old == new or _covered(name, may_change):
            continue
        if name in only_up and _is_number(old) and _is_number(new) and new > old:
            continue
        hint = " (may only grow)" if name in only_up else ""
        refused.append(f"{name}: {_show(old)} -> {_show(new)}{hint}")
    if refused:
        raise ValueError(
            f"{field}: {workdir} holds a run of another config, stored -> given: "
            f"{'; '.join(refused)}. Give another {flag}, or the stored values "
            "to go on with that run"
        )
    if stored != given:
        _store(path, given)


def _store(path: pathlib.Path, config: Any) -> None:
    atomic.write_text(path, json.dumps(config, indent=2, sort_keys=True) + "\n")


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values of a nested dict by dotted name."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            found.update(flat(value, f"{prefix}{name}."))
        else:
            found[prefix + name] = value
    return found


def _covered(name: str, allowed: Sequence[str]) -> bool:
    return any(name == a or name.startswith(a + ".") for a in allowed)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _show(value: Any) -> str:
    return value if value is _ABSENT else json.dumps(value)
