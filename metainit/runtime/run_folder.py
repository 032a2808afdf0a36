"""A working folder belongs to one config: the first run claims it."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from metainit.runtime import atomic

FILE = "config.json"  # of a run's folder
_ABSENT = "(absent)"


def claim(
    workdir: str | os.PathLike[str],
    config: Mapping[str, Any],
    may_change: Sequence[str] = (),
    only_up: Sequence[str] = (),
    flag: str = "--workdir",
    write: bool = True,
) -> None:
    """Ties `workdir` to `config`; without `write`, only looks whether it could.

    A new or empty folder may be had, and so may one whose `config.json` is equal but
    for the dotted names in `may_change` (which cover what lies under them) and for
    numbers in `only_up` that grow.

    Raises:
      ValueError: the folder holds files but no `config.json`, its `config.json`
        cannot be read, or a difference is not allowed (every one is listed).
    """
    workdir, field = pathlib.Path(workdir), flag.lstrip("-")
    path, text = workdir / FILE, json.dumps(config, indent=2, sort_keys=True) + "\n"
    refused = []
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"{field}: {workdir} is a file; give a folder")
    if path.exists():
        try:
            stored, given = json.loads(path.read_text()), json.loads(text)
            refused = differences(stored, given, may_change, only_up)
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{field}: {path} cannot be read ({error}); give another {flag}"
            ) from None
    # Hidden files are no run's: a desktop's, or a write that was killed.
    elif workdir.exists() and any(p.name[0] != "." for p in workdir.iterdir()):
        raise ValueError(
            f"{field}: {workdir} holds files but no config.json, so it is not the "
            f"folder of a run; give an empty or new folder as {flag}"
        )
    if refused:
        raise ValueError(
            f"{field}: {workdir} holds a run of another config, stored -> given: "
            f"{'; '.join(refused)}. Give another {flag}, or the stored values to go on"
        )
    if write:
        workdir.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, text)


def differences(
    stored: Mapping[str, Any],
    given: Mapping[str, Any],
    may_change: Sequence[str] = (),
    only_up: Sequence[str] = (),
) -> list[str]:
    """Lists forbidden differences of nested dicts: "name: stored -> given" each."""
    before, after = flat(stored), flat(given)
    refused = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        may_differ = any(f"{name}.".startswith(f"{x}.") for x in may_change)
        grows = name in only_up and _ABSENT not in (old, new) and new > old
        if old == new or may_differ or grows:
            continue
        shown = (x if x is _ABSENT else json.dumps(x) for x in (old, new))
        hint = " (may only grow)" if name in only_up else ""
        refused.append(f"{name}: {' -> '.join(shown)}{hint}")
    return refused


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Lists values of a nested dict by dotted name."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        nested = isinstance(value, dict) and value
        values |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return values
