"""Other processes of Python."""

import os
import subprocess
import sys


def python(code, **environment):
    """What a new process prints, with these environment variables besides ours."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=240,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
