"""Ctrl-C and SIGTERM, heeded also where the exception that they raise is lost.

In a finaliser, or a callback of the garbage collector such as JAX has, Python prints
KeyboardInterrupt and drops it.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

LOST = 75  # the status where another process is gone: try again (EX_TEMPFAIL)

_asked = False
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


def check() -> None:
    """Raises KeyboardInterrupt where one of the signals came; for between steps."""
    if _asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def later() -> Iterator[None]:
    """Heeds a signal that comes meanwhile at its end."""
    global _waiting
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

    One that was stopped ends at once: XLA may be compiling in a thread still, which
    Python's own way out would crash. So does one that lost another, for which JAX would
    wait.
    """
    if status in (128 + signal.SIGINT, LOST):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def _handle(number: int, *_: Any) -> None:
    global _asked
    _asked = True
    if _waiting is None:
        raise KeyboardInterrupt
    _waiting.append(number)
