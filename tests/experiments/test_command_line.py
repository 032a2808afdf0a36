"""The command line of metainit: what it starts, what it lists, how it refuses."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import filelock
import pytest
import shipped
import tiny

import metainit
from metainit.__main__ import COMMANDS, main
from metainit.experiments import configs, launching
from metainit.models import pretrained

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def started(monkeypatch, tmp_path):
    """What `launching.run` was asked for, from an empty folder."""
    monkeypatch.chdir(tmp_path)
    asked = []

    def run(config, workdir, command, **how):
        asked.append((configs.typed(config), str(workdir), command, how))
        return 0

    monkeypatch.setattr(launching, "run", run)
    return asked


def test_train_takes_names_and_fields_from_any_folder(started):
    assert main(["train", "omniglot:20way", "--dry_run", "iterations=5000"]) == 0
    line = "train quickstart.py data.name=x inner.steps=2 --config.seed=3 --out=mine"
    assert main(line.split()) == 0
    (config, folder, command, how), (other, at, _, _) = started
    wanted = shipped.load("omniglot:20way")
    wanted.iterations = 5000
    assert config == configs.typed(wanted) and folder == "runs/omniglot-20way"
    assert command == "metainit train omniglot:20way --dry_run iterations=5000"
    assert how["dry_run"] and not how["yes"] and how["use"] is None
    assert (other.data.name, other.inner.steps, other.seed, at) == ("x", 2, 3, "mine")


def test_train_takes_a_folder_of_images_as_data(started):
    pathlib.Path("photos").mkdir()
    for data in ("photos", "folder:photos", "cifar100"):
        assert main(["train", "maml_conv4", "--data", data]) == 0
    given = [config.data for config, *_ in started]
    names = ["folder:photos", "folder:photos", "cifar100"]
    assert [data.name for data in given] == names
    assert {(*data.train, *data.validation, *data.test) for data in given} == {()}


def test_compare_is_the_transfer_config(started):
    pathlib.Path("my/images").mkdir(parents=True)
    line = "compare my/images runs/a runs/a:joint random transfer.steps=50 --yes"
    assert main(line.split()) == 0
    ((config, folder, command, how),) = started
    wanted = shipped.load("transfer")
    wanted.data.name = "folder:my/images"
    wanted.inits = ("runs/a", "runs/a:joint", "random")
    wanted.transfer.steps = 50
    assert config == configs.typed(wanted) and folder == "runs/compare-images"
    assert command == f"metainit {line}" and how["yes"]


@pytest.mark.parametrize(
    "line, reason",
    [
        ("trian", "no command 'trian'; the nearest: train"),
        ("train quickstat", "quickstat: .*nearest: quickstart"),
        ("train quickstart:9way", "quickstart:9way: unknown variant '9way'"),
        ("train omniglot:5", "unknown variant '5'; there is 5way, 20way"),
        ("train quickstart iteration=5", "iteration: .*nearest: iterations"),
        ("train quickstart inner.step=5", "inner.step: .*nearest: inner.steps"),
        ("train quickstart iterations=few", "iterations='few' must be a whole number"),
        ("train quickstart inner.steps=-1", "inner.steps=-1 must be 0 or more"),
        (
            "train quickstart iterations=250",
            "warm_start=320, iterations=250: .* give warm_start=50, or more .*320",
        ),
        ("train quickstart iterations=3", "give more iterations than 320"),
        ("train mlp --data photos", "--data: this experiment is of its own data"),
        ("train quickstart --data phots", "data 'phots': .*nearest: photos"),
        ("train quickstart --data glyps", "data 'glyps': .*nearest: glyphs"),
        ("train own.py", "own.py: ZeroDivisionError: .*own.py, line 2"),
        ("compare gone random --yse", "no option --yse; the nearest: --yes"),
        ("train", "arguments are required: config"),
        ("train quickstart --wrkdir=x", "no option --wrkdir; the nearest: --workdir"),
        ("train quickstart --iterations 9", "--iterations; .* given as iterations=V"),
        ("compare photos", "inits"),
        ("tune quickstart inner.steps", "'inner.steps' is no FIELD=VALUES"),
        ("finetune", "give the folder of your images"),
        ("finetune photos --init omnigolt", "omnigolt; .* nearest: omniglot"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_nearest(line, reason, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        pathlib.Path("photos").mkdir()
        pathlib.Path("own.py").write_text("def get_config():\n    1 / 0\n")
        try:
            status = main(line.split())
        except SystemExit as left:
            status = left.code
    assert status == 2
    printed = capsys.readouterr()
    (told,) = printed.err.splitlines()
    assert told.startswith("error: ") and re.search(reason, told) and not printed.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_in_an_example_that_is_this_command(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert f"\nexample:\n  metainit {command}" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_list_has_configs_initialisations_and_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = tiny.config(tmp_path / "images")
    for name in ("begun", "done"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(config.to_json_best_effort())
    (tmp_path / "runs/done/report.md").write_text("#")
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    for name, module in shipped.modules().items():
        assert re.search(rf"^  {name} ", text, re.M)
        variants = getattr(module, "VARIANTS", ("",))
        assert getattr(module, "TAKES", {}).keys() <= {*variants}
        assert all(f":{variant}" in text for variant in variants if variant)
    assert all(re.search(f"^  {name} ", text, re.M) for name in pretrained.SHIPPED)
    assert re.search("begun +meta-learning, not finished", text)
    assert re.search("done +meta-learning, finished", text)
    (tmp_path / "runs/begun/config.json").write_bytes(b"\xff")
    assert main(["list"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"begun .*cannot be read", text) and "learning, finished" in text
    assert main(["list", "--runs", "nowhere"]) == 0
    assert "none yet" in capsys.readouterr().out


def test_info_and_version(capsys):
    assert main(["info"]) == 0
    told = capsys.readouterr().out
    assert metainit.__version__ in told and "devices" in told
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"metainit {metainit.__version__}\n"


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Kept files of every kind, beside files of somebody else."""
    monkeypatch.setenv("METAINIT_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    ours = [
        tmp_path / "cache" / ("folder-my-x-32x32x3-" + "0f" * 8) / "train/images.npy",
        tmp_path / "features" / f"{'ab' * 32}.npy",
        tmp_path / "features" / f"{'cd' * 32}.part",
        tmp_path / "xdg/metainit/jax/jit_f-cache",
    ]
    others = [
        tmp_path / "cache/letters/images.npy",
        tmp_path / "features/theirs.npy",
        tmp_path / "downloads/omniglot/omniglot.zip",
        tmp_path / "tfds/glyphs/1.0.0/data",
    ]
    for path in (*ours, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    return ours, others


def test_the_cache_is_told_and_cleared(caches, capsys):
    ours, others = caches
    assert main(["cache"]) == 0
    rows = capsys.readouterr().out.splitlines()[:-1]
    sizes = {row[:10].strip(): row.split("B ")[0].split()[-1] for row in rows}
    assert sizes == {
        "images": "1.00k",
        "features": "2.00k",
        "compiled": "1.00k",
        "downloads": "1.00k",
        "data sets": "1.00k",
    }
    with filelock.FileLock(ours[2].with_suffix(".lock")):  # somebody writes it
        assert main(["cache", "clear"]) == 0
    assert "images: 1.00kB freed\n" in capsys.readouterr().out
    assert [path.exists() for path in ours] == [False, False, True, False]
    assert main(["cache", "clear"]) == 0
    assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in others)


@pytest.mark.slow
def test_a_wheel_works_from_an_empty_folder(tmp_path):
    """Built, unpacked where nothing else is, and asked for what a first user asks."""
    quiet = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    built, site = tmp_path / "dist", tmp_path / "site"
    # Where what builds it is installed, as in CI, nothing is fetched.
    here = ["--no-build-isolation"] * bool(importlib.util.find_spec("hatchling"))
    line = [*quiet, "wheel", "--no-deps", *here, "-w", built, ROOT]
    subprocess.run(line, check=True, timeout=300)
    (wheel,) = built.glob("metainit-*.whl")
    assert wheel.name.startswith(f"metainit-{metainit.__version__}-")
    subprocess.run(
        [*quiet, "install", "--no-deps", "--target", site, wheel],
        check=True,
        timeout=300,
    )
    empty = tmp_path / "empty"
    empty.mkdir()

    def run(*words):
        line = [sys.executable, "-P", "-m", "metainit", *words]
        done = subprocess.run(
            line,
            cwd=empty,
            capture_output=True,
            text=True,
            timeout=300,
            env={
                "PYTHONPATH": str(site),
                "HOME": str(tmp_path),
                "PATH": "/usr/bin:/bin",
            },
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "usage: metainit COMMAND" in run("--help")
    assert str(site / "metainit" / "configs") in run("info")
    for name, path in pretrained.SHIPPED.items():
        weights = site / "metainit" / path.relative_to(ROOT / "metainit")
        assert weights.read_bytes() == path.read_bytes(), name
        assert weights.with_suffix(".md").exists()
    assert "quickstart" in run("list")
    told = run("train", "quickstart", "iterations=20", "warm_start=10", "--dry_run")
    assert "workdir: runs/quickstart" in told and "iterations" in told
    assert not any(empty.iterdir())
