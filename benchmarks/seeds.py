"""Runs a config with several seeds, and keeps the text and numbers of each report.

    python benchmarks/seeds.py configs/quickstart.py --seeds 0 1 2 3 4 [FLAG ...]

NAME-seedN.txt in benchmarks/results has the seconds of the whole command and the text
of the report. NAME-seedN.jsonl.gz is its results.jsonl. Other flags, such as
--config.iterations=100, go to launch.py; --tag is added to NAME.
"""

import argparse
import gzip
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--tag", default="")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "benchmarks/results")
    args, flags = parser.parse_known_args()
    args.out.mkdir(parents=True, exist_ok=True)
    file, _, variant = args.config.partition(":")
    parts = (pathlib.Path(file).stem, variant, args.tag)
    name = "-".join(part for part in parts if part)
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            workdir = pathlib.Path(folder) / "run"
            command = [
                *(sys.executable, "launch.py", "--config", args.config),
                *(f"--config.seed={seed}", "--workdir", str(workdir), *flags),
            ]
            begin = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True)
            seconds = time.perf_counter() - begin
            text = (workdir / "report.txt").read_text()
            shown = re.sub(r"\S*/", "", " ".join(flags))
            heading = f"{args.config} seed {seed} {shown}: {seconds:.0f} s in all\n\n"
            (args.out / f"{name}-seed{seed}.txt").write_text(heading + text + "\n")
            results = gzip.compress((workdir / "results.jsonl").read_bytes(), mtime=0)
            (args.out / f"{name}-seed{seed}.jsonl.gz").write_bytes(results)


if __name__ == "__main__":
    main()
