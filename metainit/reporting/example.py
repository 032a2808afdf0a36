"""The example episode of a report: which queries are told right, and by whom."""

from collections.abc import Iterator, Sequence

import numpy as np

from metainit.evaluation.results import Example
from metainit.reporting.tables import escaped, paragraph, thumbnail


def section(example: Example, ours: str, theirs: str | None) -> Iterator[str]:
    """Yields a sentence, and an item for each class that is shown.

    Of each query it says whether ours and a baseline, if there is one, were right.
    """
    sides = [("ours", ours)] if theirs is None else [("ours", ours), ("other", theirs)]
    shown, way = len(example.support), len(example.class_names)
    part = f", {shown} of its {way} classes" if shown < way else ""
    names = ", ".join(f"{who}: {init}" for who, init in sides)
    yield paragraph(
        f"The first episode of meta-test{part}: of each class an image to learn from "
        f"and then queries. ✓ is told right, ✗ taken for another class; {names}."
    )
    labels = np.array(example.labels)
    items = []
    for label in range(shown):
        pictures = [f"{thumbnail(example.support[label])} to learn from"]
        pictures += [
            f"{thumbnail(example.query[n])} {escaped(_answers(example, sides, n))}"
            for n in map(int, np.flatnonzero(labels == label))
        ]
        name = paragraph(example.class_names[label])
        items.append(f"- {name}: {'; '.join(pictures)}")
    yield "\n".join(items)


def _answers(example: Example, sides: Sequence[tuple[str, str]], number: int) -> str:
    label, names = example.labels[number], example.class_names
    answers = [(who, example.said[init][number]) for who, init in sides]
    return ", ".join(
        f"{who} ✓" if answer == label else f"{who} ✗ {names[answer]}"
        for who, answer in answers
    )
