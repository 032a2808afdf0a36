"""Run folders: what may change in a config, and what is refused."""

import json
import multiprocessing
import os

import pytest

from metainit.runtime import run_folder

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


def stored(folder):
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    return json.loads((folder / "config.json").read_text())


def test_allowed_changes_are_stored(tmp_path):
    folder = tmp_path / "a" / "b"
    run_folder.claim(folder, CONFIG, write=False)
    assert not folder.exists()
    for _ in range(2):
        run_folder.claim(folder, CONFIG, **ALLOWED)
        assert stored(folder) == changed()
    new = changed(iterations=200, log__every=1, log__images__every=2, data__dir="x")
    run_folder.claim(folder, new, **ALLOWED)
    with pytest.raises(ValueError, match=r"iterations: 200 -> 100 \(may only grow\)"):
        run_folder.claim(folder, CONFIG, **ALLOWED)
    assert stored(folder) == new


def test_every_other_difference_is_listed(tmp_path):
    run_folder.claim(tmp_path, CONFIG, **ALLOWED)
    new = changed(inner__steps=3, data__name="omniglot", inner__rate=0.1, log__every=1)
    del new["data"]["split"]
    with pytest.raises(ValueError) as error:
        run_folder.claim(tmp_path, new, **ALLOWED)
    assert (
        'stored -> given: data.name: "glyphs" -> "omniglot"; '
        "data.split: [0.6, 0.2, 0.2] -> (absent); inner.rate: (absent) -> 0.1; "
        "inner.steps: 5 -> 3. Give another --workdir"
    ) in str(error.value)
    assert stored(tmp_path) == changed()


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
    assert (tmp_path / "config.json").read_text() == '{"data": '  # nothing was lost


def hold(folder, connection):
    with run_folder.held(folder):
        connection.send(os.getpid())
        connection.recv()


def test_a_folder_has_one_process_at_a_time(tmp_path):
    """A second one is told who has it; one that is killed leaves it free."""
    spawned, folder = multiprocessing.get_context("spawn"), tmp_path / "a" / "run"
    ours, theirs = spawned.Pipe()
    process = spawned.Process(target=hold, args=(folder, theirs))
    process.start()
    try:
        number = ours.recv()
        with pytest.raises(ValueError, match=f"in use by process {number} on .* since"):
            with run_folder.held(folder):
                pass
    finally:
        process.kill()
        process.join()
    (folder / "meta").mkdir()
    (folder / "meta" / ".report.json.123").write_text("half")  # as one that was killed
    with run_folder.held(folder) as kept:
        assert not list((kept / "meta").iterdir())
        (kept / "meta").rmdir()
        (kept / "file").write_text("")
    assert sorted(x.name for x in folder.iterdir()) == [".lock", "file"]


def test_a_folder_that_stays_empty_is_taken_away(tmp_path):
    with pytest.raises(RuntimeError), run_folder.held(tmp_path / "run"):
        run_folder.claim(tmp_path / "run", CONFIG, write=False)
        raise RuntimeError
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pathlib.Path.mkdir", refuse)
        with pytest.raises(ValueError, match=r"x cannot be written to \(Read-only"):
            run_folder.held(tmp_path / "x").__enter__()
    monkeypatch.setattr(run_folder.os, "access", lambda *_: False)
    monkeypatch.setattr(run_folder.atomic, "write_text", refuse)
    with run_folder.held(tmp_path), pytest.raises(ValueError, match="cannot be writ"):
        run_folder.claim(tmp_path, CONFIG)
