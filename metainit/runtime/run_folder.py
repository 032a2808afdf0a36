"""A working folder belongs to one config: the first run claims it."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from metainit.runtime import atomic

_ABSENT = "(absent)"


def claim(
    workdir: str | os.PathLike[str],
    config: Mapping[str, Any],
    may_change: Sequence[str] = (),
    only_up: Sequence[str] = (),
    flag: str = "--workdir",
) -> None:
    """Ties `workdir` to `config`: `check`, then `config.json` is written."""
    check(workdir, config, may_change, only_up, flag)
    pathlib.Path(workdir).mkdir(parents=True, exist_ok=True)
    _store(_file(workdir), _as_stored(config))


def check(
    workdir: str | os.PathLike[str],
    config: Mapping[str, Any],
    may_change: Sequence[str] = (),
    only_up: Sequence[str] = (),
    flag: str = "--workdir",
) -> None:
    """Refuses a folder that is another's; writes nothing.

    A new or empty folder passes, and so does one whose `config.json` is equal but for
    allowed differences.

    Args:
      workdir: folder of the run.
      config: nested dict of JSON values.
      may_change: dotted names that may differ; a name covers what lies under it.
      only_up: dotted names of numbers that may grow, but not shrink.
      flag: of the command line that gives the folder, for the messages.

    Raises:
      ValueError: the folder holds files but no `config.json`, its `config.json`
        cannot be read, or a difference is not allowed (every one is listed).
    """
    workdir, field = pathlib.Path(workdir), flag.lstrip("-")
    path, given = _file(workdir), _as_stored(config)
    if not path.exists():
        if workdir.exists() and not workdir.is_dir():
            raise ValueError(f"{field}: {workdir} is a file; give a folder")
        # Hidden files are no run's: a desktop's, or a write that was killed.
        if workdir.exists() and any(p.name[0] != "." for p in workdir.iterdir()):
            raise ValueError(
                f"{field}: {workdir} holds files but no config.json, so it is not "
                f"the folder of a run; give an empty or new folder as {flag}"
            )
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


def _file(workdir: str | os.PathLike[str]) -> pathlib.Path:
    return pathlib.Path(workdir) / "config.json"


def _as_stored(config: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(config))  # tuples become lists


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
