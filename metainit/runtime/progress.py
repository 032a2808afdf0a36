"""How a long loop tells how it goes: a bar on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Mapping

from tqdm import tqdm


class Progress:
    """Progress of one run; a context manager."""

    def __init__(self, name: str, first: int, total: int):
        """Args: the run's name, steps done before, steps in all."""
        self._name, self._total = name, total
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                desc=name, initial=first, total=total, unit="it", dynamic_ncols=True
            )

    def step(self) -> None:
        """One more step is done."""
        if self._bar is not None:
            self._bar.update()

    def show(
        self, step: int, numbers: Mapping[str, float], seconds_left: float
    ) -> None:
        """Shows numbers by name, and the time left where no bar does."""
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self._bar is not None:
            self._bar.set_postfix_str(shown)
        else:
            self.say(
                f"{self._name} {step}/{self._total}  {shown}  left {seconds_left:.0f} s"
            )

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()
