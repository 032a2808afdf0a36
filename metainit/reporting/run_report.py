"""The report of a run: who wins, then tables, figures and how to repeat it.

Heads, steps and settings are compared as chosen on meta-validation; nothing is chosen
by a test result.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np
from PIL import Image

from metainit.evaluation import metrics
from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import figures, finished_runs, html, tables, transfer_report
from metainit.reporting.tables import (
    ACCURACY,
    METRICS,
    Block,
    Bullets,
    Cell,
    Code,
    Figure,
    Heading,
    Table,
)
from metainit.runtime import atomic
from metainit.runtime.cost import OURS
from metainit.runtime.logging import Writer
from metainit.transfer.results import Transfer


class Context(TypedDict):
    """What a report says about the run besides its evaluation."""

    title: str
    command: str  # that repeats the run
    seed: int
    versions: Mapping[str, str]  # of the packages
    config: Mapping[str, Any]  # nested
    training: Sequence[Mapping[str, Any]]  # rows of `metrics.jsonl`
    device_hours: float  # of the whole run
    epoch: float  # passes over the meta-train images


class Difference(NamedTuple):
    """Accuracy of `row` minus that of `other`, with its paired 95 % interval."""

    row: Row
    other: Row
    mean: float
    low: float
    high: float

    @property
    def points(self) -> str:
        """In percentage points, e.g. "+3.1 [2.5, 3.7]".

        Two decimals where one would hide on which side of zero an end lies.
        """
        mean, low, high = (100 * x for x in (self.mean, self.low, self.high))
        places = 2 if min(abs(low), abs(high)) < 0.05 else 1
        mean = round(mean, places) + 0.0  # never "-0.0"
        return f"{mean:+.{places}f} [{low:.{places}f}, {high:.{places}f}]"


def write_report(
    workdir: str | os.PathLike[str],
    evaluation: Evaluation,
    context: Context,
    transfer: Transfer | None = None,
) -> str:
    """Writes report.md, report.html, results.jsonl, figures and `episodes.npz`.

    Each file is whole or not there at all.

    Args:
      workdir: folder of the run.
      evaluation: on meta-test, every row over the same episodes.
      context: about the run.
      transfer: its fine-tunings, where there were any.

    Returns:
      Plain text for the terminal.

    Raises:
      ValueError: rows whose arrays do not fit together, fewer than two episodes, or
        none of our initialisations.
    """
    workdir = pathlib.Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    _check(evaluation.rows)
    differences = against_others(evaluation.rows)
    lines = itertools.chain(
        _result_lines(evaluation, differences),
        *(_result_lines(part, against_others(part.rows)) for part in evaluation.parts),
        [_summary(evaluation, context)],
    )
    atomic.write_text(workdir / "results.jsonl", "".join(map(_json, lines)))
    finished_runs.write_episodes(workdir / finished_runs.EPISODES, evaluation)
    drawn = []
    if figures.learning_curve(workdir / "learning_curve.png", context["training"]):
        drawn.append(Figure("Learning curve", "learning_curve.png"))
    if figures.adaptation(workdir / "adaptation.png", evaluation.rows):
        drawn.append(Figure("Accuracy against adaptation step", "adaptation.png"))
    section: list[Block] = []
    account: list[Block] = []
    if transfer is not None:
        figures.transfer(workdir / "transfer.png", [transfer.runs])
        section = list(transfer_report.section(transfer, "transfer.png"))
        account = list(transfer_report.account(transfer))
    blocks: list[Block] = [
        verdict(evaluation.rows),
        _condition(context),
        Heading(context["title"], 1),
        f"{evaluation.dataset}, {evaluation.protocol}, on {evaluation.device}.",
        *_results(evaluation, differences),
        *(block for figure in drawn for block in (Heading(figure.title), figure)),
        *section,
        *account,
        Heading("What every initialisation met on meta-validation"),
        tables.settings(evaluation.grid),
        *_notes(evaluation),
        *_reproduce(workdir, evaluation, context),
    ]
    html.write(workdir, blocks)
    return tables.terminal([*_short(evaluation, context, differences), *section])


def show_in_tensorboard(workdir: str | os.PathLike[str], step: int) -> None:
    """Shows figures and text of a report that `write_report` wrote in TensorBoard.

    Args:
      workdir: folder of the run; the event file goes to "report" in it.
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


def best_heads(rows: Sequence[Row]) -> dict[str, Row]:
    """Each initialisation's row with the best head, chosen on meta-validation."""
    best: dict[str, Row] = {}
    for row in rows:
        rival = best.setdefault(row.init, row)
        best[row.init] = max(rival, row, key=lambda row: row.validation_accuracy)
    return best


def our_best(rows: Sequence[Row]) -> Row:
    """Best head of the best of our initialisations, chosen on meta-validation.

    Raises:
      ValueError: none of our initialisations is among the rows.
    """
    ours = [row for name, row in best_heads(rows).items() if name in OURS]
    if not ours:
        names = ", ".join(sorted({row.init for row in rows})) or "none"
        raise ValueError(
            f"rows: initialisations {names}; a report needs one of {', '.join(OURS)}"
        )
    return max(ours, key=lambda row: row.validation_accuracy)


def against_others(rows: Sequence[Row]) -> tuple[Difference, ...]:
    """Our best row against every other row, each after its chosen steps."""
    ours = our_best(rows)
    return tuple(_compare(ours, row) for row in rows if row is not ours)


def against_baselines(rows: Sequence[Row]) -> tuple[Difference, ...]:
    """Our best row against the best head of every baseline initialisation."""
    ours = our_best(rows)
    best = best_heads(rows).items()
    return tuple(_compare(ours, row) for name, row in best if name not in OURS)


def verdict(rows: Sequence[Row]) -> str:
    """The first sentence, naming the baseline that comes closest or leads by most."""
    ours = our_best(rows)
    source = "" if ours.init == OURS[0] else "started from pretrained weights, "
    name = f"The meta-learned initialisation ({source}{_place(ours)})"
    accuracy = ACCURACY.mean(_chosen(ours))
    differences = against_baselines(rows)
    if not differences:
        return (
            f"{name} reaches {accuracy} % on unseen classes; no baseline was evaluated."
        )
    lost = [difference for difference in differences if difference.low <= 0]
    hardest = min(lost or differences, key=lambda difference: difference.mean)
    wins, close = "does not beat", ", not distinguishable"
    if not lost:
        wins, close = "beats", ""
    elif hardest.high < 0:
        close = ", worse on these episodes"
    other = hardest.other
    mean, interval = hardest.points.split(" ", 1)
    return (
        f"{name} {wins} every baseline on unseen classes: {accuracy} % against "
        f"{ACCURACY.mean(_chosen(other))} % for {other.init} ({_place(other)}), a "
        f"difference of {mean} points {interval}{close}."
    )


def _chosen(row: Row, metric: str = "accuracy") -> np.ndarray:
    """A metric after the chosen number of steps, float [episodes]."""
    return row.measurements[metric][row.chosen]


def _compare(row: Row, other: Row) -> Difference:
    return Difference(
        row, other, *metrics.paired_interval(_chosen(row), _chosen(other))
    )


def _place(row: Row) -> str:
    """Head and chosen steps in words, e.g. "prototype head after 5 steps"."""
    if row.in_closed_form:
        return row.head
    count = row.steps[row.chosen]
    return f"{row.head} head after {count} step{'' if count == 1 else 's'}"


def _check(rows: Sequence[Row]) -> None:
    episodes = _chosen(rows[0]).size if rows else 0
    for row in rows:
        for name, values in row.measurements.items():
            if np.shape(values) != (len(row.steps), episodes):
                raise ValueError(
                    f"row {row.init}, {row.head}: {name} {np.shape(values)}; every row "
                    f"needs [steps, episodes], here {(len(row.steps), episodes)}"
                )


def _result_lines(
    evaluation: Evaluation, differences: Sequence[Difference]
) -> Iterator[dict[str, Any]]:
    """Lines of `results.jsonl`: measures by step, then differences."""

    about = {"dataset": evaluation.dataset, "protocol": evaluation.protocol}
    for row in evaluation.rows:
        for metric, by_step in row.measurements.items():
            for position, values in enumerate(by_step):
                mean, low, high = metrics.mean_interval(values)
                yield {
                    "init": row.init,
                    "head": row.head,
                    **about,
                    "metric": metric,
                    "value": mean,
                    "low": low,
                    "high": high,
                    "n": len(values),
                    "batch_norm": evaluation.batch_norm,
                    "device_hours": row.cost.device_seconds / 3600,
                    "images_seen": row.cost.images,
                    "flops": row.cost.flops,
                    "step": row.steps[position],
                    "chosen": position == row.chosen,
                    "setting": row.setting,
                }
    for row, other, mean, low, high in differences:
        yield {
            "init": row.init,
            "head": row.head,
            "other_init": other.init,
            "other_head": other.head,
            **about,
            "metric": "accuracy_difference",
            "value": mean,
            "low": low,
            "high": high,
            "n": len(_chosen(row)),
            "batch_norm": evaluation.batch_norm,
        }


def _summary(evaluation: Evaluation, context: Context) -> dict[str, Any]:
    ours = our_best(evaluation.rows)
    # A step of the evaluation is one episode met by one row.
    steps = sum(_chosen(row).size for row in evaluation.rows)
    return {
        "eval_loss": float(np.mean(_chosen(ours, "loss"))),
        "eval_accuracy": float(np.mean(_chosen(ours))),
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


def _at(row: Row, step: int) -> str:
    if step not in row.steps:
        return "-"
    return ACCURACY.mean(row.measurements["accuracy"][row.steps.index(step)])


def _last(row: Row) -> str:
    last = row.steps[-1]
    return "-" if row.in_closed_form else f"{_at(row, last)} ({last})"


def _measure(metric: str, row: Row) -> str:
    values = _chosen(row, metric)
    if metric == "accuracy":
        return METRICS[metric].plus_minus(values)
    return METRICS[metric].mean(values)


def _after(step: int, row: Row) -> str:
    """Accuracy after a number of steps, with a mark where it was chosen."""
    chosen = step == row.steps[row.chosen]
    return _at(row, step) + " ←" * chosen


# Headings with the cell of a row; metrics are those after the chosen steps.
_MEASURES: dict[str, Cell] = {
    metric.heading: functools.partial(_measure, name)
    for name, metric in METRICS.items()
}
_STEPS: dict[str, Cell] = {
    "Steps": lambda row: "-" if row.in_closed_form else str(row.steps[row.chosen]),
    **_MEASURES,
    "0 steps, %": lambda row: _at(row, 0),
    "Last, %": _last,
}


def _minus(differences: Sequence[Difference]) -> Cell:
    points = {id(difference.other): difference.points for difference in differences}
    return lambda row: points.get(id(row), "-")


def _condition(context: Context) -> str:
    """What the intervals do not cover."""
    return (
        f"Conditional on this one training run (seed {context['seed']}): the intervals "
        "cover the draw of episodes, not that of training."
    )


def _results(
    evaluation: Evaluation, differences: Sequence[Difference]
) -> Iterator[Block]:
    rows, ours = evaluation.rows, our_best(evaluation.rows)
    minus = _minus(differences)
    columns: dict[str, Cell] = {
        "Initialisation": lambda row: row.init,
        "Head": lambda row: row.head,
        "Setting": lambda row: tables.words(row.setting) or "-",
        **_STEPS,
        "Ours minus this": minus,
        "Device time": lambda row: tables.duration(row.cost.device_seconds),
        "FLOPs": lambda row: tables.flops(row.cost.flops),
        "Images seen": lambda row: f"{row.cost.images:,}",
        "Batch norm": lambda row: evaluation.batch_norm,
    }
    yield Heading("Results on unseen classes")
    yield tables.table(columns, rows, text=3)
    yield Bullets(
        [
            "Setting, Steps: what did best on meta-validation; test results choose "
            "nothing. A dash under Steps: the head is in closed form and takes none.",
            "Accuracy: share of query images classified rightly after those steps, "
            "mean over episodes ± its 95 % interval (Student t).",
            "F1: macro-F1 over the episode's classes, averaged over episodes; a class "
            "that is never predicted counts 0. Loss: mean query cross-entropy in nats.",
            "0 steps, Last: accuracy before any adaptation and after the largest "
            "number of steps tried (in brackets), same setting.",
            f"Ours minus this: accuracy of {ours.init}, {_place(ours)}, minus the "
            "row's [95 %], in points, paired: the same episodes, resampled together "
            f"(bootstrap, {metrics.RESAMPLES:,} resamples).",
            "Device time, FLOPs, Images seen: what making the initialisation took, "
            "compilation excluded, repeated images counted; heads add nothing.",
            "Batch norm: whose moments the normalisation uses at test.",
            "Nothing is marked as significant: one training run does not tell what the "
            "next would give. `metainit report RUN...` compares several seeds.",
        ]
    )
    if evaluation.parts:
        yield Heading("By data set")
        yield _parts(evaluation)
        yield (
            "The best head of every initialisation, as chosen for all data sets "
            'together; the difference is the paired one. "Held-out classes" are '
            "classes of a meta-train data set that nothing was trained or chosen on: "
            "they tell how it does within the domain, the other data sets how it does "
            "outside."
        )
    if adapting := [row for row in rows if not row.in_closed_form]:
        steps = sorted({step for row in adapting for step in row.steps})
        by_step = {str(step): functools.partial(_after, step) for step in steps}
        names = {name: columns[name] for name in ("Initialisation", "Head")}
        yield Heading("Accuracy after 0, 1, 2, ... steps, %")
        yield tables.table(names | by_step, adapting)
        yield "← is the number of steps chosen on meta-validation."


def _parts(evaluation: Evaluation) -> Table:
    """Each data set by initialisation, its best head as chosen on meta-validation."""
    rows = []
    for part in evaluation.parts:
        name = part.dataset + ", held-out classes" * part.held_out
        ours = our_best(part.rows)
        for row in best_heads(part.rows).values():
            minus = "-" if row is ours else _compare(ours, row).points
            cells = (cell(row) for cell in _MEASURES.values())
            rows.append((name, row.init, *cells, minus))
    return Table(("Data set", "Initialisation", *_MEASURES, "Ours minus this"), rows)


def _notes(evaluation: Evaluation) -> Iterator[Block]:
    if evaluation.notes:
        yield Heading("Notes")
        yield Bullets(evaluation.notes)


def _reproduce(
    workdir: pathlib.Path, evaluation: Evaluation, context: Context
) -> Iterator[Block]:
    yield Heading("Run it again")
    yield Code(context["command"])
    yield (
        f"Seed {context['seed']}, {tables.duration(context['device_hours'] * 3600)} of "
        f"device time in all on {evaluation.device}; the evaluation took "
        f"{tables.duration(evaluation.runtime)}. "
        f"Versions: {tables.words(context['versions'])}."
    )
    yield (
        f"Training curves: `tensorboard --logdir {workdir}`. Every number above, by "
        "step, with its interval: `results.jsonl`."
    )
    yield Heading("Settings")
    yield Code(json.dumps(context["config"], indent=2, default=str), "json")


def _short(
    evaluation: Evaluation, context: Context, differences: Sequence[Difference]
) -> Iterator[Block]:
    """What fits a terminal."""
    yield verdict(evaluation.rows)
    yield (
        f"{evaluation.dataset}, {evaluation.protocol}, {evaluation.device}; "
        f"batch norm: {evaluation.batch_norm}. {_condition(context)}"
    )
    columns: dict[str, Cell] = {
        "Initialisation": lambda row: (
            f"{row.init}: {tables.duration(row.cost.device_seconds)} of device time, "
            f"{row.cost.images:,} images seen"
        ),
        "Head": lambda row: row.head,
        **_STEPS,
        "Ours minus this": _minus(differences),
    }
    yield tables.table(columns, evaluation.rows)
    if evaluation.parts:
        yield _parts(evaluation)
    yield (
        "Head, steps and settings chosen on meta-validation; ± and [ ] are 95 % "
        'intervals over episodes; "ours" is the best head of our best initialisation.'
    )
