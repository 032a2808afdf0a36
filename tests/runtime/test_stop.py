"""The way out: at once after a stop, and Python's own otherwise."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from processes import WITHOUT_JAX

from metainit.runtime import stop


def program(text, **values):
    """The line of a Python that has loaded no more than it needs."""
    for name, value in values.items():
        text = text.replace(name, str(value))
    return [sys.executable, "-c", WITHOUT_JAX + text]


PROGRAM = """
import atexit
from metainit.runtime import stop
atexit.register(print, "Python's own way")
print("told")
stop.leave(STATUS)
"""


@pytest.mark.parametrize("status", [0, 2, 130])
def test_a_stopped_process_ends_at_once(status):
    line = program(PROGRAM, STATUS=status)
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == status
    others = ["Python's own way"] if status != 130 else []
    assert done.stdout.splitlines() == ["told", *others]


SIGNALLED = """
import signal
from metainit.runtime import stop

class Collected:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
stop.install()
stopped = []
for _ in range(SIGNALS):
    try:
        COME
    except KeyboardInterrupt:
        stopped.append(1)
try:
    stop.check()
except KeyboardInterrupt:
    stopped.append(1)
print(len(stopped), flush=True)
stop.leave(130)
"""


@pytest.mark.parametrize("come", ["signal.raise_signal(signal.SIGTERM)", "Collected()"])
def test_the_second_signal_is_ignored_and_the_third_ends_it_at_once(come):
    for signals in (1, 2, 3):
        line = program(SIGNALLED, SIGNALS=signals, COME=come)
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        # The first is heeded where it comes, if its exception gets out, and at `check`.
        heeded = "1\n" if come == "Collected()" else "2\n"
        assert done.returncode == 130
        assert done.stdout == (heeded if signals < 3 else "")
        assert done.stderr == ("" if signals < 3 else stop.AT_ONCE)


TOGETHER = """
import signal
from metainit.runtime import stop

told, stopped = [], []
signal.signal(signal.SIGINT, signal.default_int_handler)
stop.install()
signal.signal(signal.SIGTERM, lambda *_: told.append("SIGTERM"))
stop.together(lambda check: bool(told) and check == 3)
signal.raise_signal(signal.SIGINT)
for check in range(1, 5):
    try:
        stop.check()
    except KeyboardInterrupt:
        stopped.append(check)
print(told, stopped)
"""


def test_of_several_processes_all_stop_at_the_check_that_they_have_in_common():
    done = subprocess.run(program(TOGETHER), capture_output=True, text=True, check=True)
    assert done.stdout == "['SIGTERM'] [3]\n"


def test_an_exception_that_python_drops_is_told_unless_it_is_a_stop(monkeypatch):
    told = []
    monkeypatch.setattr(stop, "_told_by", told.append)
    errors = ValueError(), KeyboardInterrupt()
    for signals in (0, 1):
        monkeypatch.setattr(stop, "_asked", signals)
        for error in errors:
            stop._tell(SimpleNamespace(exc_type=type(error), exc_value=error))
    kinds = [lost.exc_type for lost in told]
    assert kinds == [ValueError, KeyboardInterrupt, ValueError]


LEAVING = """
import atexit, signal
from metainit.runtime import stop
stop.install()
atexit.register(signal.raise_signal, signal.SIGINT)
print("all is done")
stop.leave(1)
"""


def test_a_signal_on_the_way_out_leaves_what_was_done_as_it_is():
    line = program(LEAVING)
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "all is done\n", "")


BUSY = """
import hashlib
from metainit.runtime import stop
stop.install()
stop.at_once()
print("told", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # Python waits, as for the compiler
"""


def test_a_process_with_nothing_to_save_ends_also_where_python_waits():
    line = program(BUSY)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "told\n"
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
