"""Checkpoints by `orbax.checkpoint.CheckpointManager`, verified when they are read.

A folder, named after its number, has state/ (an array for all leaves of a dtype, one
after another), about/ (JSON: step, extra, kinds of leaves by name) and sha256, digests
of both as `sha256sum` writes them. Tensorstore 0.1.86 loses 600 bytes of memory for
each array that orbax saves, which for an array a leaf were megabytes an hour. It is
written by orbax's threads while training goes on, and gets its name when it is whole.
Of several processes (`metainit.runtime.hosts`) only the first writes.
"""

import hashlib
import json
import logging as standard_logging
import math
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from metainit.core import leaves
from metainit.runtime import stop

# Folders of a run: its last states, the best by validation, and the one before a step
# that was not finite.
LAST, BEST, NONFINITE = "checkpoints", "best", "nonfinite"
_MOST, _RATIO = 1 << 28, 64  # bytes of arrays: so many, or so many times their files
_DIGESTS, _UNFINISHED = "sha256", "its save was stopped"
_STATE, _ABOUT = "state", "about"
_UNNAMED = ".orbax-checkpoint-tmp"  # what orbax adds to the name until all is there


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
        self._writing: ocp.CheckpointManager | None = None
        self._remembered: Checkpoint | None = None  # by a process that writes nothing

    def save(
        self,
        step: int,
        state: Any,
        extra: dict[str, Any],
        after: "Checkpoints | None" = None,
    ) -> None:
        """Copies the state after `step` steps, and returns while it is written.

        The state is a pytree of arrays without random keys; `extra` has JSON values.
        On disk it is there no sooner than what `after` writes now. An error of the
        save before is raised here, where no `wait` has done so.
        """
        kinds = leaves.kinds(state)
        about = {"step": int(step), "extra": extra, "leaves": kinds}
        # As it is now; an extra that is not JSON fails before anything moves.
        about = json.loads(json.dumps(about))
        # Orbax refuses size 0, and copies the rest; its kind says all there is.
        named = leaves.by_name(state).items()
        values = jax.device_get({name: leaf for name, leaf in named if leaf.size})
        if jax.process_index() > 0:
            self._remembered = Checkpoint(step, values, about["extra"])
            return
        self.wait()
        before = None if after is None else after._writing

        def seal() -> None:
            if before is not None:
                before.wait_until_finished()
            written = self._folder / f"{number}{_UNNAMED}"
            (written / _DIGESTS).write_text(_digests(written))

        with stop.later():  # or threads of a save that was broken off would go on
            self._folder.mkdir(parents=True, exist_ok=True)
            manager = self._writing = _manager(self._folder, seal)
            for old in manager.all_steps():
                finished = (self._folder / str(old) / _DIGESTS).exists()
                if old in self._damaged or not finished:
                    manager.delete(old)  # or else it would push out a whole one
            self._damaged.clear()
            number = 1 + max(manager.all_steps(), default=-1)
            items = {_STATE: ocp.args.StandardSave(_packed(values))}
            items |= {_ABOUT: ocp.args.JsonSave(about)}
            manager.save(number, args=ocp.args.Composite(**items))

    def wait(self) -> None:
        """Waits until the last save is on disk, and raises what kept it from there."""
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def restore(self, template: Any = None) -> Checkpoint | None:
        """Gives the newest whole checkpoint, and warns of each damaged one.

        It waits for what is written now.
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
        self.wait()
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


def _manager(
    folder: pathlib.Path, seal: Callable[[], None] | None = None
) -> ocp.CheckpointManager:
    """Opens a manager of what lies in the folder, to be closed.

    One that writes calls `seal`, from a thread, when a checkpoint lacks but its name.
    """
    # Each process by itself: the others need not come here at the same time.
    this, writes = jax.process_index(), seal is not None
    alone = ocp.options.MultiprocessingOptions(
        this, active_processes={this}, barrier_sync_key_prefix=f"process{this}"
    )
    options = ocp.CheckpointManagerOptions(
        max_to_keep=2,
        create=False,
        cleanup_tmp_directories=writes,
        enable_async_checkpointing=writes,
        async_options=ocp.AsyncOptions(
            post_finalization_callback=seal, create_directories_asynchronously=False
        ),
        multiprocessing_options=alone,
    )
    handlers = {
        _STATE: ocp.StandardCheckpointHandler(multiprocessing_options=alone),
        _ABOUT: ocp.JsonCheckpointHandler(multiprocessing_options=alone),
    }
    return ocp.CheckpointManager(folder, options=options, item_handlers=handlers)


def _is_told(record: standard_logging.LogRecord) -> bool:
    """Whether a line is to be logged: of orbax its warnings; errors it raises too."""
    of_orbax = "orbax" in pathlib.Path(record.pathname).parts
    return not of_orbax or record.levelno == standard_logging.WARNING


# For good, since threads may speak after a save has failed.
logging.get_absl_logger().addFilter(_is_told)


def _digests(folder: pathlib.Path) -> str:
    """Gives a line for each file of a checkpoint that has values."""
    lines = []
    paths = [path for item in (_ABOUT, _STATE) for path in (folder / item).rglob("*")]
    for path in sorted(paths):
        if path.is_file():
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
    items = {_STATE: ocp.args.StandardRestore(), _ABOUT: ocp.args.JsonRestore()}
    restored = manager.restore(number, args=ocp.args.Composite(**items))
    about = restored.about
    state = _unpacked(restored.state, about["leaves"])
    if template is not None:
        if differing := leaves.differences(about["leaves"], leaves.kinds(template)):
            raise ValueError(f"checkpoint of another model or optimizer: {differing}")
    return Checkpoint(about["step"], _filled(state, template), about["extra"])


def _packed(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Puts the values of each dtype one after another, by their names."""
    of_dtype: dict[str, list[np.ndarray]] = {}
    for _, value in sorted(values.items()):
        of_dtype.setdefault(str(value.dtype), []).append(value.ravel())
    return {dtype: np.concatenate(flat) for dtype, flat in of_dtype.items()}


def _unpacked(
    packed: dict[str, np.ndarray], kinds: dict[str, list[Any]]
) -> dict[str, np.ndarray]:
    """Undoes `_packed`; `kinds` has [dtype, shape] by name, also of size 0."""
    values, left = {}, dict(packed)
    for name, (dtype, shape) in sorted(kinds.items()):
        if size := math.prod(shape):
            array = left.get(dtype, np.zeros(0))  # too short is a ValueError
            values[name], left[dtype] = array[:size].reshape(shape), array[size:]
    return values


def _check_sizes(manager: ocp.CheckpointManager, number: int) -> None:
    """Raises ValueError where arrays are said to be much larger than their files.

    They are compressed, and a stranger's may be of zeros.
    """
    folder = pathlib.Path(manager.directory) / str(number)
    stored = sum(path.lstat().st_size for path in folder.rglob("*"))
    arrays = manager.item_metadata(number)[_STATE].tree.values()
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
