"""The command line: `metainit COMMAND ...`, or `python -m metainit COMMAND ...`."""

import importlib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import metainit
from metainit.runtime.arguments import nearest

# By name: module, its function, what the command does.
COMMANDS = {
    "finetune": (
        "metainit.experiments.finetune:main",
        "make the best classifier of your own images, and save it",
    ),
    "predict": (
        "metainit.experiments.predict:main",
        "label images with such a classifier",
    ),
    "train": (
        "metainit.experiments.commands:train",
        "meta-learn an initialisation, and report what it is worth",
    ),
    "compare": (
        "metainit.experiments.commands:compare",
        "fine-tune initialisations that exist on one data set",
    ),
    "tune": (
        "metainit.experiments.commands:tune",
        "try settings of a config, chosen between on meta-validation",
    ),
    "report": (
        "metainit.reporting.seeds_report:main",
        "compare finished runs, over seeds",
    ),
    "export": (
        "metainit.experiments.export:main",
        "write a run's initialisation for PyTorch and others",
    ),
    "datasets": (
        "metainit.data.commands:main",
        "list, plan, prepare and verify data sets",
    ),
    "list": (
        "metainit.experiments.commands:list_all",
        "configs, initialisations and runs there are",
    ),
    "info": (
        "metainit.experiments.commands:info",
        "versions, devices, and where things lie",
    ),
    "cache": (
        "metainit.experiments.commands:show_cache",
        "how much is kept on disk, and `cache clear`",
    ),
}
GO_ON = "finetune", "train", "compare", "tune", "datasets"  # where they were stopped
HELP = """\
usage: metainit COMMAND ...    (metainit COMMAND --help tells more)

{}

examples:
  metainit finetune my_images    my_images/cat/*.jpg, my_images/dog/*.jpg
  metainit train quickstart      90 seconds, no download

exit status: 0 done; 1 done, but some images or data are faulty; 2 a mistake, told
in one line; 75 another process of the run is gone; 130 stopped, and a last line says
whether the same line goes on; 141 nobody reads the output""".format(
    "\n".join(f"  {name:<10} {about}" for name, (_, about) in COMMANDS.items())
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status, as `HELP` has them."""
    command, *rest = argv if argv is not None else (sys.argv[1:] or ["--help"])
    try:
        status = _run(command, rest)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # `| head` ends it quietly, and what is not yet written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        again = "goes on" if command in GO_ON else "starts anew"
        print(f"stopped; the same line {again}", file=sys.stderr)
        return 128 + signal.SIGINT


def _run(command: str, rest: Sequence[str]) -> int:
    if command in ("-h", "--help", "help"):
        print(HELP)
        return 0
    if command == "--version":
        print(f"metainit {metainit.__version__}")
        return 0
    if command not in COMMANDS:
        words = f"there is no command {command!r}{nearest(command, COMMANDS)}"
        raise ValueError(f"{words} (metainit --help has all)")
    # Imported when asked for: a mistyped command need not wait for jax.
    module, _, function = COMMANDS[command][0].partition(":")
    run = getattr(importlib.import_module(module), function)
    if command == "datasets":
        return run(rest, _data)
    return run(rest)


def _data(name: str) -> Any:
    """The data that a config asks for, of a name or file, with its variant."""
    from metainit.experiments import configs

    try:
        data = configs.data_of(configs.typed(configs.load(name)))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if data is None:
        raise ValueError(f"{name} needs no data set that is prepared")
    return data


def command() -> NoReturn:
    """The program `metainit`."""
    from metainit.runtime import stop

    logging.addLevelName(logging.WARNING, "warning")
    # Unlike others, this handler asks where errors go now: above a live view.
    handlers = filter(None, [logging.lastResort])
    logging.basicConfig(format="%(levelname)s: %(message)s", handlers=handlers)
    stop.install()  # SIGTERM stops as Ctrl-C does
    stop.leave(main())


if __name__ == "__main__":
    command()
