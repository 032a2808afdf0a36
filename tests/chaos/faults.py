"""Breaks what lies under a line, and looks whether it ends well.

python tests/chaos/faults.py [--faults flips,full,...] [--seed 0] [--out faults.jsonl]

Well is: done, as without the fault; or one line that says what is wrong, status 2, and
nothing lost, so that the same line comes to the same end once the fault is mended.
"""

import argparse
import collections
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import kills
from kills import LINES, Kill, Line, differing, forked, outcome, start

Lines = Sequence[Line]
Rows = Iterator[dict[str, Any]]


def of(words: str) -> Line:
    return Line(lambda folder: None, tuple(words.split()), 0)


TRAIN, FINETUNE, PREPARE = (LINES[x] for x in ("launch", "finetune", "prepare"))
# What reads what a line has left, after the line itself.
READERS = {
    TRAIN: (
        TRAIN,
        of("metainit report runs/trial"),
        of("metainit finetune --init runs/trial --data images/train --out runs/own"),
    ),
    FINETUNE: (FINETUNE, of("metainit predict runs/own images/train0/0.png")),
    PREPARE: (
        of("metainit datasets verify caltech256"),
        of("metainit datasets list"),
        of("launch.py --config=prepared.py"),
    ),
}


def wrong(status: int, folder: pathlib.Path) -> str:
    """Says why a line did not end well; "" where it did."""
    output = (folder / "output").read_text(errors="replace")
    errors = [x for x in output.splitlines() if x.startswith("error: ")]
    if "Traceback" in output:
        return "traceback: " + " / ".join(output.splitlines()[-6:])[-900:]
    if status not in (0, 1, 2) or (status == 2 and len(errors) != 1):
        return f"status {status}: {output[-600:]}"
    return ""


def drawn(line: Line, place: pathlib.Path) -> pathlib.Path:
    """A folder in which the line can be given."""
    folder = place / "run"
    folder.mkdir(parents=True)
    forked(line.draw, folder)
    return folder


def row(fault: str, line: Line, folder: pathlib.Path, **about: Any) -> dict[str, Any]:
    """What is told of a fault: what the line said, and why it did not end well."""
    output = (folder / "output").read_text(errors="replace").splitlines()
    said = [
        x[:200] for x in output if "error: " in x or "made again" in x or "ama" in x
    ]
    return {"fault": fault, "line": " ".join(line.words[:3]), **about, "said": said[:2]}


def flips(place: pathlib.Path, lines: Lines, draw: random.Random) -> Rows:
    """A flipped byte in every kind of file that a line writes, finished or not.

    It is of a file that a reader reads, as times of access tell. What a reader that
    ends well leaves must be as without the flip.
    """
    for line in lines:
        folder = drawn(line, place / line.words[1])
        given = set(folder.rglob("*"))
        aside = folder.with_name("aside")
        for moment in [Kill("rows", 8), None] if line is TRAIN else [None]:
            if aside.exists():
                again(aside, folder)
            status, _ = start(line, folder, moment)
            assert (status == 0) != bool(moment), (folder / "output").read_text()
            if line is PREPARE:
                (folder / "prepared.py").write_text(PREPARED)
            kinds = collections.defaultdict(list)
            for path in sorted(set(folder.rglob("*")) - given):
                name = path.relative_to(folder).as_posix()
                if path.is_file() and path.stat().st_size and "/" in name:
                    kinds[kind_of(name)].append(path)
            shutil.rmtree(aside, ignore_errors=True)
            shutil.copytree(folder, aside)
            readers = READERS[line][:1] if moment else READERS[line]
            for reader in readers:
                again(aside, folder)
                status, _ = start(reader, folder)
                assert status in (0, 1), (folder / "output").read_text()
                read = {path for path in folder.rglob("*") if path.stat().st_atime}
                wanted = left_by(reader, folder)
                for kind, paths in kinds.items():
                    if paths := sorted(read.intersection(paths)):
                        again(aside, folder)
                        about = {"file": kind, "finished": not moment}
                        path = draw.choice(paths)
                        yield flipped(reader, folder, path, draw, wanted) | about


def flipped(
    reader: Line,
    folder: pathlib.Path,
    path: pathlib.Path,
    draw: random.Random,
    wanted: dict[str, Any],
) -> dict[str, Any]:
    """What a reader says of a file in which a bit is another."""
    as_written = path.read_bytes()
    at, damaged = flip(path, draw)
    status, _ = start(reader, folder)
    bad = wrong(status, folder)
    if not bad and status == 0:
        if path.exists() and path.read_bytes() == damaged:
            path.write_bytes(as_written)  # what it leads to matters
        bad = "; ".join(differing(left_by(reader, folder), wanted))[:600]
    return row("flip", reader, folder, byte=at, status=status, wrong=bad)


def again(aside: pathlib.Path, folder: pathlib.Path) -> None:
    """A copy of a folder, no file of which has been read."""
    shutil.rmtree(folder)
    shutil.copytree(aside, folder)
    (folder / "output").write_text("")
    for path in folder.rglob("*"):
        os.utime(path, ns=(0, path.stat().st_mtime_ns))


def left_by(reader: Line, folder: pathlib.Path) -> dict[str, Any]:
    """All that a reader leaves, and what a classifier says."""
    left = forked(outcome, folder)
    if "predict" in reader.words:
        left["output"] = (folder / "output").read_text()
    return left


def kind_of(name: str) -> str:
    """A file's name, the same for all of its kind."""
    name = re.sub(r"/(joint|meta|warm_start|meta_from\w*)/", "/RUN/", name)
    name = re.sub(r"/(train|validation|test)/", "/ROLE/", name)
    return re.sub(r"[0-9a-f]{6,}|\d+", "N", name)


def flip(path: pathlib.Path, draw: random.Random) -> tuple[int, bytes]:
    """Changes a bit of a byte, and not the file's time."""
    about, content = path.stat(), bytearray(path.read_bytes())
    at = draw.choice((0, len(content) // 2, draw.randrange(len(content))))
    content[at] ^= 1 << draw.randrange(8)
    path.write_bytes(content)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    return at, bytes(content)


def mended(
    fault: str, line: Line, folder: pathlib.Path, wanted: dict[str, Any], status: int
) -> dict[str, Any]:
    """After a fault was mended, the same line must come to the same end."""
    about = row(fault, line, folder, status=status)
    bad = wrong(status, folder)
    again, _ = start(line, folder)
    bad = bad or wrong(again, folder) or (f"then {again}" if again else "")
    if not bad:
        bad = "; ".join(differing(forked(outcome, folder), wanted))[:600]
    return about | {"wrong": bad}


def whole(line: Line, folder: pathlib.Path) -> tuple[dict[str, Any], int]:
    """What a line leaves without a fault, and of how many bytes; then that is gone."""
    drawn_only = folder.with_name("drawn")
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    shutil.copytree(folder, drawn_only)
    (folder / "output").write_text("")
    status, _ = start(line, folder)
    assert status == 0, (folder / "output").read_text()
    size = shutil.disk_usage(folder).used
    wanted = forked(outcome, folder)
    renew(folder)
    return wanted, size


def renew(folder: pathlib.Path) -> None:
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(folder.with_name("drawn"), folder, dirs_exist_ok=True)


def full(place: pathlib.Path, lines: Lines, draw: random.Random) -> Rows:
    """A disk, in memory, that is full at some share of what a line writes; of root."""
    for line in lines:
        if line is PREPARE:  # it asks for room enough for the whole data set first
            continue
        folder = place / line.words[1] / "run"
        folder.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
        subprocess.run(mount, check=True)
        try:
            forked(line.draw, folder)
            wanted, size = whole(line, folder)
            given = shutil.disk_usage(folder).used
            for share in (0.1, 0.4, 0.7, 0.95):
                renew(folder)
                room = f"size={int(given + share * (size - given)) >> 10}k"
                resize(folder, room)
                status, _ = start(line, folder)
                said = row("full disk", line, folder)
                resize(folder, "size=64m")
                done = mended(f"full disk, {room}", line, folder, wanted, status)
                yield done | {"said": said["said"]}
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)


def resize(folder: pathlib.Path, room: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{room}", str(folder)], check=True)


def read_only(place: pathlib.Path, lines: Lines, draw: random.Random) -> Rows:
    """A folder of results, or of data, that may not be written to; of root."""
    for line in lines:
        folder = drawn(line, place / line.words[1])
        wanted, _ = whole(line, folder)
        for name in ["data"] if line is PREPARE else ["runs", "data"]:
            renew(folder)
            (folder / name).mkdir()
            mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(folder / name)]
            subprocess.run(mount, check=True)
            try:
                status, _ = start(line, folder)
            finally:
                subprocess.run(["umount", "-l", str(folder / name)], check=True)
            said = row("read-only", line, folder)
            done = mended(f"read-only {name}/", line, folder, wanted, status)
            yield done | {"said": said["said"]}


def clock(place: pathlib.Path, lines: Lines, draw: random.Random) -> Rows:
    """A clock that was set back by a day when a line goes on."""
    now = time.time

    def back() -> None:
        time.time = lambda: now() - 86400

    moments = {TRAIN: Kill("rows", 8), FINETUNE: Kill("features", 5)}
    for line, moment in moments.items():
        if line not in lines:
            continue
        folder = drawn(line, place / line.words[1])
        wanted, _ = whole(line, folder)
        start(line, folder, moment)
        status, _ = start(line, folder, before=back)
        yield mended("clock set back", line, folder, wanted, status)


def twice(place: pathlib.Path, lines: Lines, draw: random.Random) -> Rows:
    """Two launches at once: one has the folder, or waits, and both end well."""
    for line in lines:
        folder = drawn(line, place / line.words[1])
        wanted, _ = whole(line, folder)
        (folder / "output").touch()
        if not (other := os.fork()):
            os._exit(start(line, folder)[0])
        status, _ = start(line, folder)
        _, second = os.waitpid(other, 0)
        both = sorted((status, os.waitstatus_to_exitcode(second)))
        ended = mended("two at once", line, folder, wanted, max(both))
        if both not in ([0, 0], [0, 2]):
            ended["wrong"] = f"{both} {ended['wrong']}"
        yield ended | {"status": both}


def home(place: pathlib.Path, lines: Lines, draw: random.Random) -> Rows:
    """A home that is missing, is no folder, or may not be written to."""
    words = (*TRAIN.words, "--config.data.data_dir=")  # which is below the home then
    hidden = "HOME", "XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR", "METAINIT_DATA_DIR"
    for name in ("missing", "file", "read-only", "unset"):
        folder = drawn(TRAIN, place / name)
        if name == "file":
            (folder / "home").touch()
        at = "/proc" if name == "read-only" else str(folder / "home")

        def move(at: str = "" if name == "unset" else at) -> None:
            for variable in hidden:
                os.environ.pop(variable, None)
            os.environ |= {"HOME": at} if at else {}

        status, _ = start(TRAIN._replace(words=words), folder, before=move)
        ended = {"status": status, "wrong": wrong(status, folder)}
        yield row(f"home: {name}", TRAIN, folder, **ended)


PREPARED = """
from metainit.experiments import configs

def get_config():
    config = configs.default()
    config.update(iterations=1)
    config.data.update(name="tfds:caltech256", size=8, data_dir="data", channels=3)
    config.data.split = (0.4, 0.3, 0.3)
    config.task.update(way=2, shot=1, queries=1)
    config.train_task.update(way=2, shot=1, queries=1)
    config.model.update(name="mlp", hidden=(4,))
    config.joint.steps_per_iteration = 1.0
    config.evaluate.episodes = 0
    return config
"""
Fault = Callable[[pathlib.Path, Lines, random.Random], Rows]
FAULTS: dict[str, Fault] = {
    x.__name__: x for x in (twice, clock, home, read_only, full, flips)
}


def main() -> int:
    parser = argparse.ArgumentParser("faults.py", description=__doc__)
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--lines", default="launch,finetune,prepare")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="a file for a row of JSON a fault")
    given = parser.parse_args()
    kills.load()
    tell, count, bad = kills.teller(given.out), 0, 0
    with tempfile.TemporaryDirectory() as place:
        for name in given.faults.split(","):
            draw = random.Random(f"{given.seed} {name}")
            (pathlib.Path(place) / name).mkdir()
            lines = [LINES[line] for line in given.lines.split(",")]
            for told in FAULTS[name](pathlib.Path(place) / name, lines, draw):
                tell(told)
                count, bad = count + 1, bad + bool(told["wrong"])
    tell({"faults": count, "seed": given.seed, "wrong": bad})
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
