"""Ctrl-C and SIGTERM, heeded also where the exception that they raise is lost.

In a finaliser, or a callback of the garbage collector such as JAX has, Python drops
KeyboardInterrupt. The first signal stops a process, the second is ignored, since
`timeout` and others that hand signals on send two, and the third ends it at once.

Of several processes that compute together none may stop by itself: the others would
wait for it in a step. There a `check` that all have reached stops them all.
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

_asked = 0  # signals that came
_checks = 0
_reached: Callable[[int], bool] | None = None  # whether all stop at a check, by number
_waiting: list[int] | None = None  # signals that came while none is heeded


def install() -> None:
    """Makes both signals raise KeyboardInterrupt, now and at every later `check`.

    Ctrl-C stays ignored where it is, as behind nohup.
    """
    signal.signal(signal.SIGTERM, _handle)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _handle)


def at_once() -> None:
    """Lets both signals end the process, also while XLA compiles and Python waits.

    For what has nothing to save. Ctrl-C stays ignored where it is.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def together(reached: Callable[[int], bool]) -> None:
    """Hands SIGTERM to who tells all processes of it, and Ctrl-C with it.

    `reached` is `(check, counted from 1) -> whether all of them stop there`. Each has
    to come to as many.
    """
    global _reached
    _reached = reached


def check() -> None:
    """Raises KeyboardInterrupt where one of the signals came; for between steps."""
    global _checks
    _checks += 1
    if _asked if _reached is None else _reached(_checks):
        raise KeyboardInterrupt


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Heeds a signal that comes meanwhile at its end, or that of one around it."""
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
        os.write(2, AT_ONCE.encode())  # sys.stderr may be at a line
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
