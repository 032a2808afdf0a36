"""The report's figures, as PNG files."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from metainit.evaluation import metrics
from metainit.evaluation.results import Evaluation, Row
from metainit.reporting import verdict
from metainit.runtime import atomic
from metainit.transfer import summary
from metainit.transfer.results import FineTuning

# Okabe & Ito, "Color Universal Design" (2008): told apart with any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINES = ((0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)))
_TRAIN, _VALIDATION = _COLOURS[0], _COLOURS[1]
_ROLES = ("train", "validation")
_SMOOTH = 50  # points a curve may have before it is averaged


def learning_curve(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]
) -> bool:
    """Draws query accuracy and loss over the iterations.

    Args:
      path: PNG file to write.
      rows: of `metrics.jsonl`; drawn are "train/accuracy", "validation/accuracy",
        "train/loss" and "validation/loss", where present.

    Returns:
      Whether there was anything to draw (and a file was written).
    """
    rows = list(rows)
    panels = [
        (name, [(_TRAIN, f"train/{key}"), (_VALIDATION, f"validation/{key}")])
        for name, key in (("query accuracy, %", "accuracy"), ("query loss", "loss"))
        if any(_present(r, f"{role}/{key}") for r in rows for role in _ROLES)
    ]
    if not panels:
        return False
    figure = _figure(4.6 * len(panels), 3.6)
    for place, (name, series) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for colour, tag in series:
            found = [(r["step"], r[tag]) for r in rows if _present(r, tag)]
            if found:
                steps, values = np.asarray(found, float).T
                _curve(axes, steps, values * (100 if "%" in name else 1), colour, tag)
        _style(axes, "iteration", name)
        axes.legend(frameon=False)
    _write(figure, path)
    return True


def adaptation(path: str | os.PathLike[str], evaluation: Evaluation) -> bool:
    """Draws accuracy over adaptation steps, a panel for each head that adapts.

    Lines carry 95 % bands; heads in closed form are horizontal lines, the same in
    every panel.

    Returns:
      Whether any head adapts (and a file was written).
    """
    inits = list(dict.fromkeys(row.init for row in evaluation.rows))
    colours = dict(zip(inits, _cycle(_COLOURS, len(inits)), strict=True))
    adapting = [row for row in evaluation.rows if verdict.adapts(row)]
    closed = [row for row in evaluation.rows if not verdict.adapts(row)]
    heads = list(dict.fromkeys(row.head for row in adapting))
    closed_heads = list(dict.fromkeys(row.head for row in closed))
    dashes = dict(zip(closed_heads, _cycle(_LINES, len(closed_heads)), strict=True))
    if not heads:
        return False
    figure = _figure(max(5.0, 4.6 * len(heads)), 4.4)
    shared: Axes | None = None
    for place, head in enumerate(heads, start=1):
        axes = figure.add_subplot(1, len(heads), place, sharey=shared)
        shared = shared or axes
        for row in closed:
            axes.axhline(
                100 * float(np.mean(row.measurements["accuracy"])),
                color=colours[row.init],
                linestyle=dashes[row.head],
                linewidth=1.1,
            )
        for row in reversed(adapting):  # ours come first, and on top
            if row.head == head:
                _band(axes, row, colours[row.init])
        ticks = sorted({s for row in adapting if row.head == head for s in row.steps})
        axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        _style(axes, "adaptation steps", "accuracy, %")
        axes.label_outer()
        axes.set_title(f"{head} head", fontsize=10)
    handles = [Line2D([], [], color=colours[i], marker="o", label=i) for i in inits]
    handles += [
        Line2D([], [], color="0.3", linewidth=1.1, linestyle=dashes[h], label=h)
        for h in closed_heads
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9
    )
    _write(figure, path)
    return True


def transfer(
    path: str | os.PathLike[str], seeds: Sequence[Sequence[FineTuning]]
) -> None:
    """Draws accuracy over fine-tuning steps, a panel a data set, a line an init.

    Each initialisation has the head that did best on meta-validation; a dotted line is
    the threshold. Over seeds a line is the mean and a band spans all of them.

    Args:
      path: PNG file to write.
      seeds: the fine-tunings of each, at least one of at least one seed.
    """
    heads = summary.best_heads(seeds)
    colours = dict(zip(heads, _cycle(_COLOURS, len(heads)), strict=True))
    sets = summary.by_data_set(seeds)
    columns = 1 if len(sets) == 1 else 2  # of the legend, whose lines are long
    rows = -(-(len(heads) + 1) // columns)
    figure = _figure(max(6.0, 4.6 * len(sets)), 3.8 + 0.22 * rows)
    for place, one in enumerate(sets, start=1):
        axes = figure.add_subplot(1, len(sets), place)
        for init in reversed(heads):  # ours come first, and on top
            wanted = one.name, init, heads[init]
            of_init = [
                run
                for runs in seeds
                for run in runs
                if (run.dataset, run.init, run.head) == wanted
            ]
            x = [p["step"] for p in of_init[0].points]
            y = 100 * np.array([[p["accuracy"] for p in r.points] for r in of_init])
            colour, mean = colours[init], y.mean(0)
            axes.plot(x, mean, color=colour, marker="o", markersize=4, linewidth=1.8)
            if of_init[0].in_closed_form:
                axes.axhline(mean[0], color=colour, linewidth=1.1)
                axes.axhspan(y.min(), y.max(), color=colour, alpha=0.2, linewidth=0)
            else:
                low, high = y.min(0), y.max(0)
                axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        if one.thresholds is not None:
            level = 100 * one.thresholds.values[summary.SHARE]
            axes.axhline(level, color="0.3", linestyle=":", linewidth=1.1)
        axes.set_xscale("symlog", linthresh=1, linscale=0.5)
        axes.set_xlim(0, max(one.horizon["steps"], 1) * 1.1)
        axes.xaxis.set_minor_locator(NullLocator())
        _style(axes, "fine-tuning steps", "held-out accuracy, %")
        axes.set_title(textwrap.shorten(one.name, 50), fontsize=10)
    handles = [
        Line2D([], [], color=colours[i], marker="o", label=f"{i}, {heads[i]} head")
        for i in heads
    ]
    label = f"{summary.SHARE:.0%} of the best baseline's final accuracy"
    handles.append(Line2D([], [], color="0.3", linestyle=":", label=label))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=9,
    )
    _write(figure, path)


def _present(row: Mapping[str, Any], tag: str) -> bool:
    return row.get(tag) is not None


def _curve(
    axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str, tag: str
) -> None:
    role = tag.split("/")[0]
    if len(values) <= _SMOOTH:
        # A single point is no line.
        marker = "o" if role == "validation" or len(values) == 1 else ""
        axes.plot(steps, values, color=colour, marker=marker, markersize=4, label=role)
        return
    # Single batches of tasks are noisy: they stay visible behind their mean.
    width = max(5, len(values) // _SMOOTH)
    axes.plot(steps, values, color=colour, linewidth=0.6, alpha=0.25)
    window = np.ones(width)
    mean = np.convolve(values, window, "same") / np.convolve(
        np.ones_like(values), window, "same"
    )
    axes.plot(steps, mean, color=colour, label=f"{role} (mean of {width} rows)")


def _band(axes: Axes, row: Row, colour: str) -> None:
    intervals = map(metrics.mean_interval, row.measurements["accuracy"])
    mean, low, high = 100 * np.array(list(intervals)).T
    axes.fill_between(row.steps, low, high, color=colour, alpha=0.2, linewidth=0)
    axes.plot(row.steps, mean, color=colour, marker="o", markersize=4, linewidth=1.8)


def _cycle(values: Sequence[Any], count: int) -> list[Any]:
    return [values[i % len(values)] for i in range(count)]


def _figure(width: float, height: float) -> Figure:
    # Without pyplot there is no global state and no window system.
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _style(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _write(figure: Figure, path: str | os.PathLike[str]) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    atomic.write_bytes(path, buffer.getvalue())
