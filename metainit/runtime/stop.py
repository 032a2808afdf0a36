"""Ctrl-C and SIGTERM, heeded also where the exception that they raise is lost.

In a finaliser, or a callback of the garbage collector such as JAX has, Python prints
KeyboardInterrupt and drops it.
"""

import signal
from typing import Any, NoReturn

_asked = False


def install() -> None:
    """Makes both signals raise KeyboardInterrupt, now and at every later `check`.

    Ctrl-C stays ignored where it is, as behind nohup.
    """
    signal.signal(signal.SIGTERM, _handle)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _handle)


def check() -> None:
    """Raises KeyboardInterrupt where one of the signals came; for between steps."""
    if _asked:
        raise KeyboardInterrupt


def _handle(*_: Any) -> NoReturn:
    global _asked
    _asked = True
    raise KeyboardInterrupt
