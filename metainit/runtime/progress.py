"""What a run does and how far it is, shown by `rich.progress` or printed as lines.

A terminal has a view below the lines that stay. It shows the stages that are open, with
a bar, a count and the time left of each. A pipe, a file or a dumb terminal gets plain
lines. A process has one output, so that the open stages are the module's.
"""

import datetime
import sys
import time
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID
from rich.table import Column
from rich.text import Text

_REFRESHED = 2  # times a second

_open: list["Stage"] = []  # from the outermost
_view: "_View | None" = None


class Stage:
    """A part of what a run does; a context manager, in which others may be opened.

    Attributes:
      name: what is done.
      total: how many units there are, such as steps; 0 where that is not known.
      done: how many units are done.
      detail: what else is shown of it now.
    """

    def __init__(
        self,
        name: str,
        total: float = 0,
        done: float = 0,
        *,
        units: float = 1,
        has_bar: bool = True,
        parts: Iterable[str] = (),
    ) -> None:
        """Makes a stage of which an earlier session may have done some units.

        Args:
          name: what is done.
          total: how many units there are.
          done: how many units are done already.
          units: how many units of the stage around it are done when it ends.
          has_bar: whether a terminal shows a bar; others only show their names.
          parts: names of the stages in it, which are shown with their numbers.
        """
        self.name, self.total, self.done, self.detail = name, total, done, ""
        self.has_bar, self.parts = has_bar, [*parts]
        self._units = units
        self._task: TaskID | None = None

    def __enter__(self) -> "Stage":
        self._began = time.perf_counter()
        if self.has_bar:
            if not any(stage.has_bar for stage in _open):
                _begin()
            if _view is not None:
                total = self.total or None
                self._task = _view.add_task(self.name, True, total, int(self.done))
        _open.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        _open.remove(self)
        if _view is not None and self._task is not None:
            _view.remove_task(self._task)
        if self.has_bar and not any(stage.has_bar for stage in _open):
            _end()
            if kind is None and shows():
                say(f"{self.name}: done in {_time(time.perf_counter() - self._began)}")
        if _open and kind is None:
            _open[-1].advance(self._units)

    def advance(self, units: float = 1) -> None:
        """Counts more units as done."""
        self.done += units
        if _view is not None and self._task is not None:
            total = self.total or None
            _view.update(self._task, completed=self.done, total=total)


def plan(names: Iterable[str]) -> Stage:
    """Makes the stage of a run that does these, one after another."""
    parts = [*names]
    return Stage("", len(parts), has_bar=False, parts=parts)


def shows() -> bool:
    """Whether there is a terminal that can show a view."""
    return sys.stdout.isatty() and not Console().is_dumb_terminal


def say(line: str) -> None:
    """Prints a line that stays."""
    if _view is None:
        print(line, flush=True)
    else:
        _view.console.out(line, highlight=False)


def tell(line: str, detail: str | None = None) -> None:
    """Prints a line, or shows `detail` instead where there is a view."""
    if _view is None:
        say(line)
    else:
        detailed(line if detail is None else detail)


def detailed(detail: str) -> None:
    """Shows a detail of the innermost stage, where there is a view."""
    if _open:
        _open[-1].detail = detail


def tell_next(what: str) -> None:
    """Tells which unit of the innermost stage, such as a trial, comes next."""
    count = ""
    if _open:
        stage = _open[-1]
        count = f"{stage.name} {stage.done + 1:,.0f}/{stage.total:,.0f}: "
    tell(f"{count}{what}", what)


def advance(units: float = 1) -> None:
    """Counts units of the innermost stage as done, if one is open."""
    if _open:
        _open[-1].advance(units)


class _Count(ProgressColumn):
    """The units that are done of a stage, and the time that is left."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text(f"for {_time(task.elapsed or 0.0)}")
        left = task.time_remaining
        words = "" if left is None else f"  left {_time(left)}"
        return Text(f"{task.completed:,.0f}/{task.total:,.0f}{words}")


class _View(Progress):
    """A line of names, a bar for each stage that has one, and a line of detail."""

    def get_renderables(self) -> Iterable[Any]:
        stages = [*_open]
        outer = [None, *stages]
        names = [_named(*pair) for pair in zip(outer, stages, strict=False)]
        yield _line(": ".join(filter(None, names)))
        yield self.make_tasks_table(self.tasks)
        detail = next((x.detail for x in reversed(stages) if x.detail), "")
        yield _line("" if stages and detail == stages[-1].name else detail)


def _begin() -> None:
    global _view
    if shows():
        _view = _View(
            BarColumn(bar_width=None),
            _Count(Column(no_wrap=True)),
            console=Console(),
            refresh_per_second=_REFRESHED,
            transient=True,
            expand=True,
        )
        _view.start()
        # The cursor is then shown however the process ends.
        _view.console.show_cursor(True)


def _end() -> None:
    global _view
    if (ended := _view) is not None:
        _view = None
        ended.stop()


def _named(outer: Stage | None, stage: Stage) -> str:
    """Gives a stage's name, with its number if the stage around it knows its parts."""
    parts = outer.parts if outer else []
    if stage.name not in parts:
        return stage.name
    return f"{1 + parts.index(stage.name)}/{len(parts)} {stage.name}"


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")


def _time(seconds: float) -> str:
    """Formats seconds as a clock shows them: 0:42, 12:05, 3:10:00."""
    clock = str(datetime.timedelta(seconds=round(seconds)))
    return clock.removeprefix("0:").removeprefix("0") if seconds < 3600 else clock
