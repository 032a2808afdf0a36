"""What a terminal shows of a run, on pseudo-terminals; and what a pipe gets."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios

import pytest
from processes import WITHOUT_JAX

from metainit.runtime import progress

PROGRAM = f"""{WITHOUT_JAX}
import time
from metainit.runtime import progress, stop
stop.install()
with progress.plan(["joint pretraining", "meta-test"]):
    with progress.Stage("joint pretraining", 1200, done=200) as stage:
        for step in range(1000):
            stage.advance()
        progress.tell("row 1200", "loss 1.25")
        progress.say("folder:cat: validation [bold] " + 20 * "accuracy ")
        print("from elsewhere")
        progress._view and progress._view.refresh()
    with progress.Stage("meta-test", 8):
        with progress.Stage("random weights, ridge head", 4, units=4):
            progress.advance(3)
            progress.detailed("setting 2 of 3: penalty 0.1, and " + 20 * "more ")
            progress._view and progress._view.refresh()
            print("READY", flush=True)
            END
print("five lines at the end")
"""
CODE = re.compile(r"\x1b\[[?\d;]*[a-zA-Z]")


def on_terminal(columns, end="pass", kill=None, **environment):
    """All that a pseudo-terminal got, and the status; killed where it says READY."""
    master, slave = pty.openpty()
    rows = 24 if columns else 0
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    known = {"TERM": "xterm-256color", **os.environ, **environment}
    for name in ("COLUMNS", "LINES", "FORCE_COLOR"):
        known.pop(name, None)
    line = [sys.executable, "-c", PROGRAM.replace("END", end)]
    streams = dict.fromkeys(("stdin", "stdout", "stderr"), slave)
    process, received = subprocess.Popen(line, env=known, **streams), b""
    os.close(slave)
    while block := _read(master):
        received += block
        if kill and b"READY" in received:
            process.send_signal(kill)
            kill = None
    os.close(master)
    return received.decode(), process.wait()


def _read(master):
    try:
        return os.read(master, 1 << 16)
    except OSError:  # Linux, where the other end is closed
        return b""


def lines_of(received):
    return [line.rstrip() for line in re.split(r"[\r\n]+", CODE.sub("", received))]


@pytest.mark.parametrize("columns", [60, 0])
def test_one_view_names_counts_and_tells_the_time_left(columns):
    received, status = on_terminal(columns, TERM="xterm-256color")
    assert status == 0
    lines = lines_of(received)
    assert "2/2 meta-test: random weights, ridge head" in lines
    bars = [line for line in lines if "━" in line]
    width = columns or 80  # not known
    assert bars and all(len(line) == width for line in bars)
    # The steps are those that the lines tell, and each stage has a bar.
    assert any(re.search(r" 1,200/1,200  left 0:00$", line) for line in bars)
    assert any(re.search(r" 0/8$", line) for line in bars)
    assert any(re.search(r" 3/4( |$)", line) for line in bars)
    details = [line for line in lines if line.startswith("setting 2 of 3")]
    assert all(line.endswith("…") and len(line) == width for line in details)
    # What stays is whole and above the view, whoever printed it.
    whole = "folder:cat: validation [bold] " + 20 * "accuracy "
    assert whole.rstrip() in lines
    assert {"from elsewhere", "five lines at the end"} <= set(lines)
    assert any(re.fullmatch(r"meta-test: done in \d:\d\d", line) for line in lines)
    assert "row 1200" not in received


def test_there_is_no_colour_where_none_is_wanted_and_no_view_where_none_can_be():
    plain, _ = on_terminal(80, TERM="xterm-256color", NO_COLOR="1")
    assert "meta-test" in plain and not re.search(r"\x1b\[[\d;]*3[0-8][\d;]*m", plain)
    dumb, _ = on_terminal(80, TERM="dumb")
    assert "\x1b" not in dumb and "━" not in dumb and "row 1200" in lines_of(dumb)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_the_cursor_is_there(signal_number):
    end, term = "time.sleep(60)", "xterm-256color"
    received, status = on_terminal(60, end, signal_number, TERM=term)
    assert status != 0
    assert received.rindex("\x1b[?25h") > received.rindex("\x1b[?25l")
    if signal_number == signal.SIGTERM:
        assert "done in" not in received.partition("READY")[2]


def test_a_pipe_gets_plain_lines(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    line = [sys.executable, "-c", PROGRAM.replace("END", "pass")]
    answer = subprocess.run(line, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    first, second, *rest = answer.stdout.splitlines()
    assert first == "row 1200" and second.count("accuracy") == 20
    assert rest == ["from elsewhere", "READY", "five lines at the end"]
    assert answer.stderr == ""


def test_a_stage_that_ends_is_so_many_units_of_the_one_around_it():
    with progress.plan(["first", "second"]) as whole:
        with progress.Stage("first", 10, done=4) as stage:
            progress.advance(6)
            with progress.Stage("encoding", 3, units=0):
                pass
        assert (stage.done, whole.done, whole.total) == (10, 1, 2)
        with progress.Stage("second", 8) as stage, progress.Stage("", 4, units=8):
            progress.advance(4)
            assert stage.done == 0
        assert (stage.done, whole.done) == (8, 2)


def test_a_stage_that_fails_leaves_none_open():
    with pytest.raises(KeyError), progress.plan(["a"]) as whole:
        with progress.Stage("a", 2):
            raise KeyError
    assert whole.done == 0 and progress._open == []
    progress.advance()
    progress.detailed("nobody listens")
