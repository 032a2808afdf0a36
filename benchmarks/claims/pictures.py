"""Draws the pictures of docs/results.md and README.md from what claims have kept.

    python -m benchmarks.claims.pictures docs/images q4 d2
    python -m benchmarks.claims.pictures docs/images --first q4   that of README.md

For every claim that is named, or for all that have results, a picture has accuracy over
adaptation steps on the first data set. One more has what ours is ahead by in D3, over
the images of a class. Bands and bars are 95 % intervals over seeds.
"""

import argparse
import collections
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from benchmarks.claims import claim as claims
from benchmarks.claims import verdict
from benchmarks.claims.claim import ROWS
from metainit.data import episodes, loading
from metainit.evaluation import intervals
from metainit.experiments import configs
from metainit.runtime import atomic
from metainit.runtime.cost import JOINT, NAMES, RANDOM

# Okabe & Ito, "Color Universal Design" (2008).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o-", "s:", "^-.", "v-")  # one for each head
SHOWN = 12.0  # percentage points below the best, from where on curves are cut off
Curves = dict[tuple[str, str], dict[int, list[float]]]  # by initialisation and head
# By network, way and shot, and images of a class.
Grid = dict[str, dict[tuple[int, int], dict[int, verdict.Comparison]]]


def curves(folders: Sequence[pathlib.Path], data_set: str) -> Curves:
    """Gives accuracy in percent by step, with a value for each seed."""
    by_line: Curves = collections.defaultdict(lambda: collections.defaultdict(list))
    for folder in folders:
        for row in atomic.read_rows(folder / ROWS):
            if row.get("metric") == "accuracy" and row["dataset"] == data_set:
                by_step = by_line[row["init"], row["head"]]
                by_step[row["step"]].append(100 * row["value"])
    return by_line


def draw_curves(name: str, to: pathlib.Path) -> None:
    """Draws every head that adapts, and the best one in closed form.

    Random weights are left out.
    """
    folders = claims.done(name)
    data_set = verdict.compare(folders[:1]).unseen[0]
    by_line = curves(folders, data_set)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes, highest = figure.subplots(), 0.0
    inits = [init for init in dict.fromkeys(i for i, _ in by_line) if init != RANDOM]
    for init, colour in zip(inits, COLOURS, strict=False):
        by_head = {head: x for (i, head), x in by_line.items() if i == init}
        stepped = {head: x for head, x in by_head.items() if len(x) > 1}
        for (head, by_step), marker in zip(stepped.items(), MARKERS, strict=False):
            steps = sorted(by_step)
            bands = np.array([_interval(by_step[step]) for step in steps]).T
            label = f"{init}, {head}"
            axes.plot(steps, bands[0], marker, color=colour, label=label, ms=4)
            axes.fill_between(steps, *bands[1:], color=colour, alpha=0.2, lw=0)
            highest = max(highest, bands[0].max())
        closed = {head: x[0] for head, x in by_head.items() if head not in stepped}
        head = max(closed, key=lambda h: np.mean(closed[h]))
        level, label = np.mean(closed[head]), f"{init}, {head}"
        axes.axhline(level, color=colour, ls="--", lw=1, label=label)
        highest = max(highest, level)
    axes.set_ylim(highest - SHOWN, highest + SHOWN / 20)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xticks(steps, list(map(str, steps)))
    axes.set(xlabel="adaptation steps", ylabel="accuracy, %")
    axes.set_title(f"{name}: {data_set.rpartition('/')[2]}", fontsize=10)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.savefig(to / f"{name}-steps.png", dpi=110)


def over_images() -> Grid:
    """Compares ours of D3 with its own baselines, from few images to many."""
    grid: Grid = collections.defaultdict(lambda: collections.defaultdict(dict))
    for name in claims.names():
        for protocol in ("", *claims.load(name).protocols):
            folders = claims.done(name, protocol) if name.startswith("d3_") else []
            config = atomic.read_json(folders[0] / "config.json") if folders else None
            # Claims with scaled features are rivals of others.
            if not config or not config["model"]["unit_length"]:
                continue
            (cell,) = verdict.comparisons(verdict.compare(folders)).values()
            images = int(pathlib.Path(config["data"]["name"]).name)
            task = config["task"]["way"], config["task"]["shot"]
            grid[config["model"]["name"]][task][images] = cell
    return grid


def draw_images(to: pathlib.Path) -> None:
    """Draws differences over the images of a class: a panel for each network."""
    if not (grid := over_images()):
        return
    figure = Figure(figsize=(8.2, 3.4), layout="constrained")
    by_task = (cells for tasks in grid.values() for cells in tasks.values())
    sizes = sorted({size for cells in by_task for size in cells})
    panels = figure.subplots(1, len(grid), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (network, tasks) in zip(panels, grid.items(), strict=True):
        for number, (way, shot) in enumerate(sorted(tasks)):
            cells = dict(sorted(tasks[way, shot].items()))
            colour, label = COLOURS[number], f"{way}-way {shot}-shot"
            differences = [x.difference for x in cells.values()]
            bounds = np.array([(x.mean, x.low, x.high) for x in differences])
            middle, low, high = 100 * bounds.T
            # Moved aside, so that no bar hides another.
            moved = np.array(list(cells)) * 1.04**number
            bars = [middle - low, high - middle]
            axes.errorbar(moved, middle, bars, fmt="o-", color=colour, label=label)
        axes.axhline(0, color="black", lw=0.8)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xticks(sizes, list(map(str, sizes)))
        axes.set_title(network, fontsize=10)
        axes.set_xlabel("images of a class to learn from")
    panels[0].set_ylabel("ours minus joint, points")
    lines = panels[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside lower center", ncols=4, fontsize=8)
    figure.savefig(to / "d3-images.png", dpi=110)


def draw_first(name: str, to: pathlib.Path) -> None:
    """Draws a task of unseen classes, beside accuracies on such tasks."""
    claim = claims.load(name)
    rivals = [folder for rival in claim.rivals for folder in claims.done(rival)]
    compared = verdict.compare(claims.done(name), rivals)
    (data_set,) = compared.unseen
    entries = [compared.ours]
    for init in (NAMES[JOINT], RANDOM):
        candidates = [entry for entry in compared.entries if entry.init == init]
        entries.append(max(candidates, key=lambda x: verdict.mean(x, data_set)))
    figure = Figure(figsize=(8.2, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    experiment = configs.typed(claims.get_config(name))
    task, sources = experiment.task, loading.load(experiment.data).test
    images = episodes.sample_batch(sources, task, 0, 0, 1).support["image"][0]
    rows, side = 4, images.shape[1]
    grid = images.reshape(rows, -1, side, side).swapaxes(1, 2).reshape(rows * side, -1)
    left.imshow(grid, cmap="gray_r")
    left.set_axis_off()
    left.set_title(f"{task.way} unseen characters, one image each", fontsize=10)
    colours = (COLOURS[0], COLOURS[1], "0.6")
    for place, (entry, colour) in enumerate(
        zip(entries[::-1], colours[::-1], strict=True)
    ):
        by_seed = [100 * float(np.mean(x)) for x in entry.measured(data_set)]
        middle, low, high = _interval(by_seed)
        right.barh(place, middle, xerr=[[middle - low], [high - middle]], color=colour)
        right.text(high + 1.5, place, f"{middle:.1f} %", va="center")
    right.set_yticks(range(3), ("random weights", "joint pretraining", "meta-learned"))
    right.set(xlim=(0, 115), xticks=range(0, 101, 20))
    right.set_title("other images told right, %", fontsize=10)
    right.spines[["top", "right"]].set_visible(False)
    figure.savefig(to / "first.png", dpi=110)


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) < 2:
        return values[0], values[0], values[0]
    return intervals.mean_interval(np.array(values))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("to", type=pathlib.Path)
    parser.add_argument("claims", nargs="*", default=claims.names())
    parser.add_argument("--first", metavar="CLAIM", help="the picture of README.md")
    args = parser.parse_args()
    args.to.mkdir(parents=True, exist_ok=True)
    if args.first:
        draw_first(args.first, args.to)
        return
    for name in filter(claims.done, args.claims):
        draw_curves(name, args.to)
    draw_images(args.to)


if __name__ == "__main__":
    main()
