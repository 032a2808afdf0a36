"""Reports: verdict first, then tables, figures and how to repeat it.

    metainit report RUN... [--out FOLDER]

compares finished runs, over seeds: config differences first, then accuracies, paired
differences and times to threshold; with --out also as report.md and report.html.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import pathlib
import shlex
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from metainit.evaluation import metrics
from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import (
    compare,
    figures,
    html,
    markdown,
    paired,
    seeds_report,
    tables,
    transfer_report,
    verdict,
)
from metainit.reporting.tables import Context
from metainit.runtime import atomic
from metainit.runtime.logging import Writer
from metainit.transfer.results import Transfer

_WIDTH = 100


def main(argv: Sequence[str] | None = None) -> int:
    """The program; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="metainit report",
        description="Compares finished runs, over seeds.",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run")
    parser.add_argument("--out", metavar="FOLDER", help="where the page is written")
    args = parser.parse_args(argv)
    try:
        found = compare.compare(args.runs)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(seeds_report.terminal(found))
    if args.out:
        words = [
            "python",
            "-m",
            "metainit.reporting.run_report",
            *args.runs,
            "--out",
            args.out,
        ]
        print(f"report: {write_comparison(args.out, found, shlex.join(words))}")
    return 0


def write_comparison(
    folder: str | os.PathLike[str], found: compare.Compared, command: str
) -> pathlib.Path:
    """Writes `report.md`, `report.html` and figures; returns the first's path.

    Args:
      folder: made when absent.
      found: of the runs.
      command: that makes this report.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {}
    for group in found.groups:
        if there := seeds_report.with_transfer(group):
            drawn[group.label] = f"transfer{group.label}.png"
            seeds = [run.transfer for run in there]
            figures.transfer(folder / drawn[group.label], seeds)
    text = list(seeds_report.lines(found, command, drawn))
    atomic.write_text(folder / "report.md", "\n".join(text))
    atomic.write_text(folder / "report.html", html.page(text, folder))
    return folder / "report.md"


def write_report(
    workdir: str | os.PathLike[str],
    evaluation: Evaluation,
    context: Context,
    transfer: Transfer | None = None,
) -> str:
    """Writes report.md, report.html, results.jsonl, figures and `episodes.npz`.

    Each file is whole or not there at all.

    Heads, steps and settings are compared as chosen on meta-validation; nothing is
    chosen by a test result.

    Args:
      workdir: folder of the run.
      evaluation: on meta-test, every row over the same episodes.
      context: about the run.
      transfer: its fine-tunings, where there were any.

    Returns:
      Plain text for the terminal, at most 100 columns wide.

    Raises:
      ValueError: rows whose arrays do not fit together, fewer than two episodes, or
        none of our initialisations.
    """
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    _check(evaluation.rows)
    ours = verdict.our_best(evaluation.rows)
    differences = [verdict.compare(ours, r) for r in evaluation.rows if r is not ours]
    lines = itertools.chain(
        _result_lines(evaluation, differences),
        *(_result_lines(part, _differences_of(part)) for part in evaluation.parts),
        [_summary(evaluation, context)],
    )
    atomic.write_text(workdir / "results.jsonl", "".join(map(_json, lines)))
    paired.write(workdir / paired.FILE, evaluation)
    drawn = []
    if figures.learning_curve(workdir / "learning_curve.png", context["training"]):
        drawn.append(("Learning curve", "learning_curve.png"))
    if figures.adaptation(workdir / "adaptation.png", evaluation):
        drawn.append(("Accuracy against adaptation step", "adaptation.png"))
    section: list[str] = []
    if transfer is not None:
        figures.transfer(workdir / "transfer.png", [transfer.runs])
        section = list(transfer_report.lines(transfer, "transfer.png"))
    text = list(
        markdown.lines(workdir, evaluation, context, differences, drawn, section)
    )
    atomic.write_text(workdir / "report.md", "\n".join(text))
    atomic.write_text(workdir / "report.html", html.page(text, workdir))
    terminal = list(_terminal(evaluation, context, differences))
    if transfer is not None:
        terminal += ["", *transfer_report.terminal(transfer, _WIDTH)]
    return "\n".join(terminal)


def show_in_tensorboard(workdir: str | os.PathLike[str], step: int) -> None:
    """Hands the figures and the text of a written report to TensorBoard.

    Args:
      workdir: folder of the run; events go to `report` in it.
      step: under which they stand.
    """
    workdir = pathlib.Path(workdir)
    pictures = {}
    for path in sorted(workdir.glob("*.png")):
        with Image.open(path) as picture:
            pictures[f"report/{path.stem}"] = np.asarray(picture.convert("RGB"))[None]
    with Writer(workdir / "report") as writer:
        writer.write_images(step, pictures)
        writer.write_texts(step, {"report/text": (workdir / "report.md").read_text()})


def _check(rows: Sequence[Row]) -> None:
    episodes = rows[0].measurements["accuracy"].shape[-1] if rows else 0
    for row in rows:
        for name in metrics.METRICS:
            shape = row.measurements[name].shape
            if shape != (len(row.steps), episodes):
                raise ValueError(
                    f"row {row.init}, {row.head}: {name} {shape}; every row needs "
                    f"[steps, episodes], here {(len(row.steps), episodes)}"
                )


def _differences_of(part: Evaluation) -> list[verdict.Difference]:
    """On one data set, rows compared as they were chosen for all."""
    ours = verdict.our_best(part.rows)
    return [verdict.compare(ours, row) for row in part.rows if row is not ours]


def _result_lines(
    evaluation: Evaluation, differences: Sequence[verdict.Difference]
) -> Iterator[dict[str, Any]]:
    """Lines of `results.jsonl`: measures by step, then differences."""
    shared = {"dataset": evaluation.dataset, "protocol": evaluation.protocol}
    for row in evaluation.rows:
        about = {
            "batch_norm": evaluation.batch_norm,
            "device_hours": row.cost.device_seconds / 3600,
            "images_seen": row.cost.images,
            "flops": row.cost.flops,
        }
        for metric in metrics.METRICS:
            for position, values in enumerate(row.measurements[metric]):
                mean, low, high = metrics.mean_interval(values)
                yield {
                    "init": row.init,
                    "head": row.head,
                    **shared,
                    "metric": metric,
                    "value": mean,
                    "low": low,
                    "high": high,
                    "n": len(values),
                    **about,
                    "step": row.steps[position],
                    "chosen": position == row.chosen,
                    "setting": row.setting,
                }
    for difference in differences:
        yield {
            "init": difference.row.init,
            "head": difference.row.head,
            "other_init": difference.other.init,
            "other_head": difference.other.head,
            **shared,
            "metric": "accuracy_difference",
            "value": difference.mean,
            "low": difference.low,
            "high": difference.high,
            "n": len(verdict.chosen_accuracy(difference.row)),
            "batch_norm": evaluation.batch_norm,
        }


def _summary(evaluation: Evaluation, context: Context) -> dict[str, Any]:
    ours = verdict.our_best(evaluation.rows)
    # A step of the evaluation is one episode met by one row.
    steps = sum(row.measurements["accuracy"].shape[1] for row in evaluation.rows)
    return {
        "eval_loss": float(np.mean(ours.measurements["loss"][ours.chosen])),
        "eval_accuracy": float(np.mean(verdict.chosen_accuracy(ours))),
        "eval_runtime": evaluation.runtime,
        "eval_samples_per_second": steps * evaluation.queries / evaluation.runtime,
        "eval_steps_per_second": steps / evaluation.runtime,
        "epoch": context["epoch"],
    }


def _json(line: dict[str, Any]) -> str:
    """One line; what is not finite is null, since JSON has no word for it."""
    finite = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in line.items()
    }
    # A setting may hold NumPy or JAX numbers.
    return json.dumps(finite, default=float) + "\n"


def _terminal(
    evaluation: Evaluation,
    context: Context,
    differences: Sequence[verdict.Difference],
) -> Iterator[str]:
    minus = {id(d.other): verdict.points(d) for d in differences}
    yield from textwrap.wrap(verdict.sentence(evaluation.rows), _WIDTH)
    yield ""
    about = (
        f"{evaluation.dataset}, {evaluation.protocol}, {evaluation.device}; "
        f"batch norm: {evaluation.batch_norm}. {tables.condition(context)}"
    )
    yield from textwrap.wrap(about, _WIDTH)
    yield ""
    heading = ("head", "steps", "accuracy %", "F1 %", "loss", "0 steps", "last steps")
    table: list[tuple[str, ...]] = [(*heading, "ours minus this")]
    groups: list[tuple[int, str]] = []
    for init in dict.fromkeys(row.init for row in evaluation.rows):
        rows = [row for row in evaluation.rows if row.init == init]
        cost = rows[0].cost
        time = tables.duration(cost.device_seconds)
        title = f"{init}: {time} of device time, {cost.images:,} images seen"
        groups.append((len(table), title))
        for row in rows:
            cells = tables.measures(row, "+-")
            table.append((f"  {row.head}", *cells, minus.get(id(row), "-")))
    lines = tables.aligned(table)
    titles = dict(groups)
    for number, line in enumerate(lines):
        if number in titles:
            yield titles[number][:_WIDTH]
        yield line[:_WIDTH]
    yield ""
    if evaluation.parts:
        yield from tables.aligned([tables.PART_HEADING, *tables.parts(evaluation)])
        yield ""
    yield from textwrap.wrap(
        "Head, steps and settings chosen on meta-validation; +- and [ ] are 95 % "
        'intervals over episodes; "ours" is the best head of our best initialisation.',
        _WIDTH,
    )
