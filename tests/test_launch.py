"""launch.py: a door to `metainit train`, whose config may stand anywhere."""

import os
import pathlib
import re
import runpy
import subprocess
import sys
import textwrap

import pytest

from metainit.__main__ import main

ROOT = pathlib.Path(__file__).resolve().parents[1]

CONFIG = """
from metainit.experiments import configs

def get_config(variant=""):
    if variant == "missing":
        raise ValueError("unknown variant 'missing'; there is 20way")
    if variant == "broken":
        return 1 + None
    config = configs.default()
    config.iterations = 10
    return config
"""

# Stands in for the training, which launch.py calls once.
TRAIN = """
import pathlib, runpy, sys, types
sys.path[0] = str(pathlib.Path(sys.argv[1]).parent)

def train(config, workdir, *, dry_run, command):
{body}

sys.modules["metainit.experiments.meta_learning"] = types.SimpleNamespace(train=train)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

REPORT = """
    import logging
    logging.info("quiet")
    logging.warning("loud")
    print(config.iterations, config.outer.learning_rate, workdir, dry_run)
    print(command)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "trial.py").write_text(CONFIG)
    return tmp_path


def words(line):
    """The words of `metainit train` for those of launch.py."""
    return runpy.run_path(str(ROOT / "launch.py"))["words"](line.split())


def launch(folder, *arguments, body=REPORT):
    """Lines of standard output and of standard error; the status is 0."""
    program = TRAIN.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    environment.pop("JAX_COMPILATION_CACHE_DIR")  # launch.py's own choice is tested
    line = [sys.executable, "-c", program, str(ROOT / "launch.py"), *arguments]
    how = {"cwd": folder, "env": environment, "capture_output": True, "text": True}
    done = subprocess.run(line, check=False, **how)
    assert done.returncode == 0, done.stderr
    return [*done.stdout.splitlines(), *done.stderr.splitlines()]


@pytest.mark.parametrize(
    "arguments, reached",
    [
        ("20way --config.outer.learning_rate=0.5", "10 0.5 runs/trial-20way False"),
        ("1way --workdir=my_results --dry_run", "10 0.001 my_results True"),
    ],
)
def test_the_options_reach_the_training(folder, arguments, reached):
    """Libraries may warn and not chat."""
    lines = launch(folder, *f"--config configs/trial.py:{arguments}".split())
    workdir = reached.split()[2]
    assert lines[0].startswith("devices: cpu (cpu) x") and "jax " in lines[0]
    assert lines[1] == f"workdir: {workdir}"
    assert lines[2].endswith(f"tensorboard --logdir {workdir}")
    assert lines[3] == reached
    assert lines[4] == f"metainit train configs/trial.py:{arguments}"
    assert lines[5:] == ["warning: loud"]
    assert not (folder / workdir).exists()  # making it is for the training


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("--config.foo=1", "trial.py: foo: there is no such field"),
        ("--config.outer.rate=1", "outer.rate: .*nearest: outer.learning_rate"),
        ("--config.iterations.x=1", "iterations.x: .*nearest: iterations"),
        ("--config.iterations=1.5", "iterations=1.5 must be a whole number"),
        ("--config.outer.clip=x", "outer.clip='x' must be a number"),
        ("--config.cold_start=maybe", "cold_start='maybe' must be True or False"),
        ("--config.seed=1 --config.outer=3", "outer=3 must be a section"),
        ("--config=configs/trial.py:missing", "unknown variant 'missing'; there is"),
        ("--config=configs/trial.py:broken", "TypeError: .*trial.py, line 8"),
        ("--config=configs/plain.py:9way", "plain.py:9way: unknown variant '9way'"),
        ("--config=configs/empty.py", "configs/empty.py: it defines no get_config"),
        ("--config=configs/typo.py", "typo.py: it is no valid Python.*line 1"),
        ("--config=configs/other.py", "other.py: no such .*configs/trial.py"),
        ("--config=configs/other.py --config.seed=1", "other.py: .*configs/trial.py"),
        ("--wokdir=x", "no option --wokdir; the nearest: --workdir"),
        ("configs/trial.py", "'configs/trial.py' is no FIELD=VALUE"),
        ("--config", "there is no option --config"),
    ],
)
def test_a_mistake_is_one_line(folder, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(folder)
    plain = CONFIG.replace('variant=""', "")
    for name, text in ("plain", plain), ("empty", ""), ("typo", "def get_config(:"):
        pathlib.Path(f"configs/{name}.py").write_text(text)
    if not arguments.startswith("--config="):
        arguments = f"--config=configs/trial.py {arguments}"
    try:
        status = main(words(arguments))
    except SystemExit as ended:  # of argparse
        status = ended.code
    printed = capsys.readouterr()
    assert (status, printed.out) == (2, "")
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line)


@pytest.mark.parametrize(
    "line",
    [
        "quickstart --config.seed=1 --yes",
        "--config quickstart --config.seed=1 --yes",
        "--config.seed=1 --config=quickstart --yes",
        "--config.seed=1 --yes --config quickstart",
    ],
)
def test_the_config_may_stand_anywhere(line):
    assert words(line) == "train quickstart --config.seed=1 --yes".split()


@pytest.mark.parametrize("line", [[], ["--config"]])
def test_without_a_config_it_says_how(line):
    program = [sys.executable, str(ROOT / "launch.py"), *line]
    done = subprocess.run(program, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    (usage,) = done.stderr.splitlines()
    assert usage.startswith("usage: python launch.py --config configs/quickstart.py")


def test_compiled_code_is_kept_for_the_next_run(folder):
    body = """
        import jax
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        heard = []
        jax.monitoring.register_event_listener(lambda event, **_: heard.append(event))
        jax.jit(lambda x: x * 2 + 1)(1.0).block_until_ready()
        print("hit" if "/jax/compilation_cache/cache_hits" in heard else "miss")
    """
    runs = [launch(folder, "--config=configs/trial.py", body=body) for _ in range(2)]
    assert [lines[3:] for lines in runs] == [["miss"], ["hit"]]
    assert any((folder / "cache" / "metainit" / "jax").iterdir())
