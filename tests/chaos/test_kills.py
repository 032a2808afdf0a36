"""Short versions of kills.py and hostile.py."""

import json
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


def rows_of(program, *words):
    line = [sys.executable, str(HERE / program), *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600)
    assert done.stdout, done.stderr
    return [json.loads(row) for row in done.stdout.splitlines()]


@pytest.mark.slow
def test_killed_lines_end_as_others_do():
    rows = rows_of("kills.py", "--kills=3", "--seed=1", "--lines=launch,prepare")
    assert sum(len(row.get("kills", ())) for row in rows[:-1]) == 3
    assert rows[-1] == {"kills": 3, "seed": 1, "wrong": 0}


@pytest.mark.slow
def test_hostile_files_are_refused_in_little_memory():
    *rows, _ = rows_of("hostile.py")
    assert len(rows) > 30
    for row in rows:
        assert row["refusal"] and row["megabytes"] < 500, row
