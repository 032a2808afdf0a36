"""The report's figures, as PNG files."""

import io
import itertools
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from metainit.evaluation import intervals
from metainit.evaluation.metrics import METRICS
from metainit.evaluation.results import Row
from metainit.runtime import atomic
from metainit.transfer import time_to_threshold
from metainit.transfer.results import FineTuning
from metainit.transfer.time_to_threshold import DataSet

# Okabe & Ito, "Color Universal Design" (2008): told apart with any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_DASHES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))


class Curve(NamedTuple):
    """A training as it was logged.

    Attributes:
      name: of the initialisation.
      scope: which tags its steps have, "train" or "pretraining".
      tasks: what a step is taken on, in words, e.g. "20-way 1-shot".
      rows: of `metrics.jsonl`, as of `drawn`.
    """

    name: str
    scope: str
    tasks: str
    rows: Sequence[Mapping[str, Any]]


def drawn(scope: str, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Keeps of rows of metrics what a `Curve` shows: they may be too many to keep."""
    scopes, names = (scope, "validation"), ("accuracy", "loss")
    tags = ["step", *(f"{of}/{name}" for of in scopes for name in names)]
    return [{tag: row[tag] for tag in tags if tag in row} for row in rows]


def learning_curve(
    path: str | os.PathLike[str], curves: Sequence[Curve], validated_on: str
) -> None:
    """Draws accuracy and loss by step, as they are logged: of steps and of validation.

    These are of unlike tasks, so that each has axes of its own, which say so.
    """
    size = 6.4, 0.5 + 4.4 * len(curves)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    panels = iter(figure.subplots(2 * len(curves), 2, squeeze=False))
    colours = _cycle((curve.name for curve in curves), _COLOURS)
    for curve in curves:
        for scope, tasks in ((curve.scope, curve.tasks), ("validation", validated_on)):
            for axes, name in zip(next(panels), ("accuracy", "loss"), strict=True):
                tag, metric = f"{scope}/{name}", METRICS[name].format
                logged = [row for row in curve.rows if row.get(tag) is not None]
                steps = [row["step"] for row in logged]
                values = [metric.scale * row[tag] for row in logged]
                colour = colours[curve.name]
                axes.plot(steps, values, "o-", color=colour, lw=1, markersize=2.5)
                _label(axes, "step", metric.heading.lower())
                where = "validation" if scope == "validation" else "training"
                axes.set_title(f"{where}: {tasks}", fontsize=9)
                axes.set_visible(bool(logged))
    _write(figure, path, [_dots(*item) for item in colours.items()], 2)


def adaptation(path: str | os.PathLike[str], rows: Sequence[Row]) -> None:
    """Draws accuracy over adaptation steps with 95 % bands, a panel for each head.

    Heads in closed form are horizontal lines, the same in every panel; another head is
    among the rows, of which ours come first.
    """
    colours = _cycle((row.init for row in rows), _COLOURS)
    closed = [row for row in rows if row.in_closed_form]
    dashes = _cycle((row.head for row in closed), _DASHES)
    heads = list(dict.fromkeys(row.head for row in rows if not row.in_closed_form))
    figure, panels = _panels(len(heads), 4.4, sharey=True)
    for axes, head in zip(panels, heads, strict=True):
        for row in closed:
            level, dash = 100 * row.measurements["accuracy"].mean(), dashes[row.head]
            axes.axhline(level, linewidth=1.1, color=colours[row.init], linestyle=dash)
        same_head = [row for row in rows if row.head == head]
        for row in reversed(same_head):  # ours come first, and on top
            by_step = map(intervals.mean_interval, row.measurements["accuracy"])
            _band(axes, row.steps, 100 * np.array([*by_step]).T, colours[row.init])
        ticks = sorted({step for row in same_head for step in row.steps})
        _label(axes, "adaptation steps", "accuracy, %", log=True)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.label_outer()
        axes.set_title(f"{head} head", fontsize=10)
    dotted = [_dots(*item) for item in colours.items()]
    _write(figure, path, dotted + [_dashed(*item) for item in dashes.items()], 3)


def transfer(
    path: str | os.PathLike[str], seeds: Sequence[Sequence[FineTuning]]
) -> None:
    """Draws accuracy over fine-tuning steps, a panel a data set, a curve an init.

    Each initialisation has the head that did best on meta-validation. Where that is in
    closed form it is a dashed line, beside the curve of the best that takes steps; a
    dotted line is the threshold. Over seeds a curve is the mean and a band spans all.
    """
    data_sets, heads, _ = time_to_threshold.efficiency(seeds)
    colours = _cycle(heads, _COLOURS)
    stepping = {init: _best_stepping(data_sets[0], init) for init in heads}
    lines = [
        (init, head)
        for init in heads
        for head in dict.fromkeys((stepping[init], heads[init]))
        if head
    ]
    closed = [x for x in lines if data_sets[0].runs[x][0].in_closed_form]
    dashes = _cycle((head for _, head in closed), _DASHES)
    columns = 1 if len(data_sets) == 1 else 2  # of the legend, whose lines are long
    height = 3.8 + 0.22 * -(-(len(heads) + len(dashes) + 1) // columns)
    figure, panels = _panels(len(data_sets), height)
    for axes, data_set in zip(panels, data_sets, strict=True):
        for init, head in reversed(lines):  # ours come first, and on top
            runs = data_set.runs[init, head]
            accuracy = 100 * np.array([[p["accuracy"] for p in r.points] for r in runs])
            if (init, head) in closed:
                look = {"color": colours[init], "linestyle": dashes[head]}
                axes.axhline(accuracy.mean(), linewidth=1.4, **look)
                continue
            steps = [point["step"] for point in runs[0].points]
            spread = accuracy.mean(0), accuracy.min(0), accuracy.max(0)
            _band(axes, steps, spread, colours[init])
        if data_set.baseline is not None:
            level = 100 * data_set.thresholds[time_to_threshold.SHARE]
            axes.axhline(level, color="0.3", linestyle=":", linewidth=1.1)
        _label(axes, "fine-tuning steps", "held-out accuracy, %", log=True)
        axes.set_xlim(0, max(data_set.horizon["steps"], 1) * 1.1)
        axes.set_title(textwrap.shorten(data_set.name, 50), fontsize=10)
    threshold = f"{time_to_threshold.SHARE:.0%} of the best baseline's final accuracy"
    names = {x: f"{x}, {head} head" if head else x for x, head in stepping.items()}
    legend = [_dots(names[init], colours[init]) for init in heads]
    legend += [_dashed(f"{head}, chosen", dash) for head, dash in dashes.items()]
    _write(figure, path, [*legend, _dashed(threshold, ":")], columns)


def _best_stepping(data_set: DataSet, init: str) -> str:
    """Finds the head with the best validation of those that take steps, or ""."""
    quality = {
        head: np.mean([run.validation_accuracy for run in runs])
        for (of, head), runs in data_set.runs.items()
        if of == init and not runs[0].in_closed_form
    }
    return max(quality, key=quality.__getitem__, default="")


def _band(
    axes: Axes, steps: Sequence[float], spread: Iterable[np.ndarray], colour: str
) -> None:
    mean, low, high = spread
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(steps, mean, color=colour, marker="o", markersize=4, linewidth=1.8)


def _cycle(names: Iterable[str], looks: Sequence[Any]) -> dict[str, Any]:
    """Gives each name a look, from the first again when there are too few."""
    return dict(zip(dict.fromkeys(names), itertools.cycle(looks), strict=False))


def _dots(label: str, colour: str) -> Line2D:
    return Line2D([], [], color=colour, marker="o", label=label)


def _dashed(label: str, style: Any) -> Line2D:
    return Line2D([], [], color="0.3", linewidth=1.1, linestyle=style, label=label)


def _panels(
    count: int, height: float, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    # Without pyplot there is no global state and no window system.
    size = max(6.0, 4.6 * count), height
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False, sharey=sharey)[0])


def _label(axes: Axes, x: str, y: str, log: bool = False) -> None:
    if log:
        axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set(xlabel=x, ylabel=y, axisbelow=True)
    axes.grid(color="0.9", linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _write(
    figure: Figure, path: str | os.PathLike[str], lines: Sequence[Line2D], columns: int
) -> None:
    look: dict[str, Any] = {"ncols": columns, "frameon": False, "fontsize": 9}
    figure.legend(handles=lines, loc="outside lower center", **look)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic.write_bytes(path, buffer.getvalue())
