"""A short version of `kills.py`, which see."""

import json
import pathlib
import subprocess
import sys

PROGRAM = pathlib.Path(__file__).with_name("kills.py")


def test_killed_lines_end_as_others_do():
    line = [sys.executable, str(PROGRAM), "--kills=3", "--seed=1"]
    line += ["--lines=launch,prepare"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [json.loads(row) for row in done.stdout.splitlines()]
    assert sum(len(row.get("kills", ())) for row in rows[:-1]) == 3
    assert rows[-1] == {"kills": 3, "seed": 1, "wrong": 0}
