"""Checkpoints: bit-identical, found damaged, never lost, and nobody waits for them."""

import errno
import functools
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging
from safetensors.numpy import save_file

from metainit.runtime import atomic, digest
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


def save(folder, *given):
    """Checkpoints of one that is on disk."""
    checkpoints = Checkpoints(folder)
    checkpoints.save(*given)
    checkpoints.wait()
    return checkpoints


def saved(folder, *steps):
    """Checkpoints of these steps; the newest two are kept."""
    checkpoints = Checkpoints(folder)
    for step in steps:
        checkpoints.save(step, make_state(step), {"at": step})
    checkpoints.wait()
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
    save(tmp_path, 3, state, given)
    step, restored, extra = Checkpoints(tmp_path).restore(make_state(0))
    assert step == 3 and repr(extra) == repr(given)
    assert_identical(restored, state)


def test_templates_may_be_shapes_and_say_where_leaves_go(tmp_path):
    pinned = jax.device_put(jnp.ones(3), jax.devices()[0])
    state = {"free": jnp.arange(3.0), "pinned": pinned}
    save(tmp_path, 1, state, {})
    for template in (jax.eval_shape(lambda: state), state):
        restored = Checkpoints(tmp_path).restore(template).state
        assert_identical(restored, state)
    assert not restored["free"].committed and restored["pinned"].committed
    by_name = Checkpoints(tmp_path).restore().state  # without a template
    assert_identical(by_name["['free']"], np.arange(3, dtype=np.float32))


def test_saving_again_and_again_takes_no_memory(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    state = {str(number): np.zeros((3, 3)) for number in range(100)}

    def kept(times):
        for _ in range(times):
            checkpoints.save(1, state, {})
        checkpoints.wait()
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before, after = kept(2), kept(3)
    finally:
        tracemalloc.stop()
    assert after - before < 3 * 15_000


def test_leaves_that_are_not_in_the_arrays_are_refused(tmp_path):
    values = {"['w']": np.zeros(3, np.float32)}
    for kind in (["float32", [4]], ["O", [3]], ["float32", [1 << 40]], ["what", [3]]):
        about = json.dumps({"step": 1, "extra": {}, "leaves": {"['w']": kind}})
        metadata = {"about": about, "sha256": digest.sha256([about, values])}
        save_file(values, tmp_path / "0.safetensors", metadata)
        with pytest.raises(CheckpointError, match="checkpoints 0 are all damaged"):
            Checkpoints(tmp_path).restore()


def test_keeps_the_last_two_whatever_their_steps(tmp_path):
    saved(tmp_path, 1, 2, 3, 10, 2)
    assert names(tmp_path) == ["3.safetensors", "4.safetensors"]
    assert_restores(tmp_path, 2)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def clear(path):
    path.write_bytes(b"")


def zero(path):
    """As after a loss of power."""
    path.write_bytes(bytes(path.stat().st_size))


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_whatever_is_not_as_saved_is_found_and_the_one_before_taken(tmp_path, warnings):
    saved(tmp_path, 1, 2)
    newest, before = tmp_path / "1.safetensors", tmp_path / "0.safetensors"
    content = newest.read_bytes()
    header = 8 + int.from_bytes(content[:8], "little")
    bytes_flipped = [*range(0, header, 37), header, len(content) // 2, len(content) - 1]
    damages = [
        cut,
        clear,
        zero,
        *(functools.partial(flip, at=x) for x in bytes_flipped),
    ]
    for damage in damages:
        damage(newest)
        assert_restores(tmp_path, 1)
        assert f"{tmp_path}: checkpoint 1 is damaged" in warnings.pop()
        newest.write_bytes(content)
    assert_restores(tmp_path, 2)
    newest.unlink()
    assert_restores(tmp_path, 1)
    newest.write_bytes(content[:-1])
    cut(before)
    with pytest.raises(CheckpointError, match=f"^{tmp_path}: .*1 and 0.*--workdir"):
        restore(tmp_path)
    assert names(tmp_path) == ["0.safetensors", "1.safetensors"]


def test_the_only_good_checkpoint_outlives_damaged_ones(tmp_path, warnings):
    saved(tmp_path, 1, 2)
    cut(tmp_path / "1.safetensors")
    resumed = Checkpoints(tmp_path)
    for _ in range(2):
        assert resumed.restore(make_state(0)).step == 1
    resumed.save(3, make_state(3), {})  # the damaged one must not push out the whole
    resumed.wait()
    assert len(names(tmp_path)) == 2
    cut(tmp_path / names(tmp_path)[-1])
    assert restore(tmp_path).step == 1


def test_a_checkpoint_of_an_earlier_format_says_which_version_reads_it(tmp_path):
    (tmp_path / "3" / "state").mkdir(parents=True)
    words = f"^{tmp_path} was written by .*: metainit at commit afad02c reads it; start"
    with pytest.raises(CheckpointError, match=words) as caught:
        Checkpoints(tmp_path).restore()
    assert "\n" not in str(caught.value)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("place", ["replace", "unlink"])
@pytest.mark.parametrize("before", [(), (1, 2)], ids=["first", "third"])
def test_a_save_that_is_killed_loses_nothing(tmp_path, monkeypatch, place, before):
    """Where the checkpoint gets its name, or where an old one goes."""
    checkpoints = saved(tmp_path, *before)

    def die(*given, **options):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, place, die)
        checkpoints.save(3, make_state(3), {"at": 3})
        checkpoints.wait()
    if place == "unlink":
        assert_restores(tmp_path, 3)
    elif before:
        assert_restores(tmp_path, 2)
    else:
        assert restore(tmp_path) is None
    saved(tmp_path, 3)
    assert len(finished(tmp_path)) == min(2, 1 + len(before) + (place == "unlink"))
    assert_restores(tmp_path, 3)


@pytest.fixture
def disk(monkeypatch):
    """Saves are written to the disk when this is set."""
    ready = threading.Event()

    def write(path, content):
        assert ready.wait(60)
        made(path, content)

    made = atomic.write_bytes
    monkeypatch.setattr(atomic, "write_bytes", write)
    yield ready
    ready.set()


def finished(folder):
    return [name for name in names(folder) if name.endswith(".safetensors")]


def full_disk(path, content):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_save_returns_while_it_is_written(tmp_path, disk):
    """With what the state was then."""
    array, extra = np.arange(3.0), {"seen": [1]}
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"w": array}, extra)
    array[:], extra["seen"] = 7.0, [2]
    assert not finished(tmp_path)
    threading.Timer(0.1, disk.set).start()
    step, state, extra = checkpoints.restore()  # which waits for it
    assert (step, extra) == (1, {"seen": [1]})
    np.testing.assert_array_equal(state["['w']"], np.arange(3.0))
    assert names(tmp_path) == ["0.safetensors"]


def test_what_keeps_a_save_from_the_disk_is_raised_later(tmp_path, monkeypatch):
    """By the next save, or by waiting; once."""
    checkpoints = saved(tmp_path, 1, 2)
    for then in (lambda: checkpoints.save(4, make_state(4), {}), checkpoints.wait):
        with monkeypatch.context() as patch:
            patch.setattr(atomic, "write_bytes", full_disk)
            checkpoints.save(3, make_state(3), {"at": 3})
            with pytest.raises(OSError, match="No space left"):
                then()
        checkpoints.wait()
        assert names(tmp_path) == ["0.safetensors", "1.safetensors"]
        assert_restores(tmp_path, 2)
    checkpoints.save(5, make_state(5), {"at": 5})
    checkpoints.wait()
    assert names(tmp_path) == ["1.safetensors", "2.safetensors"]
    assert_restores(tmp_path, 5)


def test_a_save_is_there_after_that_which_it_speaks_of(tmp_path, monkeypatch):
    """And not at all where that is not."""

    def write(path, content):
        if path.parent.name == "best":
            assert begun.wait(60)
            if full:
                full_disk(path, content)
        else:
            assert finished(tmp_path / "best") == ["0.safetensors"]
        made(path, content)

    made, begun, full = atomic.write_bytes, threading.Event(), []
    monkeypatch.setattr(atomic, "write_bytes", write)
    best, last = Checkpoints(tmp_path / "best"), Checkpoints(tmp_path / "last")
    best.save(1, make_state(1), {"at": 1})
    last.save(1, make_state(1), {"at": 1}, best)
    begun.set()
    last.wait()
    best.wait()
    full.append(True)
    best.save(2, make_state(2), {"at": 2})
    last.save(2, make_state(2), {"at": 2}, best)
    for checkpoints in last, best:
        with pytest.raises(OSError, match="No space left"):
            checkpoints.wait()
    assert finished(tmp_path / "last") == finished(tmp_path / "best")
    assert finished(tmp_path / "best") == ["0.safetensors"]


def test_a_signal_waits_until_a_save_has_begun(tmp_path, monkeypatch, heeding_signals):
    def signalled(thread, *given):
        signal.raise_signal(signal.SIGTERM)
        return submit(thread, *given)

    submit, checkpoints = ThreadPoolExecutor.submit, Checkpoints(tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ThreadPoolExecutor, "submit", signalled)
        checkpoints.save(1, make_state(1), {"at": 1})
    checkpoints.wait()
    assert_restores(tmp_path, 1)


def test_a_template_that_does_not_fit_is_named(tmp_path):
    save(tmp_path, 1, {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}, {})
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


FULL = """
import resource, sys
import numpy as np
from metainit.runtime.checkpoint import Checkpoints
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # bytes of a file
drawn = np.random.default_rng(0).normal(size=(50, 1000))
for folder in sys.argv[1:]:
    checkpoints = Checkpoints(folder)
    checkpoints.save(1, {str(number): row for number, row in enumerate(drawn)}, {})
    try:
        checkpoints.wait()
    except Exception as error:
        print("File too large" in str(error))
"""


def test_a_disk_that_takes_no_more_is_told_by_the_error_alone(tmp_path):
    folders = [str(tmp_path / str(number)) for number in range(3)]
    line = [sys.executable, "-c", FULL, *folders]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("True\n" * 3, "")
