"""Runs an experiment of any kind from its config, as the command line does."""

import dataclasses
import json
import os
import re
import shlex
import signal
import sys
from pathlib import Path

import jax

from metainit.config.fields import ConfigError, Experiment, Search, own_size
from metainit.data import cache, kept, loading
from metainit.data.builders import plan
from metainit.experiments import configs
from metainit.experiments.configs import Config, Typed
from metainit.experiments.meta_learning import train
from metainit.runtime import atomic, devices, hosts, placement, run_folder, stop
from metainit.runtime.atomic import DamagedError
from metainit.runtime.checkpoint import CheckpointError
from metainit.runtime.hosts import NO_OTHERS, Others
from metainit.training.nonfinite import NonFiniteError

_REFUSALS = ConfigError, NonFiniteError, CheckpointError, DamagedError


def default_workdir(config: str) -> Path:
    """Names a run's folder: "configs/omniglot.py:20way" gives runs/omniglot-20way."""
    path, _, variant = config.partition(":")
    name = f"{Path(path).stem}-{variant}" if variant else Path(path).stem
    return Path("runs") / re.sub(r"[^\w.,=+-]+", "-", name)


def run(
    config: Config,
    workdir: Path,
    command: str,
    *,
    allow_cpu: bool = False,
    dry_run: bool = False,
    yes: bool = False,
    use: int | None = None,
    others: Others = NO_OTHERS,
) -> int:
    """Runs an experiment of any kind; returns the program's exit status.

    Args:
      command: the command line that repeats the run, for the report.
      allow_cpu: run on the CPU although the machine has an accelerator.
      dry_run: only print what would be downloaded and how long it takes.
      yes: prepare data sets without asking.
      use: devices to compute on; by default all that jax knows.
      others: how to find the other processes of a run on several hosts.
    """
    try:
        # SIGTERM stops a run as Ctrl-C does: it is saved, and the same line resumes it.
        stop.install()
        with configs.as_config_error():
            hosts.join(others)
            if dry_run:
                stop.at_once()
            devices.check(allow_cpu)
            devices.use(use)
        experiment = _agreed(config)
        with hosts.folder(workdir) as own:
            print(f"devices: {devices.describe()}")
            print(f"workdir: {workdir}")
            watch = f"tensorboard --logdir {shlex.quote(str(workdir))}"
            print(f"watch:   {watch}", flush=True)
            _keep_compilations()
            with configs.as_config_error():
                _check_devices(experiment)
            if _obtain_data(experiment, dry_run, yes):
                train(experiment, own, dry_run=dry_run, command=command)
    except (*_REFUSALS, *hosts.ERRORS, OSError, RuntimeError) as error:
        if told := hosts.lost(error):
            print(f"error: {told}", file=sys.stderr)
            return stop.LOST
        words = str(error)
        if not isinstance(error, _REFUSALS):
            if not (refused := atomic.refused(error)):
                raise
            words = f"{refused}; what was saved is kept, and the same line goes on"
        print(f"error: {' '.join(words.split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        words = "stopped; what was saved is kept, and the same line goes on"
        print(words, file=sys.stderr)
        hosts.part()
        return 128 + signal.SIGINT
    return 0


def _agreed(config: Config) -> Typed:
    """Makes typed fields of a config, and checks that every process has the same."""
    with configs.as_config_error():
        experiment = hosts.together(lambda: configs.typed(config))
        if hosts.several() and not isinstance(experiment, Experiment):
            raise ValueError(
                "kind: several processes meta-learn; run this experiment by one"
            )
        settings = run_folder.flat(dataclasses.asdict(experiment))
        settings.pop("data.data_dir", None)  # hosts may keep data in different places
        hosts.check_same("config", json.dumps(settings, sort_keys=True))
    return experiment


def _check_devices(config: Typed) -> None:
    """Refuses a meta-batch that devices cannot share, before any data is fetched.

    It lets data pass whose tasks may differ in shape, so that they run one by one.
    """
    if not isinstance(config, Experiment):
        return
    names, task = config.data.train or (config.data.name,), config.train_task
    sizes = {own_size(name, config.data.size)[1] for name in names}
    if len(sizes) == 1 and (task.way or len(names) == 1):
        placement.check_even("meta_batch", config.meta_batch)


def _obtain_data(config: Typed, dry_run: bool, yes: bool) -> bool:
    """Prepares the catalog's data sets that a config names; says whether to go on."""
    if (data := configs.data_of(config)) is None:
        return True
    names, root = loading.names_to_prepare(data), cache.root(data.data_dir)
    if not names:
        return True
    with configs.as_config_error():
        channels = getattr(data, "channels", 3)
        planned = plan.show(names, root, data.size or 224, channels)
        if not dry_run:
            hosts.together(lambda: plan.carry_out(planned, root, agreed=yes))
    # A dry run of meta-learning makes noise in place of absent data.
    return not dry_run or isinstance(config, Experiment | Search) or not planned.needs


def _keep_compilations() -> None:
    """Keeps compiled programs for the next run, unless the user has chosen a cache."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(kept.compiled()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
