"""A run goes on with the images that it began with, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from typing import Any

from metainit.data.loading import Roles, Source, rows
from metainit.runtime import atomic

FILE = "data.json"


def save(workdir: str | os.PathLike[str], roles: Roles) -> None:
    """Stores in a run's folder what its images are."""
    text = json.dumps(_described(roles), indent=2)
    atomic.write_text(pathlib.Path(workdir) / FILE, text + "\n")


def check(workdir: str | os.PathLike[str], roles: Roles) -> None:
    """Refuses images that are not those of `save`; a folder without passes.

    A class more or less moves others from one role to another, so that a run that went
    on would be tested on classes that it was trained on.

    Raises:
      ValueError: naming the roles and data sets that differ.
    """
    path = pathlib.Path(workdir) / FILE
    if not path.exists():
        return
    before, now = json.loads(path.read_text()), _described(roles)
    changed = [
        f"{role}, {source['name']}: {_in_words(old)} before, now {_in_words(source)}"
        for role in now
        for old, source in zip(before[role], now[role], strict=True)
        if old != source
    ]
    if changed:
        raise ValueError(
            f"workdir: {workdir} holds a run on other images or classes than there are "
            f"now ({'; '.join(changed)}); put them back to go on with it, or give "
            "another --workdir"
        )


def _described(roles: Roles) -> dict[str, list[dict[str, Any]]]:
    return {
        role: [_of_source(source) for source in of_role]
        for role, of_role in roles._asdict().items()
    }


def _of_source(source: Source) -> dict[str, Any]:
    digest = hashlib.sha256("\0".join(source.class_names).encode())
    digest.update(source.labels.tobytes())
    if source.hashes is not None:
        digest.update(source.hashes.tobytes())
    return {
        "name": source.name,
        "classes": len(source.class_names),
        "images": len(rows(source)),
        "sha256": digest.hexdigest(),
    }


def _in_words(source: dict[str, Any]) -> str:
    kept = f"{source['classes']} classes, {source['images']} images"
    return f"{kept} (sha256 {source['sha256'][:8]})"
