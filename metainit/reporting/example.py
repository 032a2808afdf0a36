"""The example episode of a report: which queries are told right, and by whom."""

from collections.abc import Iterator, Sequence

import numpy as np

from metainit.evaluation.results import Example
from metainit.reporting.tables import Block, Card, Cards, Picture


def blocks(example: Example, ours: str, theirs: str | None) -> Iterator[Block]:
    """Yields a sentence, and a card for each class that is shown.

    What ours takes a query for marks it; a baseline, if there is one, stands below.
    """
    sides = [("ours", ours)] if theirs is None else [("ours", ours), ("other", theirs)]
    shown, way = len(example.support), len(example.class_names)
    part = f", {shown} of its {way} classes" if shown < way else ""
    names = ", ".join(f"{who}: {init}" for who, init in sides)
    yield (
        f"The first episode of meta-test{part}: of each class an image to learn from "
        f"and then queries. ✓ is told right, ✗ taken for another class; {names}."
    )
    labels = np.array(example.labels)
    yield Cards(
        [
            Card(
                example.class_names[label],
                [
                    Picture(example.support[label], "to learn from"),
                    *(
                        _query(example, sides, int(number))
                        for number in np.flatnonzero(labels == label)
                    ),
                ],
            )
            for label in range(shown)
        ]
    )


def _query(example: Example, sides: Sequence[tuple[str, str]], number: int) -> Picture:
    label, names = example.labels[number], example.class_names
    answers = [example.said[init][number] for _, init in sides]
    told = [
        f"{who} ✓" if answer == label else f"{who} ✗ {names[answer]}"
        for (who, _), answer in zip(sides, answers, strict=True)
    ]
    mark = "right" if answers[0] == label else "wrong"
    return Picture(example.query[number], "\n".join(told), mark)
