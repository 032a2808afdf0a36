"""Prepares what an experiment needs, once its plan and terms were shown."""

import sys
from collections.abc import Sequence
from pathlib import Path

from metainit.data.builders import plan, prepare


def show(names: Sequence[str], root: Path, size: int, channels: int) -> plan.Plan:
    """Prints and returns the plan of the data sets that are not prepared yet.

    Args:
      names: of the catalog.
      root: the data folder.
      size, channels: of the images that will be cached.
    """
    missing = [name for name in names if not prepare.is_prepared(name, root)]
    made = plan.plan(missing, root, size=size, channels=channels)
    if missing:
        print("to prepare first:", *plan.table(made), sep="\n", flush=True)
    return made


def obtain(made: plan.Plan, root: Path, *, agreed: bool) -> None:
    """Fetches and prepares the data sets of a plan.

    Args:
      made: from `show`.
      root: the data folder.
      agreed: go on without asking.

    Raises:
      ValueError: not agreed to, no room, or a data set that cannot be had; those that
        were prepared before it stay.
    """
    if not made.rows:
        return
    if made.impossible:
        raise ValueError(f"not enough room: {made.shortage}; nothing was begun")
    if not agreed:
        _ask()
    for row in made.rows:
        folder = prepare.prepare(row.name, root)
        print(f"{row.name}: ready in {folder}", flush=True)


def _ask() -> None:
    how = "pass --yes to agree to the terms above and go on"
    if not sys.stdin.isatty():
        raise ValueError(f"data sets have to be prepared first: {how}")
    if input("prepare them, under these terms? [y/N] ").strip().lower() not in (
        "y",
        "yes",
    ):
        raise ValueError(f"nothing was prepared; {how}")
