"""Checkpoints on orbax: written whole, verified when read, the one before kept.

A checkpoint is a folder named after its step:

    state/             the leaves of the state, an orbax checkpoint (flat dict)
    checkpoint.json    step, extra, every leaf's dtype and shape, files' sha256
    checkpoint.sha256  of checkpoint.json

It is made under a hidden name and renamed at the end, so a save that is killed
never shows. The digests are ours because storage can lose the end of a file
without orbax seeing it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

_KEEP = 2
_HIDDEN = ".saving-"


class CheckpointError(ValueError):
    """Checkpoints that a run cannot go on from."""


class Checkpoints:
    """The checkpoints of one run: the last two, and the best two apart.

    Two of the best as well, so that a damaged one is no loss of the run.
    """

    def __init__(self, workdir: str | os.PathLike[str]) -> None:
        """Touches nothing on disk until the first save.

        Args:
          workdir: folder of the run; `checkpoints` and `best` lie in it.
        """
        # Orbax wants absolute paths.
        workdir = pathlib.Path(workdir).absolute()
        self._last = workdir / "checkpoints"
        self._best = workdir / "best"
        self._damaged: set[pathlib.Path] = set()
        with _quiet():
            self._orbax = ocp.Checkpointer(ocp.StandardCheckpointHandler())

    def save(self, step: int, state: Any, extra: dict[str, Any]) -> None:
        """Saves the state after `step` steps; returns when it is on disk.

        Args:
          step: number of steps done.
          state: pytree of arrays and Python numbers; no random keys.
          extra: JSON values that go with it.
        """
        self._save(self._last, step, state, extra)

    def save_best(self, step: int, state: Any, extra: dict[str, Any]) -> None:
        """Saves the best state so far; as `save`, in a folder of its own."""
        self._save(self._best, step, state, extra)

    def latest(self, template: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """The newest checkpoint that is whole.

        A damaged one is passed over with a warning that names it.

        Args:
          template: pytree of the state's structure, shapes and dtypes; its leaves
            (arrays, `jax.ShapeDtypeStruct` or Python numbers) say where restored
            leaves go: JAX arrays onto the same devices, NumPy arrays into NumPy.

        Returns:
          (step, state, extra), or None where nothing was saved.

        Raises:
          ValueError: there are checkpoints and all are damaged, or the template
            does not fit the state saved (every leaf that differs is named).
        """
        return self._restore(self._last, template)

    def best(self, template: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """The best checkpoint; as `latest`."""
        return self._restore(self._best, template)

    def best_leaves(self) -> tuple[int, dict[str, np.ndarray]] | None:
        """The best state's leaves, for a reader without a template of it.

        Returns:
          (step, leaves by the `jax.tree_util.keystr` of their paths, those of size 0
          left out), or None where nothing was saved.

        Raises:
          ValueError: there are checkpoints and all are damaged.
        """
        if (found := self._newest(self._best)) is None:
            return None
        content, values = found
        return content["step"], {n: np.asarray(leaf) for n, leaf in values.items()}

    def latest_extra(self) -> dict[str, Any] | None:
        """What went with the newest checkpoint that is whole; None without one.

        Raises:
          ValueError: there are checkpoints and all are damaged.
        """
        found = self._newest(self._last)
        return None if found is None else found[0]["extra"]

    def _save(
        self, root: pathlib.Path, step: int, state: Any, extra: dict[str, Any]
    ) -> None:
        leaves = {n: np.asarray(jax.device_get(x)) for n, x in _leaves(state).items()}
        content = {
            "step": int(step),
            "extra": extra,
            "leaves": {name: _kind(leaf) for name, leaf in leaves.items()},
        }
        json.dumps(content)  # an extra that is not JSON fails before anything moves
        root.mkdir(parents=True, exist_ok=True)
        for leftover in root.glob(_HIDDEN + "*"):
            shutil.rmtree(leftover, ignore_errors=True)
        # A step saved again (a resumed run) gets a name of its own: replacing the
        # folder would leave a moment with neither.
        serial = max((n for s, n, _ in _saved(root) if s == step), default=-1) + 1
        final = root / (f"{step:08d}.{serial}" if serial else f"{step:08d}")
        hidden = root / (_HIDDEN + final.name)
        try:
            with _quiet():
                # Orbax refuses arrays of size 0; their kind says all there is.
                filled = {n: leaf for n, leaf in leaves.items() if leaf.size}
                self._orbax.save(hidden / "state", args=ocp.args.StandardSave(filled))
            content["files"] = _digests(hidden)
            text = json.dumps(content, indent=1)
            (hidden / "checkpoint.json").write_text(text)
            (hidden / "checkpoint.sha256").write_text(
                f"{hashlib.sha256(text.encode()).hexdigest()}  checkpoint.json\n"
            )
            os.rename(hidden, final)
        except BaseException:
            shutil.rmtree(hidden, ignore_errors=True)
            raise
        self._prune(root, final, step)

    def _prune(self, root: pathlib.Path, new: pathlib.Path, step: int) -> None:
        """Keeps `new` and what lies before it, and never counts a damaged one.

        Later steps are of a run that was abandoned when this one resumed.
        """
        kept = [new]
        for at, _, folder in reversed(_saved(root)):
            if at < step and folder not in self._damaged and len(kept) < _KEEP:
                kept.append(folder)
            elif folder != new:
                shutil.rmtree(folder, ignore_errors=True)

    def _restore(
        self, root: pathlib.Path, template: Any
    ) -> tuple[int, Any, dict[str, Any]] | None:
        if (found := self._newest(root)) is None:
            return None
        content, values = found
        return content["step"], _fill(template, content, values), content["extra"]

    def _newest(
        self, root: pathlib.Path
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """`checkpoint.json` and leaves of the newest checkpoint that is whole."""
        reasons = []
        for _, _, folder in reversed(_saved(root)):
            try:
                content = _verified(folder)
                with _quiet():
                    values = self._orbax.restore(folder / "state")
            except Exception as error:  # whatever a damaged file makes orbax raise
                self._damaged.add(folder)
                reasons.append(f"{folder.name}: {error}")
                logging.warning(
                    "Checkpoint %s is damaged (%s); trying the one before.",
                    folder,
                    error,
                )
                continue
            return content, values
        if reasons:
            raise CheckpointError(
                f"checkpoints in {root} are all damaged ({'; '.join(reasons)}); put a "
                "copy back, or give another --workdir to start again"
            )
        return None


def _saved(root: pathlib.Path) -> list[tuple[int, int, pathlib.Path]]:
    """(step, serial, folder) of every checkpoint under `root`, oldest first."""
    found = []
    for folder in root.glob("[0-9]*"):
        step, _, serial = folder.name.partition(".")
        if folder.is_dir() and step.isdigit() and (serial or "0").isdigit():
            found.append((int(step), int(serial or 0), folder))
    return sorted(found)


def _leaves(tree: Any) -> dict[str, Any]:
    pairs, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in pairs}


def _kind(leaf: Any) -> list[Any]:
    if not hasattr(leaf, "dtype"):
        leaf = np.asarray(leaf)
    return [str(leaf.dtype), list(leaf.shape)]


def _digests(folder: pathlib.Path) -> dict[str, str]:
    digests = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = path.relative_to(folder).as_posix()
            with path.open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _verified(folder: pathlib.Path) -> dict[str, Any]:
    """`checkpoint.json` of a checkpoint in which every digest is right."""
    for name in ("checkpoint.json", "checkpoint.sha256"):
        if not (folder / name).is_file():
            raise ValueError(f"{name} is missing")
    text = (folder / "checkpoint.json").read_bytes()
    stated = (folder / "checkpoint.sha256").read_text().split(" ")[0]
    if hashlib.sha256(text).hexdigest() != stated:
        raise ValueError("checkpoint.json differs from its sha256")
    content = json.loads(text)
    found = _digests(folder)
    for name, digest in content["files"].items():
        if name not in found:
            raise ValueError(f"{name} is missing")
        if found[name] != digest:
            raise ValueError(f"{name} differs from its sha256")
    return content


def _fill(template: Any, content: dict[str, Any], values: dict[str, Any]) -> Any:
    """`template` with the saved values, after a check that they fit."""
    saved = content["leaves"]
    wanted = {name: _kind(leaf) for name, leaf in _leaves(template).items()}
    if saved != wanted:
        differing = [
            f"{name}: saved {saved.get(name)}, wanted {wanted.get(name)}"
            for name in sorted(saved.keys() | wanted.keys())
            if saved.get(name) != wanted.get(name)
        ]
        raise ValueError(
            "checkpoint of another model or optimizer: " + "; ".join(differing)
        )
    filled = [_like(leaf, values.get(n)) for n, leaf in _leaves(template).items()]
    return jax.tree.unflatten(jax.tree.structure(template), filled)


def _like(leaf: Any, value: Any) -> Any:
    """`value` as the kind of thing `leaf` is; None stands for size 0."""
    if not hasattr(leaf, "dtype"):
        return type(leaf)(value)
    value = np.zeros(leaf.shape, leaf.dtype) if value is None else np.asarray(value)
    if isinstance(leaf, np.ndarray):
        return value
    if isinstance(leaf, np.generic):
        return value[()]
    # An uncommitted array stays one: pinning it would let `jit` compile again.
    sharding = leaf.sharding if getattr(leaf, "committed", False) else None
    return jax.device_put(value, sharding)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Orbax tells its story at level INFO, dozens of lines a save."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(min(verbosity, logging.WARNING))
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
