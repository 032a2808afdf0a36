"""A run's folder, which belongs to one config and to one process at a time."""

import contextlib
import json
import os
import pathlib
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import filelock

from metainit.runtime import atomic, untrusted

FILE = "config.json"  # the config, in a run's folder
_LOCK, _HOLDER = ".lock", ".used-by"
_ABSENT = "(absent)"


def claim(
    workdir: str | os.PathLike[str],
    config: Mapping[str, Any],
    may_change: Sequence[str] = (),
    only_up: Sequence[str] = (),
    flag: str = "--workdir",
    write: bool = True,
) -> None:
    """Ties `workdir` to `config`; without `write`, it only checks that it could.

    The folder may be new or empty, or have a `config.json` with equal values. Fields in
    `may_change`, and all below them, may differ. Numbers in `only_up` may grow. Names
    of fields are dotted.

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
            stored, given = untrusted.read_json(path), json.loads(text)
            refused = differences(stored, given, may_change, only_up)
        except (ValueError, AttributeError, TypeError) as error:
            raise ValueError(
                f"{field}: {path} cannot be read ({error}); give another {flag}"
            ) from None
    # Hidden files are those of a desktop, or of a write that was killed.
    elif workdir.exists() and any(p.name[0] != "." for p in workdir.iterdir()):
        raise ValueError(
            f"{field}: {workdir} holds files but no config.json, so it is not the "
            f"folder of a run; give an empty or new folder as {flag}"
        )
    if refused == ["images not what it was"]:
        raise ValueError(
            f"the images are not those that {workdir} began with; give another {flag}, "
            f"or delete {workdir}"
        )
    if refused:
        raise ValueError(
            f"{field}: {workdir} holds a run of another config, stored -> given: "
            f"{'; '.join(refused)}. Give another {flag}, or what was given before"
        )
    if write:
        with _told(workdir, field):
            workdir.mkdir(parents=True, exist_ok=True)
            atomic.write_text(path, text)


@contextlib.contextmanager
def _told(workdir: pathlib.Path, field: str) -> Iterator[None]:
    """Turns an OSError into a ValueError that names the folder."""
    try:
        yield
    except OSError as error:
        words = f"cannot be written to ({error.strerror}); give another --{field}"
        raise ValueError(f"{field}: {workdir} {words}") from None


@contextlib.contextmanager
def held(
    workdir: str | os.PathLike[str], flag: str = "--workdir"
) -> Iterator[pathlib.Path]:
    """Locks `workdir` for this process, and removes it if it is empty at the end.

    The system unlocks it where a process is killed. Files that such a process has half
    written are removed. A folder that cannot be written to is not locked.

    Raises:
      ValueError: another process has the folder (the message names it and since when),
        or the folder cannot be made.
    """
    workdir, field = pathlib.Path(workdir), flag.lstrip("-")
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f"{field}: {workdir} is a file; give a folder")
    with _told(workdir, field):
        workdir.mkdir(parents=True, exist_ok=True)
    if not os.access(workdir, os.W_OK):
        yield workdir
        return
    lock, holder = filelock.FileLock(workdir / _LOCK, timeout=0), workdir / _HOLDER
    try:
        lock.acquire()
    except filelock.Timeout:
        who = holder.read_text() if holder.exists() else "another process"
        raise ValueError(
            f"{field}: {workdir} is in use by {who}; wait for it, stop it, or give "
            f"another {flag}"
        ) from None
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S %z")
        who = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        atomic.write_text(holder, who)
        atomic.clear(workdir)
        yield workdir
    finally:
        holder.unlink(missing_ok=True)
        if not any(path.name != _LOCK for path in workdir.iterdir()):
            (workdir / _LOCK).unlink(missing_ok=True)
            workdir.rmdir()
        lock.release()


def differences(
    stored: Mapping[str, Any],
    given: Mapping[str, Any],
    may_change: Sequence[str] = (),
    only_up: Sequence[str] = (),
) -> list[str]:
    """Lists forbidden differences of nested dicts as "name: stored -> given"."""
    before, after = flat(stored), flat(given)
    split_anew = any(before.get(x) != after.get(x) for x in ("seed", "held_out"))
    refused = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name, _ABSENT), after.get(name, _ABSENT)
        may_differ = any(f"{name}.".startswith(f"{x}.") for x in may_change)
        grows = name in only_up and _ABSENT not in (old, new) and new > old
        if old == new or may_differ or grows:
            continue
        if name == "images_sha256" and split_anew:
            continue  # the same images, of which others are held out
        if name.endswith("_sha256"):
            refused.append(f"{name.removesuffix('_sha256')} not what it was")
            continue
        shown = (x if x is _ABSENT else json.dumps(x) for x in (old, new))
        hint = " (may only grow)" if name in only_up else ""
        refused.append(f"{name}: {' -> '.join(shown)}{hint}")
    return refused


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Gives the values of a nested dict by dotted name."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        nested = isinstance(value, dict) and value
        values |= flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return values
