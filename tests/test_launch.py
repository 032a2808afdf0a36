"""The command line: what it accepts, how it refuses, how it stops."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap

import pytest

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
import pathlib, runpy, signal, sys, time, types
sys.path[0] = str(pathlib.Path(sys.argv[1]).parent)
# As in a terminal; a shell starts jobs in the background with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
from metainit.config.fields import ConfigError
from metainit.runtime.checkpoint import CheckpointError
from metainit.training.loop import NonFiniteError

def train(config, workdir, *, dry_run, command):
{body}

sys.modules["metainit.experiments.meta_learning"] = types.SimpleNamespace(train=train)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

REPORT = """
    print(config.iterations, config.outer.learning_rate, workdir, dry_run)
    print(command)
"""


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "trial.py").write_text(CONFIG)
    return tmp_path


def command(*arguments: str, body: str = REPORT) -> list[str]:
    program = TRAIN.format(body=textwrap.indent(textwrap.dedent(body), "    "))
    return [sys.executable, "-c", program, str(ROOT / "launch.py"), *arguments]


def environment(folder: pathlib.Path) -> dict[str, str]:
    own = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache")}
    own.pop("JAX_COMPILATION_CACHE_DIR")  # launch.py's own choice is tested
    return own


def launch(
    folder: pathlib.Path, *arguments: str, body: str = REPORT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, body=body),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
    )


def test_a_run_gets_its_config_and_a_folder_named_after_it(
    folder: pathlib.Path,
) -> None:
    done = launch(
        folder, "--config", "configs/trial.py:20way", "--config.outer.learning_rate=0.5"
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("devices: cpu, ") and "jax " in lines[0]
    assert lines[1] == "workdir: runs/trial-20way"
    assert lines[2].endswith("tensorboard --logdir runs/trial-20way")
    assert lines[3] == "10 0.5 runs/trial-20way False"
    assert lines[4].startswith("python ")
    assert lines[4].endswith("trial.py:20way --config.outer.learning_rate=0.5")
    assert not (folder / "runs").exists()  # making it is for the training


def test_the_flags_reach_the_training(folder: pathlib.Path) -> None:
    done = launch(
        folder, "--config=configs/trial.py", "--workdir=my results", "--dry_run"
    )
    assert done.returncode == 0, done.stderr
    assert "tensorboard --logdir 'my results'" in done.stdout
    assert done.stdout.splitlines()[-2] == "10 0.001 my results True"
    assert done.stdout.endswith("'--workdir=my results' --dry_run\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config=configs/trial.py", "--config.foo=1"], ["config.foo", "iterations"]),
        (
            ["--config=configs/trial.py", "--config.outer.rate=1"],
            ["config.outer.rate", "no such field", "clip, decay_steps, learning_rate"],
        ),
        (
            ["--config=configs/trial.py", "--config.iterations.x=1"],
            ["config.iterations is 10 and has no fields"],
        ),
        (
            ["--config=configs/trial.py", "--config.iterations=1.5"],
            ["config.iterations=1.5", "int", "such as 10"],
        ),
        (
            ["--config=configs/trial.py", "--config.outer.learning_rate=fast"],
            ["config.outer.learning_rate=fast", "float", "such as 0.001"],
        ),
        (
            ["--config=configs/trial.py", "--config.cold_start=maybe"],
            ["config.cold_start=maybe", "such as True"],
        ),
        (
            ["--config=configs/trial.py", "--config.seed=1", "--config.outer=3"],
            ["config.outer"],
        ),
        (
            ["--config=configs/trial.py", "--config.inner.steps=-1"],
            ["inner.steps=-1 must be 0 or more"],
        ),
        (["--config=configs/trial.py:missing"], ["unknown variant", "20way"]),
        (["--config=configs/trial.py:broken"], ["TypeError", "trial.py, line 8"]),
        (["--config=configs/other.py"], ["configs/other.py", "configs/trial.py"]),
        (
            ["--config=configs/other.py", "--config.iterations=1"],
            ["configs/other.py", "configs/trial.py"],
        ),
        (["--config=configs/trial.py", "--wokdir=x"], ["wokdir", "workdir"]),
        (["configs/trial.py"], ["configs/trial.py", "--config"]),
        (["--config"], ["--config"]),
    ],
)
def test_a_mistake_is_one_line(
    folder: pathlib.Path, arguments: list[str], words: list[str]
) -> None:
    done = launch(folder, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    for word in words:
        assert word in line


def test_without_a_config_it_says_how(folder: pathlib.Path) -> None:
    done = launch(folder)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("usage: python launch.py --config configs/quickstart.py")


@pytest.mark.parametrize("error", ["ConfigError", "NonFiniteError", "CheckpointError"])
def test_what_the_training_refuses_is_one_line(
    folder: pathlib.Path, error: str
) -> None:
    refuse = f'raise {error}("data.way is 7;\\nthere are 5 classes")'
    done = launch(folder, "--config=configs/trial.py", body=refuse)
    assert done.returncode == 2
    assert done.stderr == "error: data.way is 7; there are 5 classes\n"


@pytest.mark.parametrize(
    ("arguments", "shown"), [((), ["loud"]), (("--verbosity=0",), ["quiet", "loud"])]
)
def test_libraries_may_warn_and_not_chat(
    folder: pathlib.Path, arguments: tuple[str, ...], shown: list[str]
) -> None:
    body = """
        from absl import logging
        logging.info("quiet")
        logging.warning("loud")
    """
    done = launch(folder, "--config=configs/trial.py", *arguments, body=body)
    assert [line.split("] ")[-1] for line in done.stderr.splitlines()] == shown


def test_a_defect_keeps_its_traceback(folder: pathlib.Path) -> None:
    done = launch(folder, "--config=configs/trial.py", body='raise KeyError("x")')
    assert done.returncode == 1
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_training_save(folder: pathlib.Path, number: int) -> None:
    body = """
        try:
            print("training", flush=True)
            for _ in range(600):  # steps: a handler runs between calls, not in one
                time.sleep(0.1)
        except KeyboardInterrupt:
            print("saved")
            raise
    """
    with subprocess.Popen(
        command("--config=configs/trial.py", body=body),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        while process.stdout.readline() not in ("training\n", ""):
            pass
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "saved\n", "")


def test_compiled_code_is_kept_for_the_next_run(folder: pathlib.Path) -> None:
    body = """
        import jax
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        heard = []
        jax.monitoring.register_event_listener(lambda event, **_: heard.append(event))
        jax.jit(lambda x: x * 2 + 1)(1.0).block_until_ready()
        print("hit" if "/jax/compilation_cache/cache_hits" in heard else "miss")
    """
    runs = [launch(folder, "--config=configs/trial.py", body=body) for _ in range(2)]
    assert [run.stdout.splitlines()[-1] for run in runs] == ["miss", "hit"]
    assert [run.stderr for run in runs] == ["", ""]
    assert any((folder / "cache" / "metainit" / "jax").iterdir())
