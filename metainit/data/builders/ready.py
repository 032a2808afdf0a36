"""What is prepared, read from the files that TFDS leaves, without TFDS."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple


class Ready(NamedTuple):
    """A prepared data set.

    Attributes:
      folder: where it is.
      version: of the builder that made it.
      images: how many, by split.
      bytes: of all records.
      settings: what the builder recorded: how it was reduced, what was left out.
    """

    folder: Path
    version: str
    images: Mapping[str, int]
    bytes: int
    settings: Mapping[str, Any]


def find(name: str, root: Path) -> list[Ready]:
    """Every version of a data set that is prepared in `<root>/tfds`, oldest first."""
    found = (root / "tfds" / name).glob("[0-9]*/dataset_info.json")
    return [
        read(info.parent)
        for info in sorted(found, key=lambda path: path.stat().st_mtime_ns)
    ]


def read(folder: Path) -> Ready:
    """The data set in a folder that holds dataset_info.json."""
    info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    extra = folder / "metadata.json"
    settings = json.loads(extra.read_text(encoding="utf-8")) if extra.exists() else {}
    splits = info.get("splits", [])
    return Ready(
        folder,
        folder.name,
        {split["name"]: sum(map(int, split["shardLengths"])) for split in splits},
        sum(int(split["numBytes"]) for split in splits),
        settings,
    )


def reductions(settings: Mapping[str, Any]) -> str:
    """How a data set differs from the whole one, "" where it does not.

    Args:
      settings: see `Ready`.
    """
    parts = []
    if side := settings.get("max_side"):
        parts.append(f"max_side={side}")
    if (fraction := settings.get("fraction", 1.0)) < 1:
        parts.append(f"fraction={fraction:g}")
    if unreadable := settings.get("unreadable"):
        parts.append(f"{unreadable} unreadable")
    if missing := settings.get("missing"):
        parts.append(f"{missing} missing")
    return ", ".join(parts)
