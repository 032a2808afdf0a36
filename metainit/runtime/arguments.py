"""The parser of every command: its help has an example, its errors are one line."""

import argparse
import difflib
import re
from collections.abc import Iterable
from typing import Any, NoReturn

_UNKNOWN = re.compile(r"unrecognized arguments: (--[\w.-]+)")
_NO_CHOICE = re.compile(r"argument .*: invalid choice: '(.*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """A parser whose help ends in an example and whose errors are one line.

    An option must be written in full.
    """

    def __init__(
        self, prog: str, about: str = "", example: str = "", **given: Any
    ) -> None:
        super().__init__(
            prog,
            description=about or None,
            epilog=f"example:\n  {example}" if example else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **given,
        )

    def error(self, message: str) -> NoReturn:
        """Ends the program with status 2, and names the option that was meant."""
        if found := _UNKNOWN.match(message):
            near = nearest(found[1], self._option_string_actions)
            if not near and "FIELD=" in (self.usage or ""):
                near = f"; a field is given as {found[1].lstrip('-')}=VALUE"
            message = f"there is no option {found[1]}{near}"
        elif found := _NO_CHOICE.match(message):
            choices = (choice.strip("'") for choice in found[2].split(", "))
            message += nearest(found[1], choices)
        self.exit(2, f"error: {message} ({self.prog} --help tells more)\n")


def nearest(word: str, known: Iterable[str]) -> str:
    """Gives "; the nearest: NAME" for the known word most like this, or ""."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return "".join(f"; the nearest: {name}" for name in found)
