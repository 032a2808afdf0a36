"""The way out: at once after a stop, and Python's own otherwise."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import atexit
from metainit.runtime import stop
atexit.register(print, "Python's own way")
print("told")
stop.leave({status})
"""


@pytest.mark.parametrize("status", [0, 2, 130])
def test_a_stopped_process_ends_at_once(status):
    line = [sys.executable, "-c", PROGRAM.format(status=status)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == status
    others = ["Python's own way"] if status != 130 else []
    assert done.stdout.splitlines() == ["told", *others]


BUSY = """
import hashlib
from metainit.runtime import stop
stop.install()
stop.at_once()
print("told", flush=True)
hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # Python waits, as for the compiler
"""


def test_a_process_with_nothing_to_save_ends_also_where_python_waits():
    line = [sys.executable, "-c", BUSY]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "told\n"
        process.terminate()
        assert process.wait(60) == -signal.SIGTERM
