"""Checkpoints: bit-identical, found damaged, never lost; folders and configs."""

import json
import os
import shutil
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging

from metainit.runtime import checkpoint as checkpoint_lib
from metainit.runtime import run_folder
from metainit.runtime.checkpoint import CheckpointError, Checkpoints


class State(NamedTuple):
    params: dict
    opt_state: tuple
    step: jax.Array
    extra: dict | None


def make_state(seed: int) -> State:
    keys = jax.random.split(jax.random.key(seed), 2)
    params = {
        "conv/1.kernel": jax.random.normal(keys[0], (3, 3, 4, 8)),
        "dense": {
            "kernel": jax.random.normal(keys[1], (8, 5), jnp.bfloat16),
            "bias": None,
        },
        "layers": [jnp.full((2,), seed, jnp.float32), jnp.zeros((0, 3))],
    }
    optimizer = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.masked(
            optax.adam(1e-3), {"conv/1.kernel": True, "dense": False, "layers": True}
        ),
    )
    extra = {
        "bits": jnp.asarray([seed, 2**32 - 1], jnp.uint32),
        "flag": jnp.asarray(True),
        "nan": jnp.asarray([np.nan, -0.0, np.inf, 1e-45], jnp.float32),
        "numpy": np.arange(3, dtype=np.int64) + 2**40,
        "scalar": np.float64(0.1),
        "count": 7,
        "rate": 0.25,
    }
    return State(params, optimizer.init(params), jnp.asarray(seed, jnp.int32), extra)


def blank(state):
    def zero(x):
        if isinstance(x, jax.Array):
            return jnp.zeros_like(x)
        return np.zeros_like(x) if isinstance(x, np.ndarray) else type(x)(0)

    return jax.tree.map(zero, state)


def assert_identical(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert type(x) is type(y)
        x, y = np.asarray(x), np.asarray(y)
        assert (x.dtype, x.shape) == (y.dtype, y.shape)
        assert x.tobytes() == y.tobytes()


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def warnings(monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda text, *a: said.append(text % a))
    return said


def test_restores_bit_identically_with_structure_and_dtypes(tmp_path):
    state = make_state(3)
    Checkpoints(tmp_path).save(3, state, {"best": 0.5, "seen": [1, 2], "none": None})
    step, restored, extra = Checkpoints(tmp_path).latest(blank(state))
    assert (step, extra) == (3, {"best": 0.5, "seen": [1, 2], "none": None})
    assert_identical(restored, state)


def test_takes_shapes_as_template(tmp_path):
    state = {"w": jnp.arange(6.0).reshape(2, 3), "n": jnp.asarray(2, jnp.uint32)}
    Checkpoints(tmp_path).save(1, state, {})
    _, restored, _ = Checkpoints(tmp_path).latest(jax.eval_shape(lambda: state))
    assert_identical(restored, state)


def test_placement_is_that_of_the_template(tmp_path):
    here = jax.devices()[0]
    state = {"free": jnp.ones(3), "pinned": jax.device_put(jnp.ones(3), here)}
    Checkpoints(tmp_path).save(1, state, {})
    _, restored, _ = Checkpoints(tmp_path).latest(state)
    assert not restored["free"].committed
    assert restored["pinned"].committed


def test_nothing_saved_is_none(tmp_path):
    assert Checkpoints(tmp_path).latest({}) is None
    assert Checkpoints(tmp_path).best({}) is None
    assert not list(tmp_path.iterdir())


def test_keeps_the_last_two_and_the_best_apart(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save_best(1, make_state(1), {"accuracy": 0.9})
    for step in (1, 2, 3, 10):
        checkpoints.save(step, make_state(step), {})
    assert names(tmp_path / "checkpoints") == ["00000003", "00000010"]
    step, state, extra = checkpoints.best(make_state(0))
    assert (step, extra) == (1, {"accuracy": 0.9})
    assert_identical(state, make_state(1))


def test_the_best_leaves_need_no_template(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.best_leaves() is None
    checkpoints.save_best(4, make_state(1), {})
    step, leaves = Checkpoints(tmp_path).best_leaves()
    kernel = leaves[".params['dense']['kernel']"]
    assert step == 4
    assert_identical(kernel, np.asarray(make_state(1).params["dense"]["kernel"]))


def test_a_step_saved_again_replaces_it_and_what_came_after(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, make_state(step), {})
    checkpoints.save(2, make_state(20), {"again": True})
    step, state, extra = Checkpoints(tmp_path).latest(make_state(0))
    assert (step, extra) == (2, {"again": True})
    assert_identical(state, make_state(20))
    checkpoints.save(3, make_state(3), {})
    assert names(tmp_path / "checkpoints") == ["00000002.1", "00000003"]


def largest(folder):
    files = (p for p in folder.rglob("*") if p.is_file())
    return max(files, key=lambda p: p.stat().st_size)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE = {
    "data cut": lambda f: cut(largest(f)),
    "data bit flipped": lambda f: flip(largest(f)),
    "data gone": lambda f: largest(f).unlink(),
    "orbax metadata gone": lambda f: (f / "state" / "_METADATA").unlink(),
    "state gone": lambda f: shutil.rmtree(f / "state"),
    "json cut": lambda f: cut(f / "checkpoint.json"),
    "json edited": lambda f: flip(f / "checkpoint.json"),
    "json gone": lambda f: (f / "checkpoint.json").unlink(),
    "digest gone": lambda f: (f / "checkpoint.sha256").unlink(),
    "digest empty": lambda f: (f / "checkpoint.sha256").write_text(""),
    "all gone": lambda f: [shutil.rmtree(f), f.mkdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_falls_back_from_a_damaged_checkpoint_and_says_so(tmp_path, damage, warnings):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, make_state(step), {"at": step})
    newest = tmp_path / "checkpoints" / "00000002"
    DAMAGE[damage](newest)
    step, state, extra = Checkpoints(tmp_path).latest(make_state(0))
    assert (step, extra) == (1, {"at": 1})
    assert_identical(state, make_state(1))
    (warning,) = warnings
    assert str(newest) in warning and "damaged" in warning


def test_any_file_cut_is_noticed(tmp_path, warnings):
    Checkpoints(tmp_path).save(1, make_state(1), {})
    folder = tmp_path / "checkpoints" / "00000001"
    files = [p for p in sorted(folder.rglob("*")) if p.is_file() and p.stat().st_size]
    assert len(files) >= 4
    for path in files:
        content = path.read_bytes()
        os.truncate(path, len(content) - 1 - (path.suffix == ".sha256") * 30)
        with pytest.raises(CheckpointError, match="all damaged"):
            Checkpoints(tmp_path).latest(make_state(0))
        path.write_bytes(content)
    assert Checkpoints(tmp_path).latest(make_state(0)) is not None


def test_the_only_good_checkpoint_outlives_damaged_ones(tmp_path, warnings):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, make_state(step), {})
    cut(largest(tmp_path / "checkpoints" / "00000002"))
    resumed = Checkpoints(tmp_path)
    assert resumed.latest(make_state(0))[0] == 1
    resumed.save(3, make_state(3), {})  # the damaged 2 must not push out 1
    assert names(tmp_path / "checkpoints") == ["00000001", "00000003"]
    cut(largest(tmp_path / "checkpoints" / "00000003"))
    assert Checkpoints(tmp_path).latest(make_state(0))[0] == 1


def test_no_readable_checkpoint_is_one_clear_error(tmp_path, warnings):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, make_state(step), {})
        cut(largest(tmp_path / "checkpoints" / f"{step:08d}"))
    with pytest.raises(
        CheckpointError, match=r"all damaged.*00000002.*00000001.*--workdir"
    ):
        checkpoints.latest(make_state(0))
    assert names(tmp_path / "checkpoints") == ["00000001", "00000002"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", ["state", "rename"])
def test_a_save_that_is_killed_loses_nothing(tmp_path, monkeypatch, at):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, make_state(step), {})
    with monkeypatch.context() as patch:

        def die(*args, **kwargs):
            raise Killed

        patch.setattr(shutil, "rmtree", lambda *a, **k: None)  # nothing tidies up
        if at == "state":
            patch.setattr(checkpoint_lib, "_digests", die)
        else:
            patch.setattr(os, "rename", die)
        with pytest.raises(Killed):
            checkpoints.save(3, make_state(3), {})
    assert len(names(tmp_path / "checkpoints")) == 3  # the leftover is there
    resumed = Checkpoints(tmp_path)
    step, state, _ = resumed.latest(make_state(0))
    assert step == 2
    assert_identical(state, make_state(2))
    resumed.save(3, make_state(3), {})
    assert names(tmp_path / "checkpoints") == ["00000002", "00000003"]
    assert_identical(resumed.latest(make_state(0))[1], make_state(3))


def test_a_template_that_does_not_fit_is_named(tmp_path):
    Checkpoints(tmp_path).save(1, {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3)}, {})
    template = {"w": jnp.zeros((2, 4)), "c": jnp.zeros(3)}
    with pytest.raises(
        ValueError, match=r"\['b'\].*\['c'\].*\['w'\].*\[2, 3\].*\[2, 4\]"
    ):
        Checkpoints(tmp_path).latest(template)
    with pytest.raises(ValueError, match=r"float32.*int32"):
        Checkpoints(tmp_path).latest(
            {"w": jnp.zeros((2, 3)), "b": jnp.zeros(3, jnp.int32)}
        )


def test_an_extra_that_is_not_json_changes_nothing(tmp_path):
    with pytest.raises(TypeError):
        Checkpoints(tmp_path).save(1, make_state(1), {"array": np.zeros(2)})
    assert not list(tmp_path.iterdir())


def test_is_quick_and_quiet(tmp_path, capfd, caplog):
    params = {str(i): jnp.ones((10, 1000)) for i in range(10)}
    state = (params, optax.adam(1e-3).init(params))
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    try:
        checkpoints = Checkpoints(tmp_path)
        start = time.perf_counter()
        checkpoints.save(1, state, {})
        saved = time.perf_counter()
        checkpoints.latest(state)
        restored = time.perf_counter()
        assert logging.get_verbosity() == logging.INFO
    finally:
        logging.set_verbosity(verbosity)
    # Measured 0.05 s and 0.03 s; the limits leave room for a busy machine.
    assert saved - start < 0.5
    assert restored - saved < 0.5
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


CONFIG = {
    "data": {"name": "glyphs", "split": (0.6, 0.2, 0.2), "dir": ""},
    "inner": {"steps": 5},
    "iterations": 100,
    "log": {"every": 10, "images": {"every": 50}},
}
ALLOWED = {"may_change": ["log", "data.dir"], "only_up": ["iterations"]}


def changed(**dotted):
    config = json.loads(json.dumps(CONFIG))
    for name, value in dotted.items():
        *path, last = name.split("__")
        node = config
        for part in path:
            node = node[part]
        node[last] = value
    return config


def test_a_workdir_takes_its_own_config_again(tmp_path):
    run_folder.claim(tmp_path / "a" / "b", CONFIG)
    stored = (tmp_path / "a" / "b" / "config.json").read_text()
    assert json.loads(stored) == json.loads(json.dumps(CONFIG))
    run_folder.claim(tmp_path / "a" / "b", CONFIG)
    assert names(tmp_path / "a" / "b") == ["config.json"]


def test_allowed_changes_are_stored(tmp_path):
    run_folder.claim(tmp_path, CONFIG, **ALLOWED)
    new = changed(iterations=200, log__every=1, log__images__every=2, data__dir="x")
    run_folder.claim(tmp_path, new, **ALLOWED)
    assert json.loads((tmp_path / "config.json").read_text()) == new
    with pytest.raises(ValueError, match=r"iterations: 200 -> 100 \(may only grow\)"):
        run_folder.claim(tmp_path, CONFIG, **ALLOWED)


def test_every_other_difference_is_listed(tmp_path):
    run_folder.claim(tmp_path, CONFIG, **ALLOWED)
    new = changed(inner__steps=3, data__name="omniglot", inner__rate=0.1, log__every=1)
    del new["data"]["split"]
    with pytest.raises(ValueError) as error:
        run_folder.claim(tmp_path, new, **ALLOWED)
    message = str(error.value)
    assert 'data.name: "glyphs" -> "omniglot"' in message
    assert "data.split: [0.6, 0.2, 0.2] -> (absent)" in message
    assert "inner.rate: (absent) -> 0.1" in message
    assert "inner.steps: 5 -> 3" in message
    assert "log.every" not in message and "iterations" not in message
    assert "--workdir" in message and "\n" not in message
    assert json.loads((tmp_path / "config.json").read_text())["inner"] == {"steps": 5}


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / ".hidden").touch()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"holds files but no config\.json"):
        run_folder.claim(tmp_path, CONFIG)
    with pytest.raises(ValueError, match="is a file"):
        run_folder.claim(tmp_path / "thesis.tex", CONFIG)
    (tmp_path / "thesis.tex").unlink()
    run_folder.claim(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text('{"data": ')
    with pytest.raises(ValueError, match=r"cannot be read.* another --workdir"):
        run_folder.claim(tmp_path, CONFIG)
    with pytest.raises(ValueError, match=r"^out: .*cannot be read.* another --out"):
        run_folder.claim(tmp_path, CONFIG, flag="--out")
