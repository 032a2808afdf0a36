"""The page of `metainit finetune`: how good the classifier is, and where it is not."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import confusion_matrix

from metainit.evaluation import intervals
from metainit.evaluation.metrics import ACCURACY
from metainit.reporting import tables
from metainit.reporting.tables import Bar, details, paragraph

MISTAKES = 20  # that are shown at most
_ENOUGH = 5  # held-out images of a class that is called the worst
_WORST = 20  # classes, and pairs of classes, that are listed
_MATRIX = 20  # classes that a matrix may have
_BINS = 5  # of probabilities
_CURVE = "Judged by a quarter of the images to learn from, which it did not see."
_CROSS_VALIDATED = "cross-validated: judged by what had not learned from it"


class Judged(NamedTuple):
    """The answers of a classifier on images that it had not learned from.

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


def headline(report: Mapping[str, Any]) -> str:
    """Says how good it is, on images that were held out and on those that were not.

    It names the worst of the classes that have enough images, too.
    """
    right, judged = report["accuracy_of_class"], report["judged_of_class"]
    enough = [name for name, count in judged.items() if count >= _ENOUGH]
    more = ""
    for row in report["compared"]:
        if row["head"] == report["chosen"]:
            how = "on a part before" if report["steps_taken"] else "cross-validated"
            more = f" ({ACCURACY.mean(row['accuracy'])} % {how})"
    if worst := min(enough, key=right.__getitem__, default=""):
        count = round(right[worst] * judged[worst])
        name = textwrap.shorten(worst, 40, placeholder="...")
        more += f"; worst, {name}: {count:,} of {judged[worst]:,}"
    return (
        f"{_share(report)} of {report['judged']:,} held-out images told right by "
        f"{report['chosen']}{more}."
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


def page(
    report: Mapping[str, Any], judged: Judged, title: str, command: str
) -> Iterator[str]:
    """Yields the page as parts of Markdown; `report` is what `report.json` holds.

    `command` uses the classifier.
    """
    yield paragraph(headline(report))
    if warning := leaked(report):
        yield f"**{tables.escaped(warning)}**"
    yield tables.heading(title, 1)
    yield paragraph(
        f"{report['init']}; {report['images']:,} images to learn from, held out: "
        f"{report['held_out']}. [ ] are 95 % intervals (Wilson)."
    )
    saved = Bar("on held-out images", report["chosen"], *_interval(report))
    heads = [
        Bar(row["head"], _CROSS_VALIDATED, *_interval(row))
        for row in report["compared"]
    ]
    yield tables.bars("Accuracy", [saved, *heads])
    yield tables.code(command)
    if heads:
        yield details("Heads", _heads(report))
    if report["curve"]:
        steps = [
            Bar(row["head"], f"log loss {row['loss']:.3f}", *_interval(row))
            for row in report["curve"]
        ]
        curve = tables.bars("Accuracy", steps)
        yield details("Adapting, step by step", paragraph(_CURVE), curve)
    yield from _mistakes(judged)
    yield details("Classes, the worst first", _classes(judged))
    yield details("What was taken for what", _confusion(judged))
    about = (
        "Where it says 90 %, 90 % should be right. Mean difference: "
        f"{100 * report['calibration_error']:.1f} points."
    )
    yield details("Calibration", paragraph(about), _calibration(judged))


def _interval(row: Mapping[str, Any]) -> tuple[float, float, float]:
    return row["accuracy"], row["low"], row["high"]


def _share(row: Mapping[str, Any]) -> str:
    return tables.in_percent(*_interval(row))


def _heads(report: Mapping[str, Any]) -> str:
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
    return tables.captioned(("Head", "", "Accuracy", "Log loss", "Images"), rows)


def _pairs(judged: Judged) -> list[tuple[int, int, int]]:
    """Counts of wrong answers, (label, answer, count), the most frequent first."""
    counts = _counts(judged)
    np.fill_diagonal(counts, 0)
    pairs = [(int(a), int(b), int(counts[a, b])) for a, b in np.argwhere(counts)]
    return sorted(pairs, key=lambda pair: -pair[2])


def _counts(judged: Judged) -> np.ndarray:
    """Counts answers by label: the confusion matrix, int [label, answer]."""
    classes = range(len(judged.class_names))
    return confusion_matrix(judged.labels, judged.chances.argmax(-1), labels=classes)


def _classes(judged: Judged) -> str:
    counts, names = _counts(judged), judged.class_names
    images = counts.sum(1)
    share = np.diag(counts) / np.maximum(images, 1)
    mostly: dict[int, str] = {}
    for label, answer, count in _pairs(judged):
        mostly.setdefault(label, f"{names[answer]} ({count})")
    order = [x for x in np.argsort(share, kind="stable") if images[x]][:_WORST]
    rows = [
        (
            names[label],
            mostly.get(int(label), "-"),
            ACCURACY.mean(share[label]),
            str(images[label]),
        )
        for label in order
    ]
    return tables.table(("Class", "Mostly taken for", "Right, %", "Images"), rows)


def _confusion(judged: Judged) -> str:
    """Makes a row for a class and a column for an answer.

    Of many classes it lists the most frequent mistakes in place of that.
    """
    names = judged.class_names
    if len(names) > _MATRIX:
        rows = [(names[a], names[b], str(n)) for a, b, n in _pairs(judged)[:_WORST]]
        return tables.table(("Class", "Taken for", "Images"), rows)
    cells = [
        (name, *(str(n) if n else "" for n in row))
        for name, row in zip(names, _counts(judged), strict=True)
    ]
    return tables.table(("Class, taken for:", *names), cells, text=1)


def _mistakes(judged: Judged) -> Iterator[str]:
    """Yields a list of the images of which it was most sure, and wrong."""
    answers, sure = judged.chances.argmax(-1), judged.chances.max(-1)
    wrong = np.flatnonzero(answers != judged.labels)
    if not len(wrong):
        return
    names = judged.class_names
    items = []
    for n in wrong[np.argsort(-sure[wrong], kind="stable")][:MISTAKES]:
        about = (
            f"{names[judged.labels[n]]}, taken for {names[answers[n]]} "
            f"({100 * sure[n]:.0f} %): {judged.files[n]}"
        )
        items.append(f"- {tables.thumbnail(judged.images[n])} {paragraph(about)}")
    yield details(f"The {len(items)} most confident mistakes", "\n".join(items))


def _calibration(judged: Judged) -> str:
    """Draws the share that is right, by what was said of it."""
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
    return tables.bars("Right, by what was said", bars)
