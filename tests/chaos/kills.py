"""Kills lines at random moments, gives each again, and compares what came of it.

python tests/chaos/kills.py --kills 100 --seed 0 --out kills.jsonl

Every start is a process of its own, forked from this one, which has imported all and
computed nothing. A kill (SIGKILL) comes before or some milliseconds after a random
change of a file, or at a random time. At the end there must be what there is without
kills: parameters, rows and event files, but for measured times.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import logging
import multiprocessing
import os
import pathlib
import random
import re
import runpy
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

CONFIG = """
import pathlib, tiny

def get_config(variant=""):
    config = tiny.config(pathlib.Path("images"))
    config.update(iterations=12, warm_start=4, log_every=2, checkpoint_every=3)
    config.update(validate_every=4)
    config.model.update(name="mlp", hidden=(16,))
    if variant == "transfer":
        config.update(iterations=2, warm_start=0, cold_start=True)
        config.transfer.steps = 2
    return config
"""
# Kills of a run, after which it may come to its end.
MOST = 6
# Names of what is measured, and differs between any two runs.
TIMES = ("seconds", "hours", "runtime", "per_second", "logged_at")


class Line(NamedTuple):
    """A command, in a folder that `draw` has filled."""

    draw: Callable[[pathlib.Path], None]
    words: tuple[str, ...]
    share: int  # of the kills, in relation to others'


def _draw_images(folder: pathlib.Path) -> None:
    import tiny

    tiny.draw(folder / "images")
    (folder / "trial.py").write_text(CONFIG)


def _draw_archive(folder: pathlib.Path) -> None:
    import archives
    import seven

    files = {
        f"256_ObjectCategories/{label:03}.x/{label:03}_{image:04}.jpg": archives.encode(
            archives.picture(10 * label + image)
        )
        for label in range(1, 7)
        for image in range(1, 5)
    }
    file = archives.pack(folder / seven.CALTECH_FILE, files)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    (folder / "sums").write_text(f"{digest}  {file.name}\n")


def _draw_weights(folder: pathlib.Path) -> None:
    import small_transfer
    import tiny

    tiny.draw(folder / "drawn")
    (folder / "drawn" / "train").rename(folder / "images")
    small_transfer.write_resnet(folder / "resnet.safetensors")


_PREPARE = "metainit datasets prepare caltech256 --manual_dir . --checksums sums"
_FINETUNE = "metainit finetune --init resnet.safetensors --data images --out runs/own"
_ADAPT = "--use adapted --head adapted --steps=5 --size=32"
LINES = {
    "launch": Line(_draw_images, ("launch.py", "--config=trial.py"), 5),
    "transfer": Line(_draw_images, ("launch.py", "--config=trial.py:transfer"), 1),
    "prepare": Line(_draw_archive, tuple(_PREPARE.split()), 2),
    "finetune": Line(_draw_weights, tuple(_FINETUNE.split()), 1),
    "adapt": Line(_draw_weights, (*_FINETUNE.split(), *_ADAPT.split()), 1),
}


def run(line: Line) -> int:
    """Gives a line in this process; returns its status."""
    program, *arguments = line.words
    if program == "metainit":
        from metainit.__main__ import main

        return main(arguments)
    sys.argv = [str(ROOT / program), *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        return int(end.code or 0)
    return 0


# Words in paths, by what a line is at when it changes these.
PHASES = {
    "data preparation": ("data/tfds",),
    "cache": ("data/cache",),
    "features": ("data/features",),
    "transfer": ("/transfer",),
    "best checkpoint": ("/best",),
    "checkpoint": ("/checkpoints",),
    "rows": ("metrics.jsonl", "events.out"),
    "report": (
        "report",
        ".png",
        "/init",
        "results",
        "episodes",
        "manifest",
        "held_out",
    ),
    "run folder": ("runs/",),
}


def phase(path: str) -> str:
    """What a line is at when it changes a file."""
    return next((x for x, words in PHASES.items() if any(w in path for w in words)), "")


class Kill(NamedTuple):
    """When a process is to be killed."""

    phase: str = ""
    change: int = 0  # of a file, in this phase, counted from 1; 0: at a time
    after: float = 0.0  # seconds, after this change or the start

    def watch(self, log: int) -> None:
        """Logs every change of a file by this process, and kills it when it is due."""
        here, count = f"{os.getcwd()}/", collections.Counter[str]()

        def heard(event: str, given: Any) -> None:
            if event == "open":
                flags = given[2] if isinstance(given[2], int) else 0
                changes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            else:
                changes = event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir")
            # Not of a descriptor, nor by a path in a folder that is open.
            if not changes or not isinstance(given[0], str | os.PathLike):
                return
            if event != "open" and given[-1] != -1:
                return
            path = os.path.abspath(given[event == "os.rename"])
            if not path.startswith(here) or not (at := phase(path.removeprefix(here))):
                return
            count[at] += 1
            os.write(log, f"{event} {path.removeprefix(here)}\n".encode())
            if (at, count[at]) == (self.phase, self.change):
                if not self.after:
                    os.kill(os.getpid(), signal.SIGKILL)
                ended = os.getpid(), signal.SIGKILL
                threading.Timer(self.after, os.kill, ended).start()

        sys.addaudithook(heard)


def start(
    line: Line, folder: pathlib.Path, kill: Kill | None = None
) -> tuple[int, list[str]]:
    """Gives a line in a folder; returns its status and its changes of files, in order.

    What the line prints is in a file `output` there.
    """
    child = os.fork()
    if not child:
        status = 1
        try:
            os.chdir(folder)
            for number in (1, 2):
                os.dup2(
                    os.open("output", os.O_CREAT | os.O_WRONLY | os.O_APPEND), number
                )
            os.environ["METAINIT_DATA_DIR"] = f"{folder}/data"
            log = os.open("changes", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
            (kill or Kill()).watch(log)
            status = run(line)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    if kill and not kill.change:
        threading.Timer(kill.after, _end, [child]).start()
    _, status = os.waitpid(child, 0)
    log = (folder / "changes").read_text()
    return os.waitstatus_to_exitcode(status), log.splitlines()


def _end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
    except ProcessLookupError:
        pass


def outcome(folder: pathlib.Path) -> dict[str, Any]:
    """All that a line leaves, by file, but for measured times and texts for people."""
    found: dict[str, Any] = {}
    read_by = {
        "*.jsonl": _rows,
        "*.npz": _arrays,
        "*.npy": _arrays,
        "*.safetensors": _bytes,
        "*.array_record*": _bytes,
        "finished.json": _bytes,
        "config.json": _bytes,
        "origin.json": _bytes,
        "data.json": _bytes,
        "held_out.csv": _bytes,
        "checkpoints": _checkpoint,
        "best": _checkpoint,
    }
    for path in sorted(folder.rglob("*")):
        reads = [read for name, read in read_by.items() if path.match(name)]
        saved = path.parent.name in ("checkpoints", "best")  # which are read as folders
        hidden = {"_", "."} & {part[0] for part in path.parts[1:]}
        if reads and not hidden and not saved:
            name = path.relative_to(folder).as_posix()
            found[name] = reads[0](path)
            if path.name == "metrics.jsonl":
                found[f"events beside {name}"] = _events(path.parent)
    half = re.compile(r"\.new-.*|incomplete\..*|\..*\.\d+")
    left = [str(x.relative_to(folder)) for x in folder.rglob("*") if half.match(x.name)]
    found["half-written"] = left
    return found


def _is_time(name: str) -> bool:
    return any(word in name for word in TIMES)


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
    rows = map(json.loads, path.read_text().splitlines())
    return [{k: x for k, x in row.items() if not _is_time(k)} for row in rows]


def _events(folder: pathlib.Path) -> list[tuple[str, int, float]]:
    """Scalars as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return sorted(
        (tag, event.step, event.value)
        for tag in events.Tags()["scalars"]
        if not _is_time(tag)
        for event in events.Scalars(tag)
    )


def _arrays(path: pathlib.Path) -> Any:
    import numpy as np

    loaded = np.load(path)
    if isinstance(loaded, np.ndarray):
        return hashlib.sha256(loaded.tobytes()).hexdigest()
    return {
        name: hashlib.sha256(loaded[name].tobytes()).hexdigest()
        for name in loaded.files
        if name != "index"  # which has costs
    }


def _bytes(path: pathlib.Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _checkpoint(path: pathlib.Path) -> Any:
    from metainit.runtime import digest
    from metainit.runtime.checkpoint import Checkpoints

    saved = Checkpoints(path).restore()
    assert saved is not None, path
    extra = {
        name: x
        for name, x in saved.extra.items()
        if name != "points" and not _is_time(name)
    }
    return saved.step, extra, digest.sha256(saved.state)


def forked(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, called in a process of its own."""
    fork = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(1, fork) as process:
        return process.submit(function, *arguments).result()


def differing(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {str(wanted.get(name))[:300]} -> {str(found.get(name))[:300]}"
        for name in sorted(found.keys() | wanted.keys())
        if found.get(name) != wanted.get(name)
    ]


def chains(
    name: str, kills: int, draw: random.Random, place: pathlib.Path, tell: Callable
) -> int:
    """Kills a line so many times; returns how many of its ends were other ones."""
    line, wrong = LINES[name], 0
    drawn = place / "drawn"
    drawn.mkdir()
    forked(line.draw, drawn)
    for at in sorted(drawn.rglob("*")):  # what a cache is known by
        os.utime(at, (1e9, 1e9))
    folder = place / "run"  # always the same, since caches are known by it
    _copy(drawn, folder)
    began = time.perf_counter()
    status, changes = start(line, folder)
    assert status == 0, (folder / "output").read_text()
    seconds = time.perf_counter() - began
    wanted = forked(outcome, folder)
    assert wanted, "nothing to compare"
    about = {"line": " ".join(line.words), "seconds": round(seconds, 1)}
    counts = collections.Counter(map(phase, changes))
    tell({**about, "changes": dict(counts), "compared": len(wanted)})
    done, number = 0, 0
    met: collections.Counter[str] = collections.Counter()
    while done < kills:
        shutil.rmtree(folder)
        _copy(drawn, folder)
        killed: list[Any] = []
        while True:
            kill = None
            if len(killed) < MOST and done < kills:
                kill = _draw(counts, seconds, draw)
            status, log = start(line, folder, kill)
            if status != -signal.SIGKILL:
                break
            done += 1
            killed.append([*kill, log[-1] if log else ""])
            met[phase(killed[-1][-1])] += 1
        what = []
        if status:
            what = [f"status {status}: {(folder / 'output').read_text()[-2000:]}"]
        else:
            what = differing(forked(outcome, folder), wanted)
        wrong += bool(what)
        tell({"line": name, "chain": number, "kills": killed, "differing": what})
        number += 1
    tell({"line": name, "kills by phase": dict(met)})
    return wrong


def _draw(counts: dict[str, int], seconds: float, draw: random.Random) -> Kill:
    """A moment: in any phase as likely, or at any time."""
    if draw.random() < 0.2:
        return Kill(after=round(draw.uniform(0, seconds), 3))
    at = draw.choice(sorted(counts))
    return Kill(at, draw.randint(1, counts[at]), draw.choice((0, 0, 0.001, 0.005)))


def _copy(drawn: pathlib.Path, folder: pathlib.Path) -> None:
    shutil.copytree(drawn, folder, symlinks=True)


def teller(path: str | None) -> Callable[[dict[str, Any]], None]:
    """Writes rows of JSON to a file, or to the standard output."""
    out = open(path, "w") if path else sys.stdout
    return lambda row: print(json.dumps(row), file=out, flush=True)


def load() -> None:
    """Imports all that a line imports, so that what is forked need not."""
    import conftest  # noqa: F401  (first: it has jax's settings)
    import tensorboard.backend.event_processing.event_accumulator  # noqa: F401
    import tensorflow_datasets  # noqa: F401

    import metainit.experiments.finetune
    import metainit.experiments.launching  # noqa: F401

    logging.getLogger("tensorboard").setLevel(logging.ERROR)


def main() -> int:
    parser = argparse.ArgumentParser("kills.py", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--lines", default=",".join(LINES), help="which, with commas")
    parser.add_argument("--out", help="a file for a row of JSON a chain of kills")
    given = parser.parse_args()
    import archives  # noqa: F401

    load()
    names, tell = given.lines.split(","), teller(given.out)
    shares, wrong, left = [LINES[name].share for name in names], 0, given.kills
    for number, name in enumerate(names):
        kills = round(left * shares[number] / sum(shares[number:]))
        left -= kills
        seed = random.Random(f"{given.seed} {name}")
        with tempfile.TemporaryDirectory() as place:
            wrong += chains(name, kills, seed, pathlib.Path(place), tell)
    tell({"kills": given.kills, "seed": given.seed, "wrong": wrong})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
