"""The results of an evaluation: plain values, nothing computed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from metainit.runtime.cost import Cost

# By name in `metainit.evaluation.metrics.METRICS`, float [steps, episodes].
Measurements = Mapping[str, np.ndarray]


class Row(NamedTuple):
    """One initialisation with one head, measured on meta-test."""

    init: str
    head: str
    setting: dict[str, Any]  # chosen on meta-validation, e.g. {"optimizer": "sgd"}
    steps: tuple[int, ...]  # of adaptation measured, ascending; (0,) in closed form
    chosen: int  # position in `steps` that was chosen on meta-validation
    validation_accuracy: float  # of that choice, 0 to 1
    measurements: Measurements  # of the queries, float [len(steps), episodes] each
    cost: Cost  # of making the initialisation
    trials: int = 0  # settings tried on meta-validation
    # How many of them met how many episodes there: the worse are dropped early.
    rungs: tuple[tuple[int, int], ...] = ()

    @property
    def in_closed_form(self) -> bool:
        """Whether the head was fitted at once, and no step was taken."""
        return tuple(self.steps) == (0,)


class Example(NamedTuple):
    """Some images of the first episode of meta-test, with the classes predicted.

    Attributes:
      support: uint8 [classes, h, w, 1 or 3], one image of each class that is shown.
      query: uint8 [n, h, w, 1 or 3].
      labels: of the queries, 0 .. classes - 1.
      class_names: the names of all classes of the episode, also of those not shown.
      said: the predicted class of each query, by initialisation. Head and steps are
        those that meta-validation chose.
    """

    support: np.ndarray
    query: np.ndarray
    labels: tuple[int, ...]
    class_names: tuple[str, ...]
    said: dict[str, tuple[int, ...]]


class Evaluation(NamedTuple):
    """Every row of one evaluation; all rows saw the same episodes in one order."""

    rows: tuple[Row, ...]
    dataset: str
    protocol: str  # in words, e.g. "5-way 1-shot"
    batch_norm: str
    grid: dict[str, Any]  # what every initialisation met on meta-validation, by field
    device: str  # e.g. "cpu x1"
    runtime: float  # seconds the evaluation took
    queries: int  # query images an episode
    notes: tuple[str, ...] = ()  # sentences that belong under the table
    # The same by data set, where there are several, and on held-out classes.
    parts: tuple["Evaluation", ...] = ()
    # Of the stream that the episodes begin; runs with one digest may be paired.
    episodes_sha256: str = ""
    held_out: bool = False  # whether it is on held-out classes of a meta-train set
    episodes: int = 0  # of each data set, the same for all rows
    example: Example | None = None

    @property
    def name(self) -> str:
        """The data set, with what tells held-out classes apart."""
        return self.dataset + ", held-out classes" * self.held_out

    @property
    def protocol_and_count(self) -> str:
        """The protocol with the number of episodes."""
        pooled = self.rows[0].measurements["accuracy"].shape[1]
        of_each = " of each" if pooled > self.episodes else ""
        return f"{self.protocol}, {self.episodes:,} episodes{of_each}"
