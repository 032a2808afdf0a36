"""Checkpoints by `orbax.checkpoint.CheckpointManager`, verified when they are read.

A folder, named after its number, has state/ (leaves by name), about/ (JSON: step,
extra, kinds of leaves) and sha256, digests of the rest as `sha256sum` writes them.
Of several processes (`metainit.runtime.hosts`) only the first writes.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from metainit.core import leaves
from metainit.runtime import atomic

# Folders of a run: its last states, the best by validation, and the one before a step
# that was not finite.
LAST, BEST, NONFINITE = "checkpoints", "best", "nonfinite"
_MOST, _RATIO = 1 << 28, 64  # bytes of arrays: so many, or so many times their files
_DIGESTS, _UNFINISHED = "sha256", "its save was stopped"


class CheckpointError(ValueError):
    """Checkpoints that a run cannot go on from."""


class Checkpoint(NamedTuple):
    """What was saved after `step` steps, with JSON values that went with it.

    The state is a tree like the template's; without one, NumPy arrays by name
    (`metainit.core.leaves`), those of size 0 left out.
    """

    step: int
    state: Any
    extra: dict[str, Any]


class Checkpoints:
    """The last two states saved in a folder, so that a damaged one is no loss."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Touches nothing on disk until the first save."""
        self._folder = pathlib.Path(folder).absolute()
        self._damaged: set[int] = set()
        self._remembered: Checkpoint | None = None  # by a process that writes nothing

    def save(self, step: int, state: Any, extra: dict[str, Any]) -> None:
        """Saves the state after `step` steps, and returns when it is on disk.

        The state is a pytree of arrays without random keys; `extra` has JSON values.
        """
        about = {"step": int(step), "extra": extra, "leaves": leaves.kinds(state)}
        json.dumps(about)  # an extra that is not JSON fails before anything moves
        values = {
            name: np.asarray(leaf)
            for name, leaf in leaves.by_name(state).items()
            if leaf.size  # orbax refuses size 0; its kind says all there is
        }
        if jax.process_index() > 0:
            self._remembered = Checkpoint(step, values, json.loads(json.dumps(extra)))
            return
        with _manager(self._folder, saving=True) as manager:
            for old in manager.all_steps():
                finished = (self._folder / str(old) / _DIGESTS).exists()
                if old in self._damaged or not finished:
                    manager.delete(old)  # or else it would push out a whole one
            self._damaged.clear()
            number = 1 + max(manager.all_steps(), default=-1)
            items = {"state": ocp.args.StandardSave(values)}
            items |= {"about": ocp.args.JsonSave(about)}
            manager.save(number, args=ocp.args.Composite(**items))
        saved = self._folder / str(number)
        atomic.write_text(saved / _DIGESTS, _digests(saved))

    def restore(self, template: Any = None) -> Checkpoint | None:
        """Gives the newest whole checkpoint, and warns of each damaged one.

        The template's leaves, arrays or `jax.ShapeDtypeStruct`, say where restored ones
        go: JAX arrays onto the same devices, NumPy arrays into NumPy.

        Raises:
          CheckpointError: there are checkpoints and all are damaged.
          ValueError: the template does not fit the state saved (every leaf that
            differs is named).
        """
        if self._remembered is not None:
            step, state, extra = self._remembered
            extra = json.loads(json.dumps(extra))
            return Checkpoint(step, _filled(state, template), extra)
        if not self._folder.is_dir():
            return None
        damaged = []
        with _manager(self._folder) as manager:
            for number in sorted(manager.all_steps(), reverse=True):
                if not (wrong := _wrong(self._folder / str(number))):
                    return _restored(manager, number, template)
                self._damaged.add(number)
                damaged += [str(number)] * (wrong != _UNFINISHED)
                logging.warning(
                    "%s: checkpoint %d is damaged (%s); trying the one before",
                    self._folder,
                    number,
                    wrong,
                )
        if damaged:
            raise CheckpointError(
                f"{self._folder}: checkpoints {' and '.join(damaged)} are all damaged; "
                "put a copy back, or give another --workdir to start again"
            )
        return None


@contextlib.contextmanager
def _manager(
    folder: pathlib.Path, saving: bool = False
) -> Iterator[ocp.CheckpointManager]:
    """Opens a manager of what lies in the folder; orbax tells only what is wrong."""
    # Each process by itself: the others need not come here at the same time.
    this = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        this, active_processes={this}, barrier_sync_key_prefix=f"process{this}"
    )
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2,
        create=False,
        cleanup_tmp_directories=saving,
        enable_async_checkpointing=False,
        multiprocessing_options=alone,
    )
    if saving:
        folder.mkdir(parents=True, exist_ok=True)
    verbosity = logging.get_verbosity()
    logging.set_verbosity(min(verbosity, logging.WARNING))
    try:
        handlers = {
            "state": ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            "about": ocp.JsonCheckpointHandler(multiprocessing_options=alone),
        }
        with ocp.CheckpointManager(
            folder, options=options, item_handlers=handlers
        ) as manager:
            yield manager
    finally:
        logging.set_verbosity(verbosity)


def _digests(folder: pathlib.Path) -> str:
    """Gives a line for each file in the folder but that of the digests itself."""
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / _DIGESTS:
            with path.open("rb") as file:
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            lines.append(f"{sha256}  {path.relative_to(folder)}\n")
    return "".join(lines)


def _wrong(folder: pathlib.Path) -> str:
    """Says what is wrong with the files of a checkpoint; "" for nothing."""
    if not (folder / _DIGESTS).exists():
        return _UNFINISHED
    stated = (folder / _DIGESTS).read_text(errors="replace").splitlines()
    differing = set(stated) ^ set(_digests(folder).splitlines())
    names = sorted({line.partition("  ")[2] for line in differing})
    return f"not as when saved: {', '.join(names)}" if names else ""


def _restored(manager: ocp.CheckpointManager, number: int, template: Any) -> Checkpoint:
    """Restores a checkpoint, after a check that it fits the template and the disk."""
    _check_sizes(manager, number)
    items = {"state": ocp.args.StandardRestore(), "about": ocp.args.JsonRestore()}
    restored = manager.restore(number, args=ocp.args.Composite(**items))
    about, state = restored.about, restored.state
    if template is not None:
        if differing := leaves.differences(about["leaves"], leaves.kinds(template)):
            raise ValueError(f"checkpoint of another model or optimizer: {differing}")
    return Checkpoint(about["step"], _filled(state, template), about["extra"])


def _check_sizes(manager: ocp.CheckpointManager, number: int) -> None:
    """Raises ValueError where arrays are said to be much larger than their files.

    They are compressed, and a stranger's may be of zeros.
    """
    folder = pathlib.Path(manager.directory) / str(number)
    stored = sum(path.lstat().st_size for path in folder.rglob("*"))
    arrays = manager.item_metadata(number)["state"].tree.values()
    sizes = (
        np.dtype(array.dtype).itemsize * max(math.prod(array.shape), math.prod(chunk))
        for array in arrays
        for chunk in [array.storage.chunk_shape]
    )
    if (claimed := sum(sizes)) > max(_MOST, _RATIO * stored):
        raise ValueError(
            f"{folder}: {stored:,} bytes that claim to be arrays of {claimed:,}"
        )


def _filled(state: dict[str, np.ndarray], template: Any) -> Any:
    """Puts arrays by name where a template has them; without one, gives these."""
    if template is None:
        return state
    like = leaves.by_name(template).items()
    filled = [_like(leaf, state.get(name)) for name, leaf in like]
    return jax.tree.unflatten(jax.tree.structure(template), filled)


def _like(leaf: Any, value: np.ndarray | None) -> Any:
    """Puts `value` where `leaf` is; None stands for size 0."""
    value = np.zeros(leaf.shape, leaf.dtype) if value is None else value
    if isinstance(leaf, np.ndarray | np.generic):
        return value
    # An uncommitted array stays one: pinning it would let `jit` compile again.
    sharding = leaf.sharding if getattr(leaf, "committed", False) else None
    return jax.device_put(value, sharding)
