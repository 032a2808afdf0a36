"""Checkpoints: bit-identical, found damaged, never lost."""

import functools
import itertools
import os
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging

from metainit.runtime.checkpoint import CheckpointError, Checkpoints


class State(NamedTuple):
    params: dict
    opt_state: tuple
    step: jax.Array
    extra: dict | None


def make_state(seed):
    keys = jax.random.split(jax.random.key(seed), 2)
    kernel = jax.random.normal(keys[1], (8, 5), jnp.bfloat16)
    params = {
        "conv/1.kernel": jax.random.normal(keys[0], (3, 3, 4, 8)),
        "dense": {"kernel": kernel, "bias": None},
        "layers": [jnp.full((2,), seed, jnp.float32), jnp.zeros((0, 3))],
    }
    mask = {"conv/1.kernel": True, "dense": False, "layers": True}
    adam = optax.masked(optax.adam(1e-3), mask)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), adam)
    extra = {
        "bits": jnp.asarray([seed, 2**32 - 1], jnp.uint32),
        "flag": jnp.asarray(True),
        "nan": jnp.asarray([np.nan, -0.0, np.inf, 1e-45], jnp.float32),
        "numpy": np.arange(3, dtype=np.int64) + 2**40,
    }
    return State(params, optimizer.init(params), jnp.asarray(seed, jnp.int32), extra)


def assert_identical(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y)
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert x.tobytes() == y.tobytes()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def restore(folder):
    return Checkpoints(folder).restore(make_state(0))


def assert_restores(folder, step):
    restored = restore(folder)
    assert restored.step == step and restored.extra == {"at": step}
    assert_identical(restored.state, make_state(step))


def saved(folder, *steps):
    """Checkpoints of these steps; the newest two are kept."""
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, make_state(step), {"at": step})
    return checkpoints


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *a: said.append(text % a))
    return said


def test_restores_bit_identically_with_structure_and_dtypes(tmp_path):
    state = make_state(3)
    given = {"best": 0.5, "seen": [1, 2], "none": None, "nan": np.nan}
    assert Checkpoints(tmp_path / "run").restore() is None
    assert not names(tmp_path)
    Checkpoints(tmp_path).save(3, state, given)
    step, restored, extra = Checkpoints(tmp_path).restore(make_state(0))
    assert step == 3 and repr(extra) == repr(given)
    assert_identical(restored, state)


def test_templates_may_be_shapes_and_say_where_leaves_go(tmp_path):
    pinned = jax.device_put(jnp.ones(3), jax.devices()[0])
    state = {"free": jnp.arange(3.0), "pinned": pinned}
    Checkpoints(tmp_path).save(1, state, {})
    for template in (jax.eval_shape(lambda: state), state):
        restored = Checkpoints(tmp_path).restore(template).state
        assert_identical(restored, state)
    assert not restored["free"].committed and restored["pinned"].committed
    leaves = Checkpoints(tmp_path).restore().state  # by name, without a template
    assert_identical(leaves["['free']"], np.arange(3, dtype=np.float32))


def test_keeps_the_last_two_whatever_their_steps(tmp_path):
    saved(tmp_path, 1, 2, 3, 10, 2)
    assert names(tmp_path) == ["3", "4"]
    assert_restores(tmp_path, 2)


def largest(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_whatever_is_not_as_saved_is_found_and_the_one_before_taken(tmp_path, warnings):
    saved(tmp_path, 1, 2)
    newest = tmp_path / "1"
    files = [path for path in sorted(newest.rglob("*")) if path.is_file()]
    assert len(files) >= 4
    for path, damage in itertools.product(files, (cut, flip, os.unlink)):
        content = path.read_bytes()
        damage(path)
        assert_restores(tmp_path, 1)
        assert f"{tmp_path}: checkpoint 1 is damaged" in warnings.pop()
        path.write_bytes(content)
    assert_restores(tmp_path, 2)
    shutil.rmtree(newest / "state")
    assert_restores(tmp_path, 1)
    cut(largest(tmp_path / "0"))
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: .*1 and 0.*--workdir"):
        restore(tmp_path)
    assert names(tmp_path) == ["0", "1"]


def test_the_only_good_checkpoint_outlives_damaged_ones(tmp_path, warnings):
    saved(tmp_path, 1, 2)
    cut(largest(tmp_path / "1"))
    resumed = Checkpoints(tmp_path)
    for _ in range(2):
        assert resumed.restore(make_state(0)).step == 1
    resumed.save(3, make_state(3), {})  # the damaged one must not push out the whole
    assert len(names(tmp_path)) == 2
    newest = tmp_path / names(tmp_path)[-1]
    (newest / "sha256").unlink()  # as where the save was killed at its very end
    Checkpoints(tmp_path).save(4, make_state(4), {})  # by one that did not look
    cut(largest(tmp_path / names(tmp_path)[-1]))
    assert restore(tmp_path).step == 1


class Killed(BaseException):
    pass


@pytest.mark.parametrize("kill_at", [1, 2, 3, 4])
@pytest.mark.parametrize("before", [(), (1, 2)], ids=["first", "third"])
def test_a_save_that_is_killed_loses_nothing(tmp_path, monkeypatch, kill_at, before):
    """At the renaming of its two items, of the checkpoint, or of the digests."""
    checkpoints, renamed = saved(tmp_path, *before), itertools.count(1)

    def die(rename, *given):
        if next(renamed) == kill_at:
            raise Killed
        return rename(*given)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        for name in ("rename", "replace"):
            patch.setattr(os, name, functools.partial(die, getattr(os, name)))
        checkpoints.save(3, make_state(3), {})
    if before:
        assert_restores(tmp_path, 2)
    else:
        assert restore(tmp_path) is None
    Checkpoints(tmp_path).save(3, make_state(3), {"at": 3})
    assert len(names(tmp_path)) == max(1, len(before))
    assert_restores(tmp_path, 3)


def test_a_template_that_does_not_fit_is_named(tmp_path):
    Checkpoints(tmp_path).save(1, {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}, {})
    other = {"w": jnp.zeros((2, 4)), "c": jnp.zeros(3)}
    integers = {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3, jnp.int32)}
    for template, message in (
        (other, r"\['b'\].*\['c'\].*\['w'\].*\[2, 3\].*\[2, 4\]"),
        (integers, r"float32.*int32"),
    ):
        with pytest.raises(ValueError, match=message):
            Checkpoints(tmp_path).restore(template)


def test_an_extra_that_is_not_json_changes_nothing(tmp_path):
    with pytest.raises(TypeError):
        Checkpoints(tmp_path).save(1, make_state(1), {"array": np.zeros(2)})
    assert not names(tmp_path)


def test_it_is_quiet(tmp_path, capfd, caplog):
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    try:
        saved(tmp_path, 1).restore(make_state(0))
        assert logging.get_verbosity() == logging.INFO
    finally:
        logging.set_verbosity(verbosity)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_arrays_that_are_much_larger_than_their_files_are_refused(tmp_path):
    """A stranger's checkpoint: zeros take no room on a disk."""
    saved = Checkpoints(tmp_path)
    saved.save(1, {"w": np.zeros((1 << 26) + 1, np.float32)}, {})
    assert sum(path.lstat().st_size for path in tmp_path.rglob("*")) < 1 << 20
    with pytest.raises(ValueError, match="claim to be arrays of 268,435,460"):
        saved.restore()
