"""The command line: `metainit COMMAND ...`, or `python -m metainit COMMAND ...`."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

HELP = """\
usage: metainit COMMAND ...    (metainit COMMAND --help tells more)

  datasets   list, plan, prepare and verify data sets
  finetune   make the best classifier of your own images, and save it
  predict    label images with such a classifier
  export     write a run's initialisation for PyTorch and others
  report     compare finished runs, over seeds
  replay     take the step again that was not finite and ended a training
  tune       try settings of a config, chosen between on meta-validation

Meta-learning itself: python launch.py --config configs/quickstart.py"""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit status.

    2 is for a mistake, told in one line, 130 for a command that was stopped.
    """
    command, *rest = argv if argv is not None else (sys.argv[1:] or ["--help"])
    try:
        return _run(command, rest)
    except BrokenPipeError:  # `| head` ends it quietly, and what is not yet written
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; give the same line again to go on", file=sys.stderr)
        return 128 + signal.SIGINT


def _run(command: str, rest: Sequence[str]) -> int:
    # Imported when asked for: a mistyped command need not wait for jax.
    match command:
        case "datasets":
            from metainit.data.builders import commands

            return commands.main(rest, _data)
        case "finetune":
            from metainit.experiments import finetune
            from metainit.runtime import stop

            # SIGTERM stops it as Ctrl-C does: it is saved, and the line resumes it.
            stop.install()
            return finetune.main(rest)
        case "predict":
            from metainit.experiments import predict

            return predict.main(rest)
        case "export":
            from metainit.experiments import export

            return export.main(rest)
        case "replay":
            from metainit.experiments import replay

            return replay.main(rest)
        case "report":
            from metainit.reporting import seeds_report

            return seeds_report.main(rest)
        case "tune":
            from metainit.experiments import launching

            return launching.tune(rest)
        case "-h" | "--help" | "help":
            print(HELP)
            return 0
    print(f"error: there is no command {command!r}\n{HELP}", file=sys.stderr)
    return 2


def _data(name: str) -> Any:
    """The data that the config "FILE.py" or "FILE.py:VARIANT" asks for."""
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

    stop.leave(main())


if __name__ == "__main__":
    command()
