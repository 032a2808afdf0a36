"""Meta-learns an initialisation and reports what it is worth.

python launch.py --config configs/quickstart.py

Fields of the configuration are changed on the same line, for example
--config.outer.learning_rate=3e-4. The line again resumes what it started. `metainit
train` takes the same options from any folder: this is a door to it.
"""

import sys
from collections.abc import Sequence

from metainit.__main__ import command

USAGE = "usage: python launch.py --config configs/quickstart.py [--workdir FOLDER]"


def words(line: Sequence[str]) -> list[str]:
    """Gives the words of `metainit train`, which has the config first.

    The config may be given by `--config NAME` or `--config=NAME`, or stand first.
    """
    line = list(line)
    for number, word in enumerate(line):
        name, is_option, config = word.partition("--config=")
        if not name and is_option:
            return ["train", config, *line[:number], *line[number + 1 :]]
        if word == "--config" and number + 1 < len(line):
            return ["train", line[number + 1], *line[:number], *line[number + 2 :]]
    return ["train", *line]


if __name__ == "__main__":
    sys.argv[1:] = words(sys.argv[1:])
    if sys.argv[2:3] in ([], ["--config"]):
        print(USAGE, file=sys.stderr)
        sys.exit(2)
    command()
