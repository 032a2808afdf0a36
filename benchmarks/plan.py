"""Whether a run takes what its plan says.

    python benchmarks/plan.py [NAME ...] >> benchmarks/results/plan.jsonl

Small runs of several kinds, on glyphs, which need no download. Each is planned by
`--dry_run`, and then run with an empty folder and no compiled code kept from before. A
line of JSON for each has seconds: what the dry run took and said, what the plan that
opened the run said, and what it took, the plan itself included. Rows of before December
2026 have a plan from counted operations, too.

On two cores beside other work, with the plan that opened the run over what it took:
perceptron 0.67, quickstart 0.84 (results/plan.jsonl); EfficientNet-Lite0 0.78, Conv-4
with five steps 1.03 (results/plan-161fdd5.jsonl, of that commit, where heads in closed
form were timed on a first call, and a perceptron's plan was twice what it took).
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
# All episodes that evaluate.max_share allows: half_width may ask for fewer.
SHORT = (
    "--config.iterations=400",
    "--config.warm_start=100",
    "--config.outer.decay_steps=400",
    "--config.validate_every=100",
    "--config.checkpoint_every=100",
    "--config.evaluate.half_width=0",
)
RUNS = {
    "quickstart": ("quickstart.py", *SHORT),
    "perceptron": (
        "quickstart.py",
        *SHORT,
        "--config.model.name=mlp",
        "--config.model.scale=1.0",
        "--config.inner.steps=5",
    ),
    "conv4, 5 steps": (
        "methods.py:lslr",
        *SHORT,
        "--config.iterations=200",
        "--config.evaluate.episodes=100",
    ),
    "lite0, adapted": (
        "maml_lite0.py:adapted",
        "--config.encoder.weights=",
        "--config.data.name=glyphs",
        "--config.data.train=()",
        "--config.data.validation=()",
        "--config.data.test=()",
        "--config.data.size=32",
        "--config.task.way=5",
        "--config.train_task.way=5",
        "--config.iterations=20",
        "--config.validate_every=10",
        "--config.evaluate.episodes=50",
        "--config.evaluate.validation_episodes=20",
        "--config.evaluate.steps=(0,1,5,10)",
    ),
}
KINDS = "", "_at_its_start"
UNITS = {"ms": 1e-3, "s": 1, "minutes": 60, "hours": 3600, "days": 86400}


def planned(text: str) -> dict[str, float]:
    """Seconds of each part of a plan, by its name."""
    lines = re.findall(
        r"^  (\S.*?) {2,}([\d.e+]+) (ms|s|minutes|hours|days)\b", text, re.M
    )
    return {name: float(number) * UNITS[unit] for name, number, unit in lines}


def run(line: list[str], flags: tuple[str, ...], folder: str) -> tuple[float, str]:
    """The seconds that a command took, and what it printed."""
    config, *changes = flags
    env = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/jax{time.time()}",
        "PYTHONPATH": str(ROOT),
    }
    words = [f"--config={ROOT / 'configs' / config}", f"--workdir={folder}/run"]
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *line, *words, *changes],
        capture_output=True,
        text=True,
        env=env,
        cwd=ROOT,
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return time.perf_counter() - begin, done.stdout


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(RUNS), metavar="NAME")
    for name in parser.parse_args().names:
        flags = RUNS[name]
        with tempfile.TemporaryDirectory() as folder:
            dry, told = run(["launch.py", "--dry_run"], flags, folder)
            took, printed = run(["launch.py"], flags, folder)
        plans = [planned(text) for text in (told, printed)]
        row = {
            "run": name,
            "flags": flags,
            "dry_run": dry,
            **{
                f"planned{kind}": plan["in all"]
                for kind, plan in zip(KINDS, plans, strict=True)
            },
            "took": took,
            "parts": plans[1],
            "cores": os.cpu_count(),
            "busy": os.getloadavg()[1],
        }
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
