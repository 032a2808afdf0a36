"""What an experiment needs is prepared first, once its plan was shown."""

import os
import subprocess
import sys
from pathlib import Path

import mini_caltech
import pytest

from metainit.data import loading
from metainit.data.builders import catalog, first_use
from metainit.experiments import configs

NAME = "caltech256"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder with the archive of three classes, and a catalog that knows it."""
    content = mini_caltech.archive(tmp_path / "downloads" / NAME / mini_caltech.FILE)
    monkeypatch.setitem(catalog.CATALOG, NAME, mini_caltech.entry(content))
    return tmp_path


def data(root: Path):
    wanted = configs.default().data
    wanted.update(name=NAME, data_dir=str(root), size=8, split=(0.34, 0.33, 0.33))
    return wanted


def test_it_is_shown_prepared_and_read(root, capsys):
    wanted = data(root)
    assert loading.of_catalog(wanted) == (NAME,)
    made = first_use.show((NAME,), root, 8, 1)
    told = capsys.readouterr().out
    assert "to prepare first:" in told and "terms: " in told and "licence: " in told
    with pytest.raises(ValueError, match="prepare caltech256"):
        loading.load(wanted)
    first_use.obtain(made, root, agreed=True)
    roles = loading.load(wanted)
    classes = [source.class_names for (source,) in roles[:3]]
    assert sorted(sum(classes, ())) == list(mini_caltech.CLASSES)
    assert sum(len(source.images) for (source,) in roles[:3]) == mini_caltech.IMAGES
    capsys.readouterr()
    assert first_use.show((NAME,), root, 8, 1).rows == []
    assert capsys.readouterr().out == ""


def test_a_reduced_data_set_says_so_wherever_it_is_named(root):
    from metainit.data.builders import prepare
    from metainit.data.builders.base import Options

    prepare.prepare(NAME, root, options=Options(max_side=6))
    (source,) = loading.load(data(root)).train
    assert source.name == f"{NAME} (max_side=6)"


@pytest.mark.parametrize("answer, prepares", [("y", True), ("", False), ("no", False)])
def test_on_a_terminal_it_asks(root, monkeypatch, answer, prepares):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    made = first_use.show((NAME,), root, 8, 1)
    if prepares:
        first_use.obtain(made, root, agreed=False)
    else:
        with pytest.raises(ValueError, match="nothing was prepared; pass --yes"):
            first_use.obtain(made, root, agreed=False)
    assert (root / "tfds" / NAME).exists() == prepares


def launch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "launch.py", "--config=configs/maml_conv4.py"),
            *(f"--config.data.data_dir={folder}", f"--workdir={folder}/run"),
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_shows_the_plan_of_all_seven(tmp_path):
    small = ("data.size=16", "model.filters=4", "inner.steps=1", "joint.batch=8")
    fields = [f"--config.{field}" for field in (*small, "method.gradient=first_order")]
    done = launch(tmp_path, "--dry_run", *fields)
    assert done.returncode == 0, done.stderr
    assert "in all, of max_hours" in done.stdout
    for name in catalog.CATALOG:
        assert f"{name}: download" in done.stdout
    assert not {path.name for path in tmp_path.iterdir()} - {"cache"}


def test_without_agreement_nothing_is_fetched(tmp_path):
    done = launch(tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    # On a small disk, that is what it says first.
    assert "--yes" in done.stderr or "not enough room" in done.stderr
    assert not {path.name for path in tmp_path.iterdir()} - {"cache"}


@pytest.mark.parametrize(
    "flag, words",
    [
        ("--config.data.split=(0.6,0.4)", "data.split=(0.6, 0.4) must be three shares"),
        ("--config.data.train=(5,)", "data.train: 5 must be a name"),
    ],
)
def test_a_mistake_in_the_data_is_told_before_a_data_set_is_looked_for(
    tmp_path, flag, words
):
    done = launch(tmp_path, flag)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert words in done.stderr
