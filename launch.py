"""Meta-learns an initialisation and reports what it is worth.

python launch.py --config configs/quickstart.py

Fields of the configuration are changed on the same line, for example
--config.outer.learning_rate=3e-4. The line again resumes what it started. A config's
file, or its name, may also stand first without --config; `metainit train` does the same
from any folder.
"""

import argparse
import shlex
import sys
from pathlib import Path
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

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
_DEVICES = flags.DEFINE_integer(
    "devices", None, "how many devices to compute on; by default all there are"
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "HOST:PORT of the first process, of a run on several hosts"
)
_PROCESSES = flags.DEFINE_integer(
    "processes", None, "how many processes such a run has"
)
_PROCESS = flags.DEFINE_integer("process", None, "the number of this one, from 0")

USAGE = "usage: python launch.py --config configs/quickstart.py [--workdir FOLDER]"


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; a mistake in them ends the program with one line."""
    if argv[1:] and not argv[1].startswith("-"):
        argv = [argv[0], "--config", *argv[1:]]
    words = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    words.add_argument("--config", nargs="?", default="")
    config = words.parse_known_args(argv[1:])[0].config or ""
    argv = _with_path(argv, config)
    try:
        # absl's own default, INFO, would bury the progress of a run.
        rest = flags.FLAGS([argv[0], f"--verbosity={logging.WARNING}", *argv[1:]])
        if config:
            _CONFIG.value.keys()  # a file that is not there is noticed on first use
    except Exception as error:
        from metainit.experiments import configs

        message = configs.explain(error, config, argv)
        if message is None:
            raise
        _fail(message)
    if rest[1:]:
        _fail(f"{rest[1]!r} does not belong to a flag; {USAGE}")
    if not config:
        _fail(USAGE)
    return rest


def _with_path(argv: list[str], config: str) -> list[str]:
    """Puts the path of a config that comes with metainit in place of its name."""
    name, colon, variant = config.partition(":")
    if not name or Path(name).is_file():
        return argv
    from metainit.experiments import configs

    try:
        path = f"{configs.find(name)}{colon}{variant}"
    except ValueError:  # which is explained when the flags are parsed
        return argv
    named = {config: path, f"--config={config}": f"--config={path}"}
    return [named.get(word, word) for word in argv]


def main(argv: list[str]) -> int:
    """Runs the experiment of the flags; returns the program's exit status."""
    del argv
    # Imported here, since a mistyped flag need not wait for all of it.
    from metainit.experiments import launching
    from metainit.runtime.hosts import Others

    name = config_flags.get_config_filename(flags.FLAGS["config"])
    return launching.run(
        _CONFIG.value,
        Path(_WORKDIR.value) if _WORKDIR.value else launching.default_workdir(name),
        shlex.join(["python", *sys.argv]),
        allow_cpu=_ALLOW_CPU.value,
        dry_run=_DRY_RUN.value,
        yes=_YES.value,
        use=_DEVICES.value,
        others=Others(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value),
    )


def _fail(message: str) -> NoReturn:
    line = " ".join(message.split())
    print(line if line == USAGE else f"error: {line}", file=sys.stderr)
    sys.exit(2)


def _run(argv: list[str]) -> NoReturn:
    from metainit.runtime import stop

    stop.leave(main(argv))


if __name__ == "__main__":
    app.run(_run, flags_parser=parse)
