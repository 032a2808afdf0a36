"""Checkpoints: each is one safetensors file, verified when it is read.

A file, named after its number, has the leaves of a state by name. Its metadata has the
step, JSON values that go with the state, the kinds of the leaves, and a digest of it
all. A thread writes it while training goes on, and it gets its name when it is whole.
Of several processes (`metainit.runtime.hosts`) only the first writes.
"""

import concurrent.futures
import json
import os
import pathlib
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy
from absl import logging

from metainit.core import leaves
from metainit.runtime import atomic, digest, stop, untrusted

# Folders of a run: its last states, the best by validation, and the one before a step
# that was not finite.
LAST, BEST, NONFINITE = "checkpoints", "best", "nonfinite"
_SUFFIX = ".safetensors"
_KEPT = 2  # checkpoints of a folder
_MOST_HEADER = 1 << 26  # bytes; it has all that was measured of a training


class CheckpointError(ValueError):
    """Checkpoints that a run cannot go on from."""


class Checkpoint(NamedTuple):
    """A state after `step` steps, with JSON values that were saved beside it.

    The state is a tree like the template that `restore` was given. Without a template
    it is NumPy arrays by name (`metainit.core.leaves`).
    """

    step: int
    state: Any
    extra: dict[str, Any]


class Checkpoints:
    """The last two states saved in a folder; if one is damaged, there is the other."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Touches nothing on disk until the first save."""
        self._folder = pathlib.Path(folder).absolute()
        self._damaged: set[int] = set()
        self._writing: concurrent.futures.Future[None] | None = None
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
        It gets to the disk after the checkpoint that `after` is writing. Where the save
        before failed, and `wait` was not called, its error is raised here.
        """
        # Copied as it is now; an extra that is not JSON fails before anything moves.
        extra = json.loads(json.dumps(extra))
        named = jax.device_get(leaves.by_name(state))
        values = {name: np.array(leaf, order="C") for name, leaf in named.items()}
        if jax.process_index() > 0:
            self._remembered = Checkpoint(step, values, extra)
            return
        self.wait()
        checkpoint = Checkpoint(int(step), values, extra)
        self._folder.mkdir(parents=True, exist_ok=True)
        with stop.later():  # or a save that has begun could not be waited for
            thread = concurrent.futures.ThreadPoolExecutor(1, "checkpoint")
            before = None if after is None else after._writing
            self._writing = thread.submit(self._write, checkpoint, before)
            thread.shutdown(wait=False)

    def _write(
        self, checkpoint: Checkpoint, before: concurrent.futures.Future[None] | None
    ) -> None:
        """Writes a checkpoint and deletes old ones; runs in a thread."""
        content = _packed(checkpoint)
        if before is not None:
            before.result()
        for number in self._damaged:
            self._path(number).unlink(missing_ok=True)
        self._damaged.clear()
        old = self._numbers()
        atomic.write_bytes(self._path(max(old, default=-1) + 1), content)
        for number in old[: 1 - _KEPT]:
            self._path(number).unlink()

    def wait(self) -> None:
        """Waits until the last save is on disk, and raises its error if it failed."""
        if self._writing is not None:
            concurrent.futures.wait([self._writing])
            written, self._writing = self._writing, None
            written.result()

    def restore(self, template: Any = None) -> Checkpoint | None:
        """Gives the newest whole checkpoint, and warns of each damaged one.

        It waits for a save that has begun. The template's leaves are arrays or
        `jax.ShapeDtypeStruct`. Where one is a JAX array, the restored one is put on the
        same devices; where it is a NumPy array, so is the restored one.

        Raises:
          CheckpointError: there are checkpoints and all are damaged, or of a format
            that an earlier version wrote.
          ValueError: the template does not fit the state that was saved. The message
            names every leaf that differs.
        """
        if self._remembered is not None:
            step, state, extra = self._remembered
            extra = json.loads(json.dumps(extra))
            return Checkpoint(step, _filled(state, template), extra)
        self.wait()
        damaged = []
        for number in reversed(self._numbers()):
            try:
                step, state, extra = _unpacked(self._path(number))
            except ValueError as error:
                self._damaged.add(number)
                damaged.append(str(number))
                logging.warning(
                    "%s: checkpoint %d is damaged (%s); trying the one before",
                    self._folder,
                    number,
                    error,
                )
            else:
                return Checkpoint(step, _filled(state, template), extra)
        if damaged:
            raise CheckpointError(
                f"{self._folder}: checkpoints {' and '.join(damaged)} are all damaged; "
                "put a copy back, or give another --workdir to start again"
            )
        if any(path.name.isdecimal() for path in self._folder.glob("*")):
            raise CheckpointError(
                f"{self._folder} was written by metainit before December 2026: "
                "metainit at commit afad02c reads it; start anew in another folder"
            )
        return None

    def _path(self, number: int) -> pathlib.Path:
        return self._folder / f"{number}{_SUFFIX}"

    def _numbers(self) -> list[int]:
        """Gives the numbers of the checkpoints in the folder, the newest last."""
        stems = (path.stem for path in self._folder.glob(f"*{_SUFFIX}"))
        return sorted(int(stem) for stem in stems if stem.isdecimal())


def _packed(checkpoint: Checkpoint) -> bytes:
    """Makes the content of a file."""
    step, values, extra = checkpoint
    kinds = {name: [str(x.dtype), list(x.shape)] for name, x in values.items()}
    about = json.dumps({"step": step, "extra": extra, "leaves": kinds})
    metadata = {"about": about, "sha256": digest.sha256([about, values])}
    # The library's NumPy functions do not know bfloat16 and other types of JAX.
    plain = {
        name: x.view(f"u{x.itemsize}") if x.dtype.kind == "V" else x
        for name, x in values.items()
    }
    return safetensors.numpy.save(plain, metadata)


def _unpacked(path: pathlib.Path) -> Checkpoint:
    """Reads a file; raises ValueError where it is not as it was written."""
    content = untrusted.read_bytes(path, sys.maxsize)
    arrays = untrusted.tensors(content, path, _MOST_HEADER)
    try:
        end = 8 + int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8:end])["__metadata__"]
        about = json.loads(metadata["about"])
        values = {
            name: arrays[name].view(dtype).reshape(shape)
            for name, (dtype, shape) in about["leaves"].items()
        }
        if digest.sha256([metadata["about"], values]) != metadata["sha256"]:
            raise ValueError("its digest is another")
        return Checkpoint(about["step"], values, about["extra"])
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise ValueError(f"{path.name} is not as when saved: {error!r}") from None


def _filled(state: dict[str, np.ndarray], template: Any) -> Any:
    """Puts arrays by name into a template; without one, it gives them as they are."""
    if template is None:
        return state
    given = {name: [str(x.dtype), list(x.shape)] for name, x in state.items()}
    if differing := leaves.differences(given, leaves.kinds(template)):
        raise ValueError(f"checkpoint of another model or optimizer: {differing}")
    like = leaves.by_name(template).items()
    filled = [_like(leaf, state[name]) for name, leaf in like]
    return jax.tree.unflatten(jax.tree.structure(template), filled)


def _like(leaf: Any, value: np.ndarray) -> Any:
    """Makes an array of NumPy, or on devices, as `leaf` is."""
    if isinstance(leaf, np.ndarray | np.generic):
        return value
    # An uncommitted array stays one: pinning it would let `jit` compile again.
    sharding = leaf.sharding if getattr(leaf, "committed", False) else None
    return jax.device_put(value, sharding)
