"""What stands in cloud/ parses, and gives launch.py the right words.

Nothing of a cloud or a cluster is there: programs of their names write what they get.
"""

import os
import pathlib
import signal
import subprocess

import pytest
import yaml

_ROOT = pathlib.Path(__file__).parents[1]
_CLOUD = _ROOT / "cloud"
_TASKS = ("data", "train")


@pytest.mark.parametrize("name", _TASKS)
def test_skypilot_takes_the_task(name):
    sky = pytest.importorskip("sky", reason="pip install skypilot, elsewhere")
    task = sky.Task.from_yaml(str(_CLOUD / f"{name}.yaml"))
    assert task.run and task.setup and task.storage_mounts
    assert all(x.use_spot == (name == "train") for x in task.resources)


def program(folder, name, text):
    """Puts a program of this name into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (folder / name).chmod(0o755)


def told(tmp_path, name, **environment):
    """The words that a task's `run` gives to python or metainit."""
    task = yaml.safe_load((_CLOUD / f"{name}.yaml").read_text())
    subprocess.run(["bash", "-nc", task["setup"]], check=True)
    for of in ("python", "metainit"):
        program(tmp_path / "metainit-venv/bin", of, 'printf "%s\\n" "$@"')
    given = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **task["envs"]}
    shell = ["bash", "-c", task["run"]]
    return subprocess.run(
        shell, env=given | environment, check=True, capture_output=True, text=True
    ).stdout.splitlines()


@pytest.mark.parametrize("number", [0, 1])
def test_each_machine_is_told_its_number_and_the_address_of_the_first(tmp_path, number):
    words = told(
        tmp_path,
        "train",
        FLAGS="--config.max_hours=20 --config.seed=3",
        SKYPILOT_NODE_IPS="10.0.0.4\n10.0.0.9",
        SKYPILOT_NUM_NODES="2",
        SKYPILOT_NODE_RANK=str(number),
    )
    assert words == [
        *("launch.py", "--config", "configs/maml_resnet50.py"),
        *("--workdir", f"{tmp_path}/runs/maml_resnet50", "--yes"),
        *("--config.max_hours=20", "--config.seed=3"),
        *("--coordinator=10.0.0.4:12355", "--processes=2", f"--process={number}"),
    ]


def test_prepared_data_sets_and_nothing_else_go_into_the_bucket(tmp_path):
    for folder in ("tfds/cifar100", "downloads/cifar100"):
        (tmp_path / "metainit-data" / folder).mkdir(parents=True)
    words = told(tmp_path, "data", NAMES="cifar100 caltech256")
    names = ["datasets", "prepare", "cifar100", "caltech256"]
    assert words == [*names, "--data_dir", f"{tmp_path}/metainit-data"]
    assert os.listdir(tmp_path / "bucket") == ["tfds"]
    assert os.listdir(tmp_path / "bucket" / "tfds") == ["cifar100"]


def batch(tmp_path, srun, *words):
    """Begins the SLURM script, where `srun` and `scontrol` are programs of ours."""
    program(tmp_path / "bin", "srun", srun)
    program(tmp_path / "bin", "scontrol", f'echo "$@" > {tmp_path}/scontrol')
    program(tmp_path / "venv/bin", "activate", "")
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    slurm = {"SLURM_JOB_ID": "17", "METAINIT_VENV": str(tmp_path / "venv")}
    return subprocess.Popen(
        ["bash", str(_CLOUD / "metainit.sbatch"), *words],
        env={"HOME": str(tmp_path), "PATH": path} | slurm,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_slurm_runs_the_config_with_its_flags_and_passes_its_status_on(tmp_path):
    with batch(tmp_path, 'echo "$@"; exit 2', "configs/x.py", "--config.seed=3") as job:
        words, _ = job.communicate()
    launch = "python launch.py --config configs/x.py --yes --config.seed=3"
    assert words == f"--kill-on-bad-exit=1 {launch}\n"
    assert job.returncode == 2 and not (tmp_path / "scontrol").exists()
    with batch(tmp_path, "") as job:
        _, words = job.communicate()
    assert job.returncode == 1 and "usage: sbatch" in words


def test_slurm_stops_a_run_before_its_time_is_over_and_requeues_it(tmp_path):
    # As launch.py does, it saves and ends with 130.
    srun = f"""
    trap 'sleep 0.2; touch {tmp_path}/saved; exit 130' TERM
    echo began
    while true; do sleep 0.05; done
    """
    with batch(tmp_path, srun, "configs/x.py") as job:
        assert job.stdout.readline() == "began\n"
        job.send_signal(signal.SIGUSR1)
        job.communicate()
    assert job.returncode == 0
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "scontrol").read_text() == "requeue 17\n"
