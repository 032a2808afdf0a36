"""Runs a claim over its seeds, goes on with it, and writes its table.

    python -m benchmarks.claims list
    python -m benchmarks.claims run q4             all seeds; the same line goes on
    python -m benchmarks.claims run q4 --seeds 15  one of them, as on another machine
    python -m benchmarks.claims table q4
    python -m benchmarks.claims table d3_50 --rivals d3_50_scaled   its baselines count

Runs are in runs/claims/NAME/seedN. An archive in benchmarks/claims/results/NAME keeps
what a table is made of, and the version of the code that each seed ran with.
"""

import argparse
import dataclasses
import itertools
import json
import pathlib
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from benchmarks.claims import claim as claims
from benchmarks.claims import data, step_ratios, verdict
from benchmarks.claims.claim import CODE, KEPT, ROWS
from metainit.config.fields import ConfigError
from metainit.data import leakage, loading
from metainit.evaluation.results import Row
from metainit.experiments import configs, launching, meta_learning
from metainit.reporting import finished_runs
from metainit.reporting.verdict import best_heads
from metainit.runtime import atomic, run_folder
from metainit.runtime.cost import NAMES, WARM_START
from metainit.training import stored

TABLE = "table.txt"
AS_TRAINED = (meta_learning.BUDGET, stored.ORIGIN)


def run(name: str, seeds: Sequence[int], workdir: pathlib.Path) -> int:
    """Runs seeds of a claim, or goes on with them; returns the exit status."""
    claim = claims.load(name)
    claims.register(name, workdir)
    for seed, protocol in itertools.product(seeds, ("", *claim.protocols)):
        folder = workdir / protocol / f"seed{seed}"
        kept = claims.RESULTS / name / protocol / folder.name
        if kept in claims.done(name, protocol):
            print(f"{name} {protocol}, seed {seed}: done, in {kept}")
            continue
        config = claims.get_config(name)
        data.check(loading.names(configs.typed(config).data))
        config.seed, code = seed, claims.code()
        if protocol:
            config.update_from_flattened_dict(claim.protocols[protocol])
            files = (*AS_TRAINED, leakage.FILE)
            _trained_alike(workdir / folder.name, folder, config, files)
        elif claim.trained_by:
            trained = workdir.parent / claim.trained_by / folder.name
            if not trained.is_dir():
                words = f"{name} measures what {claim.trained_by} trained: run that"
                raise ConfigError(f"there is no {trained}; {words}")
            _trained_alike(trained, folder, config, AS_TRAINED)
        command = f"python -m benchmarks.claims run {name} --seeds {seed}"
        if status := launching.run(config, folder, command, yes=True):
            return status
        _keep(folder, kept, code)
        claims.pack(name, protocol)
    return 0


def _trained_alike(
    trained: pathlib.Path,
    folder: pathlib.Path,
    config: ConfigDict,
    files: Sequence[str],
) -> None:
    """Makes the folder of a run that has another's trainings, and no meta-test yet.

    Those of `files` that exist are copied, too.
    """
    if folder.exists():
        return
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    run_folder.claim(part, dataclasses.asdict(configs.typed(config)))
    for file in trained.iterdir():
        if file.is_dir() and file.name in (*NAMES, WARM_START):
            shutil.copytree(file, part / file.name)
    for file in files:
        if (trained / file).exists():
            shutil.copy(trained / file, part)
    part.rename(folder)


def _keep(folder: pathlib.Path, kept: pathlib.Path, code: dict[str, str]) -> None:
    """Copies what tables of a finished run are made of, all of it or nothing."""
    part = kept.with_name(kept.name + ".part")
    part.mkdir(parents=True, exist_ok=True)
    for file in KEPT:
        shutil.copy(folder / file, part)
    _keep_episodes(folder / finished_runs.EPISODES, part / finished_runs.EPISODES)
    for file in (ROWS, finished_runs.TRANSFER):
        if (folder / file).exists():
            rows = map(_seven_digits, atomic.read_rows(folder / file))
            atomic.write_rows(part / file, rows)
    (part / CODE).write_text(json.dumps(code))
    part.rename(kept)


def _seven_digits(value: Any) -> Any:
    """Rounds the numbers of a row to seven digits, which float32 can hold."""
    if isinstance(value, dict):
        return {name: _seven_digits(x) for name, x in value.items()}
    if isinstance(value, list):
        return [_seven_digits(x) for x in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


def _keep_episodes(episodes: pathlib.Path, kept: pathlib.Path) -> None:
    """Stores the episodes of each initialisation's best head, for tables.

    The archive of all seeds is compressed, so that this file is not.
    """
    parts = tuple(
        part._replace(rows=tuple(map(_rounded, best_heads(part.rows).values())))
        for part in finished_runs.read_episodes(episodes)
    )
    finished_runs.write_episodes(kept, parts[0]._replace(parts=parts))
    with np.load(kept) as arrays:
        plain = dict(arrays)
    np.savez(kept, **plain)


def _rounded(row: Row) -> Row:
    """Rounds F1 and loss to one in 4,096, to halve their space; accuracy is exact."""

    def rounded(values: np.ndarray) -> np.ndarray:
        bits = values.astype(np.float32).view(np.uint32)
        return ((bits + 0x800) & 0xFFFFF000).view(np.float32)

    kept = {x: rounded(row.measurements[x]) for x in ("f1", "loss")}
    return row._replace(measurements=row.measurements | kept)


def table(name: str, rivals: Sequence[str] = ()) -> str:
    """Makes the tables of a claim, one for each protocol.

    With `rivals` that the claim did not name beforehand the table is not stored.

    Raises:
      ConfigError: no seed is done.
    """
    claim = claims.load(name)
    for rival in rivals:
        claims.load(rival)
    claim = claim._replace(rivals=(*claim.rivals, *rivals))
    parts = []
    for protocol in ("", *claim.protocols):
        if not (folders := claims.done(name, protocol)):
            continue
        if claim.ratio:
            parts.append(step_ratios.report(claim, protocol, folders))
            continue
        rivals_done = {rival: claims.done(rival, protocol) for rival in claim.rivals}
        parts.append(verdict.report(claim, protocol, folders, rivals_done))
    if not parts:
        raise ConfigError(f"claim {name}: no seed is done; run it first")
    text = "\n\n".join(parts)
    if not rivals:
        atomic.write_text(claims.RESULTS / name / TABLE, text + "\n")
    return text


def main() -> int:
    """Reads the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    run_parser, table_parser = map(commands.add_parser, ("run", "table"))
    for command in (run_parser, table_parser):
        command.add_argument("name")
    run_parser.add_argument("--seeds", type=int, nargs="+")
    run_parser.add_argument("--workdir", type=pathlib.Path, help="folder of the runs")
    table_parser.add_argument("--rivals", nargs="+", default=(), help="further claims")
    args = parser.parse_args()
    try:
        if args.command == "list":
            for name in claims.names():
                successor = claims.superseded_by(name)
                about = f" (superseded by {successor})" if successor else ""
                print(f"{name}{about}: {claims.load(name).hypothesis}")
        elif args.command == "table":
            print(table(args.name, args.rivals))
        else:
            claim = claims.load(args.name)
            seeds = claim.numbers if args.seeds is None else args.seeds
            if unknown := [x for x in seeds if x not in claim.numbers]:
                first, *_, last = claim.numbers
                words = f"{args.name} has {first} to {last}"
                raise ConfigError(f"--seeds={unknown}: {words}")
            default = claims.ROOT / "runs" / "claims" / args.name
            return run(args.name, seeds, args.workdir or default)
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
