"""Meta-learns an initialisation and reports what it is worth.

python launch.py --config configs/quickstart.py

Fields of the configuration are changed on the same line, for example
--config.outer.learning_rate=3e-4. The line again resumes what it started.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

if TYPE_CHECKING:
    from metainit.experiments.configs import Typed

_CONFIG = config_flags.DEFINE_config_file(
    "config", help_string="the experiment, with its variant after a colon"
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "where results go; by default runs/ and the name of the config"
)
_ALLOW_CPU = flags.DEFINE_bool(
    "allow_cpu", False, "run on the CPU although the machine has an accelerator"
)
_DRY_RUN = flags.DEFINE_bool(
    "dry_run", False, "only print what the run would download and how long it takes"
)
_YES = flags.DEFINE_bool(
    "yes", False, "prepare data sets on first use without asking; agrees to their terms"
)

USAGE = "usage: python launch.py --config configs/quickstart.py [--workdir FOLDER]"


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake in them ends the program with one line."""
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    words.add_argument("--config", nargs="?", default="")
    config = words.parse_known_args(argv[1:])[0].config or ""
    try:
        # absl's own default, INFO, would bury the progress of a run.
        rest = flags.FLAGS([argv[0], f"--verbosity={logging.WARNING}", *argv[1:]])
        if config:
            _CONFIG.value.keys()  # a file that is not there is noticed on first use
    except Exception as error:
        from metainit.experiments import flag_errors

        message = flag_errors.explain(error, config, argv)
        if message is None:
            raise
        _fail(message)
    if rest[1:]:
        _fail(f"{rest[1]!r} does not belong to a flag; {USAGE}")
    if not config:
        _fail(USAGE)
    return rest


def default_workdir(config: str) -> Path:
    """The folder of a run: "configs/omniglot.py:20way" gives runs/omniglot-20way."""
    path, _, variant = config.partition(":")
    name = f"{Path(path).stem}-{variant}" if variant else Path(path).stem
    return Path("runs") / re.sub(r"[^\w.,=+-]+", "-", name)


def main(argv: list[str]) -> int:
    """Runs the experiment of the flags; returns the program's exit status."""
    del argv
    # Imported here, since a mistyped flag need not wait for jax.
    from metainit.config.fields import ConfigError
    from metainit.experiments import configs
    from metainit.experiments.meta_learning import train
    from metainit.runtime import devices, stop
    from metainit.runtime.checkpoint import CheckpointError
    from metainit.training.loop import NonFiniteError

    # SIGTERM stops a run as Ctrl-C does: it is saved, and the same line resumes it.
    stop.install()
    try:
        devices.check(_ALLOW_CPU.value)
        experiment = configs.typed(_CONFIG.value)
    except ValueError as error:
        _fail(str(error))
    config = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = Path(_WORKDIR.value) if _WORKDIR.value else default_workdir(config)
    print(f"devices: {devices.describe()}")
    print(f"workdir: {workdir}")
    print(f"watch:   tensorboard --logdir {shlex.quote(str(workdir))}", flush=True)
    _keep_compilations()
    try:
        if not _obtain_data(experiment):
            return 0
        train(
            experiment,
            workdir,
            dry_run=_DRY_RUN.value,
            command=shlex.join(["python", *sys.argv]),
        )
    except (ConfigError, NonFiniteError, CheckpointError) as error:
        _fail(str(error))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def _obtain_data(config: Typed) -> bool:
    """Prepares the data sets of the catalog that the configuration names.

    Returns:
      Whether to go on. A dry run can without them, but for comparing initialisations.
    """
    from metainit.config import fields
    from metainit.data import cache, loading
    from metainit.data.builders import prepare

    if isinstance(config, fields.Search):
        config = config.experiment
    if isinstance(config, fields.Supervised):
        return True
    of_transfer = isinstance(config, fields.TransferExperiment)
    size = config.data.size or 224
    channels = config.data.channels if isinstance(config, fields.Experiment) else 3
    names, root = loading.of_catalog(config.data), cache.root(config.data.data_dir)
    if not names:
        return True
    try:
        plan = prepare.show(names, root, size, channels)
        if _DRY_RUN.value:
            return not (plan.needs and of_transfer)
        prepare.obtain(plan, root, agreed=_YES.value)
    except ValueError as error:
        raise fields.ConfigError(str(error)) from error
    return True


def _keep_compilations() -> None:
    """Spares the next run the compilation, unless the user has chosen a cache."""
    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = cache / "metainit" / "jax"
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _fail(message: str) -> NoReturn:
    line = " ".join(message.split())
    print(line if line == USAGE else f"error: {line}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
