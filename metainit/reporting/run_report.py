"""The report of a run: who wins, then tables, figures and how to repeat it.

Nothing in it is chosen by a test result.
"""

import os
import pathlib
import re
import shlex
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from metainit.evaluation import intervals, metrics
from metainit.evaluation.metrics import ACCURACY
from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import (
    example,
    fairness,
    figures,
    finished_runs,
    html,
    plain_text,
    tables,
    transfer_report,
    verdict,
)
from metainit.reporting.tables import Bar, details, paragraph
from metainit.reporting.verdict import Differences
from metainit.runtime import atomic
from metainit.runtime.logging import Writer
from metainit.transfer.results import Transfer

Paired = Sequence[tuple[Evaluation, Differences]]

# Words of a command line that another run does not share, as `shlex.join` writes them.
_OWN_WORDS = re.compile(r" (--(out|workdir)[ =]('[^']*'|\S+)|seed=\S+)")
_EXPLAINED = tables.bullets(
    (
        "Setting, Steps: the best on meta-validation; test results choose nothing. A "
        "dash under Steps: the head is in closed form and takes none.",
        "Accuracy: mean over episodes (Student's t). F1: of a class that is never "
        "predicted, 0. Loss: cross-entropy in nats.",
        "Ours minus this: accuracy in points, paired by episode (bootstrap). `metainit "
        "report RUN...` compares several seeds.",
    )
)


class Context(TypedDict):
    """What a report says about the run, besides its evaluation."""

    title: str
    command: str  # that repeats the run
    terms: fairness.Terms
    versions: Mapping[str, str]  # of the packages
    config: Mapping[str, Any]  # nested
    training: Sequence[figures.Curve]
    device_hours: float  # of the whole run
    epoch: float  # passes over the meta-train images


def write_report(
    workdir: str | os.PathLike[str],
    evaluation: Evaluation,
    context: Context,
    transfer: Transfer | None = None,
) -> str:
    """Writes report.md, report.html, results.jsonl, figures and `episodes.npz`.

    Each file is whole or not there at all. The text that is returned is the report for
    a terminal.

    Raises:
      ValueError: rows whose arrays do not fit together, fewer than two episodes, or
        none of our initialisations.
    """
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    _check(evaluation.rows)
    paired = [(x, verdict.differences(x.rows)) for x in (evaluation, *evaluation.parts)]
    lines = [line for part in paired for line in _result_lines(*part)]
    lines.append(_summary(evaluation, context))
    atomic.write_rows(workdir / "results.jsonl", lines)
    finished_runs.write_episodes(workdir / finished_runs.EPISODES, evaluation)
    commands = _next(workdir, context)
    costs = {row.init: row.cost for row in evaluation.rows}
    about = [
        f"{evaluation.dataset}, {evaluation.protocol_and_count}, on "
        f"{evaluation.device}. One training run: ± and [ ] are 95 % intervals over the "
        "draw of episodes.",
        f"It took {tables.duration(context['device_hours'] * 3600)} of device time; "
        f"the evaluation took {tables.duration(evaluation.runtime)}.",
        *fairness.unequal(costs, context["terms"]),
    ]
    opening = verdict.verdict(evaluation)
    first, *facts = map(paragraph, about)
    heads = _table(paired[:1], without=["Data set"])
    results = [*_results(workdir, paired)]
    given = fairness.section(evaluation.rows, evaluation.batch_norm, context["terms"])
    results.append(details("What each was given", *given))
    end = [*_end(workdir, evaluation, context)]
    if transfer is not None:
        figures.transfer(workdir / "transfer.png", [transfer.runs])
        section = transfer_report.section(transfer, "transfer.png")
        results.append(details("Transfer efficiency", *section))
        end.insert(0, transfer_report.account(transfer))
    todo = (f"{command}  # {purpose}" for purpose, command in commands.items())
    page = [opening, tables.heading(context["title"], 1), first]
    page += [bars(evaluation.rows), *_example(evaluation), *facts]
    page += [tables.code("\n".join(todo)), details("Heads", heads, _EXPLAINED)]
    html.write(workdir, [*page, *results, *end])
    narrow = _table(paired[:1], without=["Data set", "Setting"])
    shown = plain_text.render([narrow, *results, first, *facts])
    ending = plain_text.ending(opening, str(workdir / "report.html"), commands)
    return f"{shown}\n\n{ending}"


def _next(workdir: pathlib.Path, context: Context) -> dict[str, str]:
    """Lists commands to go on with, by what they are for."""
    commands, where = {}, shlex.quote(str(workdir))
    if context["command"].startswith("metainit train "):
        seed = context["terms"].seed + 1
        given = _OWN_WORDS.sub("", context["command"])
        other = f"seed={seed} --out {shlex.quote(f'{workdir}-seed{seed}')}"
        commands["does it hold"] = f"{given} {other}"
    names = (name.split(":")[-1] for name in context["terms"].mixture)
    kinds = ", ".join(sorted({name.rpartition("/")[2] for name in names}))
    like = f"for images like {textwrap.shorten(kinds, 30, placeholder='...')}"
    commands[like] = f"metainit finetune MY_IMAGES --init {where}"
    return commands


def show_in_tensorboard(
    workdir: str | os.PathLike[str],
    step: int,
    rows: Sequence[Row],
    settings: Mapping[str, Any],
    episode: Mapping[str, np.ndarray],
) -> None:
    """Shows what `write_report` wrote in TensorBoard, under `step`.

    Settings, by dotted name, stand beside the accuracies that they led to; an episode
    has images [n, h, w, c] by what they are, which are shown where they are uint8.
    """
    workdir = pathlib.Path(workdir)
    pictures = {
        f"episode/{name}": x for name, x in episode.items() if x.dtype == np.uint8
    }
    reached = {
        f"report/accuracy/{init}": float(verdict.chosen(row).mean())
        for init, row in verdict.best_heads(rows).items()
    }
    for path in sorted(workdir.glob("*.png")):
        with Image.open(path) as picture:
            pictures[f"report/{path.stem}"] = np.asarray(picture.convert("RGB"))[None]
    with Writer(workdir / "report") as writer:
        writer.write_hparams(settings, reached)
        writer.write_images(step, pictures)


def bars(rows: Sequence[Row]) -> str:
    """Draws each initialisation's accuracy, with the head that validation chose."""
    best = verdict.best_heads(rows).items()
    return tables.bars(
        "Accuracy on unseen classes",
        [
            Bar(init, _place(row), *intervals.mean_interval(verdict.chosen(row)))
            for init, row in best
        ],
    )


def _example(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.example is None:
        return
    rival = verdict.hardest(evaluation.rows)
    ours = verdict.our_best(evaluation.rows).init
    yield from example.section(evaluation.example, ours, rival and rival[1])


def _place(row: Row) -> str:
    """Names the head and the chosen steps, e.g. "prototype head after 5 steps"."""
    if row.in_closed_form:
        return row.head
    count = row.steps[row.chosen]
    return f"{row.head} head after {count} step{'s' * (count != 1)}"


def _check(rows: Sequence[Row]) -> None:
    episodes = verdict.chosen(rows[0]).size if rows else 0
    for row in rows:
        for name, values in row.measurements.items():
            if np.shape(values) != (len(row.steps), episodes):
                raise ValueError(
                    f"row {row.init}, {row.head}: {name} {np.shape(values)}; every row "
                    f"needs [steps, episodes], here {(len(row.steps), episodes)}"
                )


def _result_lines(
    evaluation: Evaluation, differences: Differences
) -> Iterator[dict[str, Any]]:

    def line(row: Row, metric: str, interval: Any, **other: str) -> dict[str, Any]:
        about = {
            "dataset": evaluation.dataset,
            "protocol": evaluation.protocol_and_count,
        }
        return {
            **{"init": row.init, "head": row.head, **other, **about, "metric": metric},
            **dict(zip(("value", "low", "high"), interval, strict=True)),
            "n": verdict.chosen(row).size,
            "batch_norm": evaluation.batch_norm,
        }

    for row in evaluation.rows:
        for metric, by_step in row.measurements.items():
            for position, values in enumerate(by_step):
                yield line(row, metric, intervals.mean_interval(values)) | {
                    "device_hours": row.cost.device_seconds / 3600,
                    "images_seen": row.cost.images,
                    "flops": row.cost.flops,
                    "trials": row.trials,
                    "step": row.steps[position],
                    "chosen": position == row.chosen,
                    "setting": row.setting,
                }
    ours = verdict.our_best(evaluation.rows)
    for (init, head), minus in differences.items():
        names = {"other_init": init, "other_head": head}
        yield line(ours, "accuracy_difference", minus[:3], **names)


def _summary(evaluation: Evaluation, context: Context) -> dict[str, Any]:
    ours = verdict.our_best(evaluation.rows)
    # A step of the evaluation is one episode met by one row.
    steps = sum(verdict.chosen(row).size for row in evaluation.rows)
    return {
        "eval_loss": float(np.mean(verdict.chosen(ours, "loss"))),
        "eval_accuracy": float(np.mean(verdict.chosen(ours))),
        "eval_runtime": evaluation.runtime,
        "eval_samples_per_second": steps * evaluation.queries / evaluation.runtime,
        "eval_steps_per_second": steps / evaluation.runtime,
        "epoch": context["epoch"],
    }


def _table(paired: Paired, best: bool = False, without: Sequence[str] = ()) -> str:
    formats = metrics.formats(x.measurements for part, _ in paired for x in part.rows)
    names: tuple[str, ...] = "Data set", "Initialisation", "Head", "Setting", "Steps"
    headings = [shown.heading for shown in formats.values()]
    rows = [
        (
            part.name,
            row.init,
            row.head,
            tables.words(row.setting) or "-",
            "-" if row.in_closed_form else str(row.steps[row.chosen]),
            *(_cell(row, name, shown) for name, shown in formats.items()),
            tables.difference(differences.get((row.init, row.head)))[0],
        )
        for part, differences in paired
        for row in (verdict.best_heads(part.rows).values() if best else part.rows)
    ]
    names = (*names, *headings, "Ours minus this")
    return tables.captioned(names, rows, text=4, without=without)


def _cell(row: Row, name: str, shown: metrics.Format) -> str:
    """Formats a metric of a row, which another version may not have measured."""
    if name not in row.measurements:
        return "-"
    values = verdict.chosen(row, name)
    return shown.plus_minus(values) if name == "accuracy" else shown.mean(values)


def _results(workdir: pathlib.Path, paired: Paired) -> Iterator[str]:
    (evaluation, _), *parts = paired
    adapting = [row for row in evaluation.rows if not row.in_closed_form]
    if adapting:
        steps = sorted({step for row in adapting for step in row.steps})
        rows = []
        for row in adapting:
            means = map(ACCURACY.mean, row.measurements["accuracy"])
            cells = dict.fromkeys(steps, "-") | dict(zip(row.steps, means, strict=True))
            cells[row.steps[row.chosen]] += " ←"
            rows.append((row.init, row.head, *cells.values()))
        figures.adaptation(workdir / "adaptation.png", evaluation.rows)
        table = tables.table(("Initialisation", "Head", *map(str, steps)), rows)
        curve = tables.figure("Accuracy against adaptation step", "adaptation.png")
        title = "Accuracy after steps, %; ← chosen on meta-validation"
        yield details(title, table, curve)
    if parts:
        table = _table(parts, best=True, without=["Head", "Setting", "Steps"])
        explained = '"Held-out classes" are new classes of a data set of meta-train.'
        title = "By data set, the head of each initialisation as chosen for all"
        yield details(title, table, explained)


def _end(
    workdir: pathlib.Path, evaluation: Evaluation, context: Context
) -> Iterator[str]:
    if context["training"]:
        path = workdir / "learning_curve.png"
        figures.learning_curve(path, context["training"], evaluation.protocol)
        curve = tables.figure("Learning curve", "learning_curve.png")
        yield details("Learning curve", curve)
    grid = tables.settings(evaluation.grid)
    yield details("What every initialisation met on meta-validation", grid)
    if evaluation.notes:
        yield details("Notes", tables.bullets(evaluation.notes))
    about = (
        f"Versions: {tables.words(context['versions'])}. Training curves: `tensorboard "
        f"--logdir {workdir}`. Every number, with its interval: `results.jsonl`."
    )
    yield from tables.again(context["command"], about, context["config"])
