"""The page of `metainit finetune`: how good the classifier is, and where it is not."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from metainit.evaluation import intervals
from metainit.evaluation.metrics import ACCURACY
from metainit.reporting import tables
from metainit.reporting.tables import (
    Bar,
    Bars,
    Block,
    Code,
    Details,
    Gallery,
    Heading,
    Picture,
    Table,
    Verdict,
)

MISTAKES = 20  # that are shown
_ENOUGH = 5  # held-out images of a class that is called the worst
_WORST = 20  # classes, and pairs of classes, that are listed
_MATRIX = 20  # classes that a matrix may have
_BINS = 5  # of probabilities
_OF_CURVE = "Judged by a quarter of the images to learn from, which it did not see."
_CROSS_VALIDATED = "cross-validated: judged by what had not learned from it"


class Judged(NamedTuple):
    """What a classifier said of images that it had not learned from.

    Attributes:
      chances: float [n, classes].
      labels: int [n].
      images: uint8 [n, h, w, 1 or 3].
      files: what each image is called.
    """

    chances: np.ndarray
    labels: np.ndarray
    images: np.ndarray
    files: Sequence[str]
    class_names: Sequence[str]


def verdict(report: Mapping[str, Any]) -> Verdict:
    """Says how good it is, on images that were held out and on those that were not.

    And of which class it is worst, of those that have enough images.
    """
    right, judged = report["accuracy_of_class"], report["judged_of_class"]
    enough = [name for name, count in judged.items() if count >= _ENOUGH]
    told = ""
    for row in report["compared"]:
        if row["head"] == report["chosen"]:
            how = "on a part before" if report["steps_taken"] else "cross-validated"
            told = f" ({ACCURACY.mean(row['accuracy'])} % {how})"
    if worst := min(enough, key=right.__getitem__, default=""):
        count = round(right[worst] * judged[worst])
        name = textwrap.shorten(worst, 40, placeholder="...")
        told += f"; worst, {name}: {count:,} of {judged[worst]:,}"
    return Verdict(
        "",
        f"{_share(report)} of {report['judged']:,} held-out images told right by "
        f"{report['chosen']}{told}.",
    )


def leaked(report: Mapping[str, Any]) -> str:
    """Warns of held-out images that were learned from, too; "" where none was."""
    shared, judged = report["held_out_also_learned"], report["judged"]
    if not shared:
        return ""
    doubt = "Do not trust this" if 20 * shared > judged else "A little too good"
    return (
        f"{doubt}: {shared:,} of {judged:,} held-out images have the pixels of one "
        "that was learned from. Delete the copies, and make it anew."
    )


def blocks(
    report: Mapping[str, Any], judged: Judged, title: str, command: str
) -> Iterator[Block]:
    """Yields the page; `report` is what `report.json` holds.

    `command` uses the classifier.
    """
    yield verdict(report)
    if warning := leaked(report):
        yield Verdict("", warning)
    yield Heading(title, 1)
    yield (
        f"{report['init']}; {report['images']:,} images to learn from, held out: "
        f"{report['held_out']}. [ ] are 95 % intervals (Wilson)."
    )
    saved = Bar("on held-out images", report["chosen"], *_interval(report))
    heads = [
        Bar(row["head"], _CROSS_VALIDATED, *_interval(row))
        for row in report["compared"]
    ]
    yield Bars("Accuracy", [saved, *heads])
    yield Code(command)
    if heads:
        yield Details("Heads", [*tables.captioned(_heads(report))])
    if report["curve"]:
        steps = [
            Bar(row["head"], f"log loss {row['loss']:.3f}", *_interval(row))
            for row in report["curve"]
        ]
        yield Details("Adapting, step by step", [_OF_CURVE, Bars("Accuracy", steps)])
    yield from _mistakes(judged)
    yield Details("Classes, the worst first", [_classes(judged)])
    yield Details("What was taken for what", [_confusion(judged)])
    yield Details(
        "Calibration",
        [
            "Where it says 90 %, 90 % should be right. Mean difference: "
            f"{100 * report['calibration_error']:.1f} points.",
            _calibration(judged),
        ],
    )


def _interval(row: Mapping[str, Any]) -> tuple[float, float, float]:
    return row["accuracy"], row["low"], row["high"]


def _share(row: Mapping[str, Any]) -> str:
    return tables.in_percent(Bar("", "", *_interval(row)))


def _heads(report: Mapping[str, Any]) -> Table:
    rows = [
        (
            row["head"],
            "saved" if row["head"] == report["chosen"] else "-",
            _share(row),
            f"{row['loss']:.3f}",
            f"{row['judged']:,}",
        )
        for row in report["compared"]
    ]
    return Table(("Head", "", "Accuracy", "Log loss", "Images"), rows)


def _pairs(judged: Judged) -> list[tuple[int, int, int]]:
    """Counts of wrong answers, (label, answer, count), the most frequent first."""
    counts = _counts(judged)
    np.fill_diagonal(counts, 0)
    found = [(int(a), int(b), int(counts[a, b])) for a, b in np.argwhere(counts)]
    return sorted(found, key=lambda pair: -pair[2])


def _counts(judged: Judged) -> np.ndarray:
    """The confusion matrix, int [label, answer]."""
    classes = range(len(judged.class_names))
    return confusion_matrix(judged.labels, judged.chances.argmax(-1), labels=classes)


def _classes(judged: Judged) -> Table:
    counts, names = _counts(judged), judged.class_names
    of_class = counts.sum(1)
    share = np.diag(counts) / np.maximum(of_class, 1)
    mostly: dict[int, str] = {}
    for label, answer, count in _pairs(judged):
        mostly.setdefault(label, f"{names[answer]} ({count})")
    order = [x for x in np.argsort(share, kind="stable") if of_class[x]][:_WORST]
    rows = [
        (
            names[label],
            mostly.get(int(label), "-"),
            ACCURACY.mean(share[label]),
            str(of_class[label]),
        )
        for label in order
    ]
    return Table(("Class", "Mostly taken for", "Right, %", "Images"), rows)


def _confusion(judged: Judged) -> Table:
    """A row a class and a column an answer or, of many classes, frequent mistakes."""
    names = judged.class_names
    if len(names) > _MATRIX:
        rows = [(names[a], names[b], str(n)) for a, b, n in _pairs(judged)[:_WORST]]
        return Table(("Class", "Taken for", "Images"), rows)
    cells = [
        (name, *(str(n) if n else "" for n in row))
        for name, row in zip(names, _counts(judged), strict=True)
    ]
    return Table(("Class, taken for:", *names), cells, text=1)


def _mistakes(judged: Judged) -> Iterator[Block]:
    """Images of which it was most sure, and wrong."""
    answers, sure = judged.chances.argmax(-1), judged.chances.max(-1)
    wrong = np.flatnonzero(answers != judged.labels)
    if not len(wrong):
        return
    names = judged.class_names
    shown = [
        Picture(
            judged.images[n],
            f"{names[judged.labels[n]]}, taken for {names[answers[n]]} "
            f"({100 * sure[n]:.0f} %): {judged.files[n]}",
        )
        for n in wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES]
    ]
    yield Details(f"The {len(shown)} most confident mistakes", [Gallery(shown)])


def _calibration(judged: Judged) -> Bars:
    """The share that is right, by what was said of it."""
    sure, right = judged.chances.max(-1), judged.chances.argmax(-1) == judged.labels
    bars = []
    for number in range(_BINS):
        low, high = number / _BINS, (number + 1) / _BINS
        inside = (sure > low) & (sure <= high)
        if count := int(inside.sum()):
            share = float(right[inside].mean())
            about = (
                f"{count:,} images, said {100 * sure[inside].mean():.1f} % on average"
            )
            name = f"said {100 * low:.0f} to {100 * high:.0f} %"
            bars.append(Bar(name, about, share, *intervals.wilson(share, count)))
    return Bars("Right, by what was said", bars)
