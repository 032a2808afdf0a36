"""The command line: what it accepts, and how it refuses."""

import os
import pathlib
import subprocess
import sys
import textwrap

import pytest
import shipped
from absl import flags

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
    from absl import logging
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


@pytest.fixture
def parse(monkeypatch):
    """launch.py's parsing of its line."""
    return shipped.launcher(monkeypatch)["parse"]


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
    "arguments, told, logged",
    [
        (
            "20way --config.outer.learning_rate=0.5",
            "10 0.5 runs/trial-20way False",
            ["loud"],
        ),
        (
            "1way --workdir=my_results --dry_run --verbosity=0",
            "10 0.001 my_results True",
            ["quiet", "loud"],
        ),
    ],
)
def test_the_flags_reach_the_training(folder, arguments, told, logged):
    """Libraries may warn and not chat, where nothing else is asked for."""
    lines = launch(folder, *f"--config configs/trial.py:{arguments}".split())
    workdir = told.split()[2]
    assert lines[0].startswith("devices: cpu (cpu) x") and "jax " in lines[0]
    assert lines[1] == f"workdir: {workdir}"
    assert lines[2].endswith(f"tensorboard --logdir {workdir}")
    assert lines[3] == told
    assert lines[4].startswith("python ") and lines[4].endswith(arguments)
    assert [line.split("] ")[-1] for line in lines[5:]] == logged
    assert not (folder / workdir).exists()  # making it is for the training


@pytest.mark.parametrize(
    "arguments, words",
    [
        ("--config.foo=1", ["config.foo", "no such field"]),
        ("--config.outer.rate=1", ["config.outer.rate", "outer.learning_rate"]),
        ("--config.iterations.x=1", ["config.iterations.x", "nearest: iterations"]),
        ("--config.iterations=1.5", ["config.iterations=1.5", "int"]),
        ("--config.outer.clip=x", ["config.outer.clip=x", "float"]),
        ("--config.cold_start=maybe", ["config.cold_start=maybe", "boolean"]),
        ("--config.seed=1 --config.outer=3", ["config.outer", "nearest: outer.clip"]),
        ("--config=configs/trial.py:missing", ["unknown variant", "20way"]),
        ("--config=configs/trial.py:broken", ["TypeError", "trial.py, line 8"]),
        ("--config=configs/plain.py:9way", ["plain.py:9way", "variant '9way'"]),
        ("--config=configs/empty.py", ["configs/empty.py", "no get_config()"]),
        ("--config=configs/typo.py", ["configs/typo.py", "no valid Python", "line 1"]),
        ("--config=configs/other.py", ["configs/other.py", "configs/trial.py"]),
        ("--config=configs/other.py --config.seed=1", ["other.py", "configs/trial.py"]),
        ("--wokdir=x", ["wokdir", "workdir"]),
        ("configs/trial.py", ["configs/trial.py", "--config"]),
        ("--config", ["--config"]),
    ],
)
@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
def test_a_mistake_is_one_line(folder, parse, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(folder)
    plain = CONFIG.replace('variant=""', "")
    for name, text in ("plain", plain), ("empty", ""), ("typo", "def get_config(:"):
        pathlib.Path(f"configs/{name}.py").write_text(text)
    if not arguments.startswith("--config="):
        arguments = f"--config=configs/trial.py {arguments}"
    argv = f"launch.py {arguments}".split()
    monkeypatch.setattr(sys, "argv", argv)  # it is looked at
    with pytest.raises(SystemExit, match="2"):
        parse(argv)
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ") and all(word in line for word in words)


@pytest.mark.parametrize(
    "line, iterations",
    [
        ("configs/trial.py:20way --config.seed=1", 10),
        ("quickstart --config.seed=1", 1600),
        ("--config=quickstart.py --config.seed=1", 1600),
        ("--config mlp:improved --config.seed=1", None),
    ],
)
@pytest.mark.filterwarnings("ignore:the load_module")  # of ml_collections
def test_a_file_or_a_name_may_stand_first(folder, parse, monkeypatch, line, iterations):
    monkeypatch.chdir(folder)
    argv = f"launch.py {line}".split()
    monkeypatch.setattr(sys, "argv", argv)  # it is looked at
    assert parse(argv) == ["launch.py"]
    config = flags.FLAGS["config"].value
    assert (config.seed, config.get("iterations")) == (1, iterations)


def test_without_a_config_it_says_how(parse, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse(["launch.py"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("usage: python launch.py --config configs/quickstart.py")


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
