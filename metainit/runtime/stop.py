"""Stops a process on Ctrl-C or SIGTERM, even where Python drops the exception.

Python drops a KeyboardInterrupt that is raised in a finaliser or in a callback of the
garbage collector, such as JAX has. `check` then raises it again. The first signal stops
the process. The second is ignored, since `timeout` and similar programs send two. The
third ends the process at once.

Several processes that compute together must stop at the same step, or the others would
wait for the one that stopped. They all stop at a `check` that all of them reach.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

LOST = 75  # the status where another process is gone: try again (EX_TEMPFAIL)
LEFT = "left"  # the name of a thread that a process does not wait for at its end

AT_ONCE = "stopped at once; what was saved before is kept\n"

_asked = 0  # how many signals came
_checks = 0
_reached: Callable[[int], bool] | None = None  # whether all stop at this check
_waiting: list[int] | None = None  # signals that came inside `later`


def install() -> None:
    """Makes both signals raise KeyboardInterrupt, at once and at every later `check`.

    Where Ctrl-C is ignored, as behind nohup, it stays ignored.
    """
    signal.signal(signal.SIGTERM, _handle)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _handle)


def at_once() -> None:
    """Lets both signals end the process, even while XLA compiles and Python waits.

    It is for commands that have nothing to save. Where Ctrl-C is ignored, it stays
    ignored.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def together(reached: Callable[[int], bool]) -> None:
    """Makes several processes stop together, at a check that `reached` chooses.

    `reached` takes the number of a check, from 1, and says whether all processes stop
    there. It handles SIGTERM, which Ctrl-C then sends. Every process must call `check`
    equally often.
    """
    global _reached
    _reached = reached


def check() -> None:
    """Raises KeyboardInterrupt if a signal came; to be called between steps."""
    global _checks
    _checks += 1
    if _asked if _reached is None else _reached(_checks):
        raise KeyboardInterrupt


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Delays signals until the end of the block, or of the outermost such block."""
    global _waiting
    if _waiting is not None:
        yield
        return
    came: list[int] = []
    _waiting = came
    try:
        yield
    finally:
        _waiting = None
    if came:
        raise KeyboardInterrupt


def leave(status: int) -> NoReturn:
    """Ends the process with this status.

    A process that was stopped ends at once: XLA may still be compiling in a thread,
    which Python's own way out would crash. So does a process that left a thread behind,
    and one that lost another process, for which JAX would wait. A signal that comes on
    Python's own way out ends the process, too.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    is_left = any(thread.name == LEFT for thread in threading.enumerate())
    if is_left or status in (128 + signal.SIGINT, LOST):
        os._exit(status)
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_, end=os._exit: end(status))
    sys.exit(status)


def _handle(number: int, *_: Any) -> None:
    global _asked
    _asked += 1
    if _asked > 2:
        os.write(2, AT_ONCE.encode())  # sys.stderr may be within a line
        os._exit(128 + signal.SIGINT)
    if _asked == 2:
        return
    if _reached is not None:
        signal.raise_signal(signal.SIGTERM)
        return
    if _waiting is None:
        raise KeyboardInterrupt
    _waiting.append(number)


def _tell(lost: "sys.UnraisableHookArgs") -> None:
    """Reports an exception that Python drops, unless it is a stop.

    A stop is raised again by `check`.
    """
    if not (_asked and issubclass(lost.exc_type, KeyboardInterrupt)):
        _told_by(lost)


_told_by, sys.unraisablehook = sys.unraisablehook, _tell
