"""What an evaluation measured: plain values, nothing computed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from metainit.runtime.cost import Cost

# By name in `metainit.evaluation.metrics.METRICS`, float [steps, episodes].
Measurements = Mapping[str, np.ndarray]


class Row(NamedTuple):
    """One initialisation with one head, measured on meta-test.

    Attributes:
      setting: chosen on meta-validation, e.g. {"optimizer": "sgd"}.
      steps: numbers of adaptation steps measured, ascending; (0,) in closed form.
      chosen: position in `steps` that was chosen on meta-validation.
      validation_accuracy: accuracy on meta-validation of that choice, 0 to 1.
      measurements: of the queries, float [len(steps), episodes] each.
      cost: of making the initialisation.
    """

    init: str
    head: str
    setting: dict[str, Any]
    steps: tuple[int, ...]
    chosen: int
    validation_accuracy: float
    measurements: Measurements
    cost: Cost

    @property
    def in_closed_form(self) -> bool:
        """Whether the head was fitted at once, and no step was taken."""
        return tuple(self.steps) == (0,)


class Evaluation(NamedTuple):
    """Every row of one evaluation; all rows saw the same episodes in one order.

    Attributes:
      protocol: in words, e.g. "5-way 1-shot, 600 episodes".
      grid: what every initialisation met on meta-validation, by field.
      device: e.g. "cpu x1".
      runtime: seconds the evaluation took.
      queries: query images an episode.
      notes: sentences that belong under the table.
      parts: the same by data set, where there are several, and on held-out classes.
      episodes_sha256: of the episodes; runs with one digest may be paired.
      held_out: whether it is on held-out classes of a meta-train set.
    """

    rows: tuple[Row, ...]
    dataset: str
    protocol: str
    batch_norm: str
    grid: dict[str, Any]
    device: str
    runtime: float
    queries: int
    notes: tuple[str, ...] = ()
    parts: tuple["Evaluation", ...] = ()
    episodes_sha256: str = ""
    held_out: bool = False

    @property
    def name(self) -> str:
        """The data set, with what tells held-out classes apart."""
        return self.dataset + ", held-out classes" * self.held_out
