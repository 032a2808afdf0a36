"""What a run does, how far it is and how long that takes, for whoever watches it.

A terminal has one view, below the lines that stay: what is done, a bar, and the time
left. A pipe, a file or a dumb terminal has lines alone, without colours. The process
has one output, so the stages that are open are the module's.
"""

import datetime
import sys
import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_REFRESHED = 2  # times a second

_open: list["Stage"] = []  # from the outermost
_live: Live | None = None


class Stage:
    """A part of what a run does, open as a context manager; others may lie in it.

    Attributes:
      name: what is done, "" where what lies in it says so.
      total, done: in a unit of its own, such as steps; a total of 0 is not known.
      detail: what else is to be seen of it now.
    """

    def __init__(
        self,
        name: str,
        total: float,
        done: float = 0,
        *,
        first: float = 0,
        parts: Mapping[str, float] | None = None,
        weight: float | None = None,
        has_bar: bool = True,
    ) -> None:
        """Takes what was done before as `done`, of a count that begins with `first`.

        `parts` are the seconds that stages in it are expected to take, by name.
        `weight` is how far it brings the stage that it lies in: by default as many
        seconds as that one expects, or one of its units, where `total` is known. The
        outermost stage that `has_bar` is what a terminal counts.
        """
        self.name, self.total, self.done, self.detail = name, total, done, ""
        self.has_bar = has_bar
        self._first, self._parts, self._weight = first, parts, weight
        self._paced: tuple[float, float] | None = None  # share and time, by then
        self._seconds = sum(parts.values()) if parts else 0.0  # expected; 0: unknown

    def __enter__(self) -> "Stage":
        if outer := _open[-1] if _open else None:
            if self._weight is None:
                parts = outer._parts
                alone = 1.0 if self.total else 0.0
                self._weight = alone if parts is None else parts.get(self.name, 0.0)
            if outer._parts is not None:
                self._seconds = self._seconds or self._weight
        self._began = time.perf_counter()
        if self.has_bar and not any(stage.has_bar for stage in _open):
            _begin()
        before = _shares()
        _open.append(self)
        # What an earlier session has done of it says nothing of the pace.
        for stage, share, now in zip(_open, before, _shares(), strict=False):
            if stage._paced:
                begun, then = stage._paced
                stage._paced = begun + now - share, then
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        _open.remove(self)
        if self.has_bar and not any(stage.has_bar for stage in _open):
            _end()
            if kind is None and shows():
                seconds = time.perf_counter() - self._began
                say(f"{self.name}: done in {_time(seconds)}")
        if _open and kind is None:
            _open[-1].done += self._weight or 0.0

    def advance(self, units: float = 1) -> None:
        """Counts so many units more as done."""
        self.done += units
        for stage, share in zip(_open, _shares(), strict=True):
            # What the first of all takes is not the pace: it compiles.
            stage._paced = stage._paced or (share, time.perf_counter())

    def share(self, inner: "tuple[Stage, ...]" = ()) -> float:
        """What is done of it, 0 to 1, with what is done of those open in it."""
        done, whole = self.done - self._first, self.total - self._first
        if inner:
            done += (inner[0]._weight or 0.0) * inner[0].share(inner[1:])
        return min(1.0, done / whole) if whole else 1.0

    def seconds_left(self, inner: "tuple[Stage, ...]" = ()) -> float | None:
        """Time left, first by what was expected, and ever more by what it takes.

        It is None where neither is known.
        """
        if not self.total:
            return None
        share = self.share(inner)
        before, then = self._paced or (share, time.perf_counter())
        rest = (share - before) / (1 - before) if before < 1 else 1.0
        taken, expected = time.perf_counter() - then, self._seconds * (1 - before)
        if not expected:
            return (1 - rest) / rest * taken if rest else None
        return (1 - rest) * (taken + (1 - rest) * expected)


def _shares() -> list[float]:
    """What is done of each stage that is open."""
    return [x.share(tuple(_open[n + 1 :])) for n, x in enumerate(_open)]


def plan(seconds: Mapping[str, float]) -> Stage:
    """Makes the stage of a run that does these, each for so many seconds about.

    They are 0 where that is not known.
    """
    return Stage("", sum(seconds.values()), parts=seconds, has_bar=False)


def shows() -> bool:
    """Whether there is a terminal that can show what changes."""
    return sys.stdout.isatty() and not Console().is_dumb_terminal


def say(line: str) -> None:
    """Prints a line that stays."""
    if _live is None:
        print(line, flush=True)
    else:
        _live.console.out(line, highlight=False)


def tell(line: str, detail: str | None = None) -> None:
    """Tells what passes: a line, or where there is a view the detail that it shows."""
    if _live is None:
        say(line)
    else:
        detailed(line if detail is None else detail)


def detailed(detail: str) -> None:
    """Shows more of the innermost stage, where there is a view."""
    if _open:
        _open[-1].detail = detail


def tell_next(what: str) -> None:
    """Tells what the innermost stage, such as of trials, has come to."""
    count = ""
    if _open:
        stage = _open[-1]
        count = f"{stage.name} {stage.done + 1:,.0f}/{stage.total:,.0f}: "
    tell(f"{count}{what}", what)


def advance(units: float = 1) -> None:
    """Counts units of the innermost stage as done, if one is open."""
    if _open:
        _open[-1].advance(units)


def _begin() -> None:
    global _live
    if shows():
        _live = Live(
            console=Console(),
            get_renderable=_rendered,
            transient=True,
            refresh_per_second=_REFRESHED,
        )
        _live.start()
        # However the process ends, the cursor is there.
        _live.console.show_cursor(True)


def _end() -> None:
    global _live
    if (ended := _live) is not None:
        _live = None
        ended.stop()


def _rendered() -> Any:
    """What there is to see: what is done, a bar, and what was last told."""
    stages = tuple(_open)
    number = next((n for n, stage in enumerate(stages) if stage.has_bar), None)
    if number is None:
        return ""
    counted, inner = stages[number], stages[number + 1 :]
    names = ": ".join(filter(None, map(_named, (None, *stages), stages)))
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(ratio=1)
    row.add_column(no_wrap=True)
    times: dict[str, float | None] = {}
    if counted.total:
        bar = ProgressBar(1.0, counted.share(inner))
        count = f"{counted.done:,.0f}/{counted.total:,.0f}"
        times["left"] = counted.seconds_left(inner)
    else:
        bar, count = ProgressBar(pulse=True), ""
        times["for"] = time.perf_counter() - counted._began
    if number:
        times["all"] = whole = stages[0].seconds_left(stages[1:])
        if whole is not None:  # by an older pace than the stage's own
            times["all"] = max(whole, times.get("left") or 0.0)
    told = [
        f"{x} {_time(seconds)}" for x, seconds in times.items() if seconds is not None
    ]
    row.add_row(bar, f"{count}  {', '.join(told)}".strip())
    detail = next((x.detail for x in reversed(stages) if x.detail), "")
    detail *= detail != stages[-1].name
    return Group(_line(names), row, _line(detail))


def _named(outer: Stage | None, stage: Stage) -> str:
    """What a stage is called, with its place where it is a part of a plan."""
    parts = [*outer._parts] if outer and outer._parts else []
    if stage.name not in parts:
        return stage.name
    return f"{1 + parts.index(stage.name)}/{len(parts)} {stage.name}"


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _time(seconds: float) -> str:
    """Seconds as a clock shows them: 0:42, 12:05, 3:10:00."""
    words = str(datetime.timedelta(seconds=round(seconds)))
    return words.removeprefix("0:").removeprefix("0") if seconds < 3600 else words
