"""From a config to an experiment: what is refused is one line, defects are not."""

import pathlib
import shutil

import pytest
import tiny

from metainit.config.fields import ConfigError
from metainit.experiments import configs, launching
from metainit.runtime import stop
from metainit.runtime.checkpoint import CheckpointError
from metainit.training.loop import NonFiniteError


@pytest.fixture(autouse=True)
def no_handlers(monkeypatch):
    monkeypatch.setattr(stop, "install", lambda: None)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "kept")


@pytest.mark.parametrize(
    "config, folder",
    [
        ("configs/omniglot.py:20way", "runs/omniglot-20way"),
        ("quickstart.py", "runs/quickstart"),
        ("tune:configs/mlp.py:improved", "runs/tune-configs-mlp.py-improved"),
    ],
)
def test_a_run_has_the_name_of_its_config(config, folder):
    assert launching.default_workdir(config) == pathlib.Path(folder)


def raises(error):
    def train(*given, **named):
        raise error

    return train


@pytest.mark.parametrize("error", [ConfigError, NonFiniteError, CheckpointError])
def test_what_the_training_refuses_is_one_line(error, monkeypatch, capsys):
    refusal = raises(error("data.way is 7;\nthere are 5 classes"))
    monkeypatch.setattr(launching, "train", refusal)
    assert launching.run(configs.default(), pathlib.Path("run"), "") == 2
    assert capsys.readouterr().err == "error: data.way is 7; there are 5 classes\n"


def test_a_defect_keeps_its_traceback(monkeypatch):
    monkeypatch.setattr(launching, "train", raises(KeyError("x")))
    with pytest.raises(KeyError):
        launching.run(configs.default(), pathlib.Path("run"), "")


@pytest.fixture
def images(tmp_path):
    return tiny.draw(tmp_path / "images")


def overlap(images):
    shutil.copytree(images / "train" / "train0", images / "test" / "train0")


def damage(images):
    (images / "train" / "train0" / "1.png").write_bytes(b"no image")


def clear(images):
    shutil.rmtree(images)
    images.mkdir()


@pytest.mark.parametrize(
    "mistake, words",
    [
        ({"inner.steps": -1}, ["inner.steps=-1 must be 0 or more"]),
        ({"task.way": 4}, ["way=4", "3 classes"]),
        ({"train_task.queries": 5}, ["shot=1", "queries=5", "'train0', has 5"]),
        (overlap, ["train and test overlap", "train0"]),
        (damage, ["train/train0/1.png", "data.skip_undecodable"]),
        (clear, ["images", "no images"]),
    ],
)
def test_bad_input_is_one_line(images, capsys, mistake, words):
    config = tiny.config(images)
    if callable(mistake):
        mistake(images)
    else:
        config.update_from_flattened_dict(mistake)
    run = images.parent / "run"
    assert launching.run(config, run, "") == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line
    assert "compiling" not in printed.out and not run.exists()
