"""The pictures of docs/results.md and README.md, drawn from what claims have kept.

    python -m benchmarks.claims.pictures docs/images q4 d2
    python -m benchmarks.claims.pictures docs/images --first q4   of README.md

Of every claim that is named, or has results, accuracy over adaptation steps on its
first data set; of claims that differ in the images of a class, the differences. Bands
and bars are 95 % intervals over seeds.
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
MARKERS = ("o-", "s:", "^-.", "v-")  # a head each
SHOWN = 12.0  # percentage points
IMAGES = {"d3_20": 20, "d3_50": 50, "d3_200": 200}  # of a class, by claim
Curves = dict[tuple[str, str], dict[int, list[float]]]  # by initialisation and head


def curves(folders: Sequence[pathlib.Path], data_set: str) -> Curves:
    """Accuracy in percent by step, a value a seed."""
    found: Curves = collections.defaultdict(lambda: collections.defaultdict(list))
    for folder in folders:
        for row in atomic.read_rows(folder / ROWS):
            if row.get("metric") == "accuracy" and row["dataset"] == data_set:
                by_step = found[row["init"], row["head"]]
                by_step[row["step"]].append(100 * row["value"])
    return found


def draw_curves(name: str, to: pathlib.Path) -> None:
    """Every head that adapts, and the best one in closed form; random weights are not.

    What lies more than `SHOWN` points below the best is cut off.
    """
    folders = claims.done(name)
    data_set = verdict.compare(folders[:1]).unseen[0]
    every = curves(folders, data_set)
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes, highest = figure.subplots(), 0.0
    inits = [init for init in dict.fromkeys(i for i, _ in every) if init != RANDOM]
    for init, colour in zip(inits, COLOURS, strict=False):
        of_init = {head: x for (i, head), x in every.items() if i == init}
        stepped = {head: x for head, x in of_init.items() if len(x) > 1}
        for (head, by_step), marker in zip(stepped.items(), MARKERS, strict=False):
            steps = sorted(by_step)
            bands = np.array([_interval(by_step[step]) for step in steps]).T
            label = f"{init}, {head}"
            axes.plot(steps, bands[0], marker, color=colour, label=label, ms=4)
            axes.fill_between(steps, *bands[1:], color=colour, alpha=0.2, lw=0)
            highest = max(highest, bands[0].max())
        closed = {head: x[0] for head, x in of_init.items() if head not in stepped}
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


def draw_images(to: pathlib.Path) -> None:
    """What ours is ahead of its own baselines by, over the images of a class."""
    done = {name: n for name, n in IMAGES.items() if claims.done(name)}
    if len(done) < 2:
        return
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.subplots()
    protocols = ("", *claims.load(next(iter(done)))[0].protocols)
    for number, (protocol, colour) in enumerate(zip(protocols, COLOURS, strict=False)):
        points = []
        for name, images in done.items():
            if folders := claims.done(name, protocol):
                (found,) = verdict.found(verdict.compare(folders)).values()
                x = found.difference
                points.append((images, 100 * x.mean, 100 * x.low, 100 * x.high))
        if points:
            images, middle, low, high = np.array(points).T
            moved = images * 1.04**number  # so that bars do not hide each other
            bars = [middle - low, high - middle]
            label = protocol or "5-way 1-shot"
            axes.errorbar(moved, middle, bars, fmt="o-", color=colour, label=label)
    axes.axhline(0, color="black", lw=0.8)
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(list(done.values()), list(map(str, done.values())))
    axes.set(
        xlabel="images of a class to learn from", ylabel="ours minus joint, points"
    )
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    figure.savefig(to / "d3-images.png", dpi=110)


def draw_first(name: str, to: pathlib.Path) -> None:
    """A task of unseen classes, beside what initialisations make of such."""
    claim, config = claims.load(name)
    rivals = [folder for rival in claim.rivals for folder in claims.done(rival)]
    compared = verdict.compare(claims.done(name), rivals)
    (data_set,) = compared.unseen
    entries = [compared.ours]
    for init in (NAMES[JOINT], RANDOM):
        of_init = [entry for entry in compared.entries if entry.init == init]
        entries.append(max(of_init, key=lambda x: verdict.mean(x, data_set)))
    figure = Figure(figsize=(8.2, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
    experiment = configs.typed(config)
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
        of_seeds = [100 * float(np.mean(x)) for x in entry.measured(data_set)]
        middle, low, high = _interval(of_seeds)
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
    parser.add_argument("--first", metavar="CLAIM", help="of README.md alone")
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
