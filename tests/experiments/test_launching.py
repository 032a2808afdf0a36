"""From a config to an experiment: what is refused is one line, defects are not."""

import errno
import pathlib
import shutil
from contextlib import nullcontext
from unittest import mock

import pytest
import tiny

from metainit.config.fields import ConfigError
from metainit.experiments import configs, launching
from metainit.runtime import stop
from metainit.runtime.atomic import DamagedError
from metainit.runtime.checkpoint import CheckpointError
from metainit.training.nonfinite import NonFiniteError


@pytest.fixture(autouse=True)
def no_handlers(monkeypatch):
    monkeypatch.setattr(stop, "install", lambda: None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "kept")


def test_a_run_has_the_name_of_its_config():
    for config, folder in (
        ("configs/omniglot.py:20way", "runs/omniglot-20way"),
        ("quickstart.py", "runs/quickstart"),
        ("tune:configs/mlp.py:improved", "runs/tune-configs-mlp.py-improved"),
    ):
        assert launching.default_workdir(config) == pathlib.Path(folder)


FULL, READ_ONLY = "No space left on device", "Read-only file system"


@pytest.mark.parametrize(
    "error, told",
    [
        *(
            (
                kind("data.way is 7;\nthere are 5 classes"),
                "data.way is 7; there are 5 cl",
            )
            for kind in (ConfigError, NonFiniteError, CheckpointError, DamagedError)
        ),
        (OSError(errno.ENOSPC, FULL, "runs/x"), f"runs/x: {FULL}"),
        (OSError(errno.EROFS, READ_ONLY, "runs/x"), f"runs/x: {READ_ONLY}"),
        (RuntimeError(f"a library: [OS error 28: {FULL}]"), FULL),
        (KeyError("a defect of ours keeps its traceback"), None),
    ],
)
def test_what_is_refused_is_one_line_and_a_defect_is_not(
    error, told, monkeypatch, capsys
):
    monkeypatch.setattr(launching, "train", mock.Mock(side_effect=error))
    with nullcontext() if told else pytest.raises(KeyError):
        assert launching.run(configs.default(), pathlib.Path("run"), "") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and told in line


def test_what_is_stopped_says_what_is_kept(tmp_path, monkeypatch, capsys):
    stopped = mock.Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr(launching, "train", stopped)
    assert launching.run(configs.default(), tmp_path, "") == 130
    told = "stopped; what was saved is kept, and the same line goes on\n"
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(
    "mistake, words",
    [
        ({"inner.steps": -1}, ["inner.steps=-1 must be 0 or more"]),
        ({"task.way": 4}, ["way=4", "3 classes"]),
        ({"train_task.queries": 5}, ["shot=1", "queries=5", "'train0', has 5"]),
        (
            lambda at: shutil.copytree(at / "train/train0", at / "test/train0"),
            ["test/train0 and train/train0 have images of one class"],
        ),
        (
            lambda at: (at / "train/train0/1.png").write_bytes(b"no image"),
            ["train/train0/1.png", "data.skip_undecodable"],
        ),
        (lambda at: [shutil.rmtree(at), at.mkdir()], ["images", "no images"]),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, mistake, words):
    images = tiny.draw(tmp_path / "images")
    config = tiny.config(images)
    if callable(mistake):
        mistake(images)
    else:
        config.update_from_flattened_dict(mistake)
    assert launching.run(config, tmp_path / "run", "") == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ") and all(word in line for word in words)
    assert "compiling" not in printed.out and not (tmp_path / "run").exists()
