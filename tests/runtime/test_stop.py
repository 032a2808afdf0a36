"""The way out: at once after a stop, and Python's own otherwise."""

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
