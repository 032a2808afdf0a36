"""The text of `report.md`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence

from metainit.evaluation import metrics
from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import tables, verdict
from metainit.reporting.tables import Context


def lines(
    workdir: str | os.PathLike[str],
    evaluation: Evaluation,
    context: Context,
    differences: Sequence[verdict.Difference],
    drawn: Sequence[tuple[str, str]],
    transfer: Sequence[str] = (),
) -> Iterator[str]:
    """Lines of the report, the verdict first.

    Args:
      workdir: folder of the run, for the TensorBoard line.
      evaluation: on meta-test.
      context: about the run.
      differences: our best row against every other row.
      drawn: title and file name of every figure.
      transfer: lines of the section on transfer.
    """
    rows = evaluation.rows
    yield verdict.sentence(rows)
    yield ""
    yield tables.condition(context)
    yield ""
    yield f"# {context['title']}"
    yield ""
    yield f"{evaluation.dataset}, {evaluation.protocol}, on {evaluation.device}."
    yield ""
    yield from _results(evaluation)
    yield from _parts(evaluation)
    yield from _differences(evaluation.rows, differences)
    yield from _steps(rows)
    for name, file in drawn:
        yield from (f"## {name}", "", f"![{name}]({file})", "")
    yield from transfer
    yield "## What every initialisation met on meta-validation"
    yield ""
    for name, value in evaluation.grid.items():
        yield f"- {name}: {tables.words(value)}"
    yield ""
    if evaluation.notes:
        yield from ("## Notes", "")
        yield from (f"- {note}" for note in evaluation.notes)
        yield ""
    yield from _reproduce(workdir, evaluation, context)


def _results(evaluation: Evaluation) -> Iterator[str]:
    heading = (
        "Initialisation",
        "Head",
        "Setting",
        "Steps",
        "Accuracy, %",
        "F1, %",
        "Loss",
        "At 0 steps, %",
        "At last steps, %",
        "Device time",
        "FLOPs",
        "Images seen",
        "Batch norm",
    )
    table = []
    for row in evaluation.rows:
        cells: tuple[str, ...] = (
            row.init,
            row.head,
            tables.words(row.setting) or "-",
            *tables.measures(row, "±"),
            tables.duration(row.cost.device_seconds),
            tables.flops(row.cost.flops),
            f"{row.cost.images:,}",
            evaluation.batch_norm,
        )
        table.append(cells)
    yield from ("## Results on unseen classes", "")
    yield from tables.markdown(heading, table, text=3)
    yield ""
    yield (
        "- Setting, Steps: what did best on meta-validation; test results choose "
        "nothing. A dash under Steps: the head is in closed form and takes none."
    )
    yield (
        "- Accuracy: share of query images classified rightly after those steps, mean "
        "over episodes ± its 95 % interval (Student t)."
    )
    yield (
        "- F1: macro-F1 over the episode's classes, averaged over episodes; a class "
        "that is never predicted counts 0. Loss: mean query cross-entropy in nats."
    )
    yield (
        "- At 0 steps, at last steps: accuracy before any adaptation and after the "
        "largest number of steps tried (in brackets), same setting."
    )
    yield (
        "- Device time, FLOPs, Images seen: what making the initialisation took, "
        "compilation excluded, repeated images counted; heads add nothing."
    )
    yield "- Batch norm: whose moments the normalisation uses at test."
    yield (
        "- Nothing is marked as significant: one training run does not tell what the "
        "next would give. `metainit report RUN...` compares several seeds."
    )
    yield ""


def _parts(evaluation: Evaluation) -> Iterator[str]:
    if not evaluation.parts:
        return
    yield from ("## By data set", "")
    yield from tables.markdown(tables.PART_HEADING, tables.parts(evaluation), text=2)
    yield ""
    yield (
        "The best head of every initialisation, as chosen for all data sets together; "
        'the difference is the paired one. "Held-out classes" are classes of a '
        "meta-train data set that nothing was trained or chosen on: they tell how it "
        "does within the domain, the other data sets how it does outside."
    )
    yield ""


def _differences(
    rows: Sequence[Row], differences: Sequence[verdict.Difference]
) -> Iterator[str]:
    ours = verdict.our_best(rows)
    yield f"## {ours.init}, {verdict.place(ours)}, minus every other row"
    yield ""
    table = [(d.other.init, d.other.head, verdict.points(d)) for d in differences]
    yield from tables.markdown(
        ("Initialisation", "Head", "Difference in accuracy, points [95 %]"),
        table,
        text=2,
    )
    yield ""
    yield (
        "Differences are paired: the same episodes, resampled together (bootstrap, "
        f"{metrics.RESAMPLES:,} resamples)."
    )
    yield ""


def _steps(rows: Sequence[Row]) -> Iterator[str]:
    adapting = [row for row in rows if verdict.adapts(row)]
    if not adapting:
        return
    steps = sorted({step for row in adapting for step in row.steps})
    table = []
    for row in adapting:
        cells = {
            step: verdict.percent(row.measurements["accuracy"][i])
            + (" ←" if i == row.chosen else "")
            for i, step in enumerate(row.steps)
        }
        table.append((row.init, row.head, *(cells.get(s, "-") for s in steps)))
    yield from ("## Accuracy after 0, 1, 2, ... steps, %", "")
    heading = ("Initialisation", "Head", *(str(step) for step in steps))
    yield from tables.markdown(heading, table, text=2)
    yield from ("", "← is the number of steps chosen on meta-validation.", "")


def _reproduce(
    workdir: str | os.PathLike[str], evaluation: Evaluation, context: Context
) -> Iterator[str]:
    yield from ("## Run it again", "", "```", context["command"], "```", "")
    total = tables.duration(context["device_hours"] * 3600)
    spent = tables.duration(evaluation.runtime)
    yield (
        f"Seed {context['seed']}, {total} of device time in all on "
        f"{evaluation.device}; the evaluation took {spent}. "
        f"Versions: {tables.words(context['versions'])}."
    )
    yield ""
    yield "Training curves: `tensorboard --logdir " + str(workdir) + "`."
    yield "Every number above, by step, with its interval: `results.jsonl`."
    yield from ("", "## Settings", "", "```json")
    yield json.dumps(context["config"], indent=2, default=str)
    yield from ("```", "")
