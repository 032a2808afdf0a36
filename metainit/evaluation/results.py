"""What the report is made of: plain values, nothing computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypedDict

import numpy as np

from metainit.data.manifest import Manifest
from metainit.runtime.cost import Cost


class Row(NamedTuple):
    """One initialisation with one head, measured on meta-test.

    Attributes:
      init: name of the initialisation, e.g. "meta-learned", "joint pretraining".
      head: name of the head, e.g. "prototype", "nearest centroid".
      setting: chosen on meta-validation, e.g. {"optimizer": "sgd",
        "learning_rate": 0.1}.
      steps: numbers of adaptation steps measured, ascending; (0,) for a head in
        closed form.
      chosen: position in `steps` that was chosen on meta-validation.
      validation_accuracy: accuracy on meta-validation of that choice, 0 to 1.
      accuracy: float [len(steps), episodes], 0 to 1.
      f1: float [len(steps), episodes], macro-F1 over the episode's classes.
      loss: float [len(steps), episodes], mean query cross-entropy in nats.
      cost: of making the initialisation.
    """

    init: str
    head: str
    setting: dict[str, Any]
    steps: tuple[int, ...]
    chosen: int
    validation_accuracy: float
    accuracy: np.ndarray
    f1: np.ndarray
    loss: np.ndarray
    cost: Cost


class Evaluation(NamedTuple):
    """Every row of one evaluation; all rows saw the same episodes in one order.

    Attributes:
      rows: one for each initialisation and head.
      dataset: name of the data set.
      protocol: in words, e.g. "5-way 1-shot, 600 episodes".
      batch_norm: the batch-norm policy in words.
      grid: what every initialisation met on meta-validation, by field.
      device: e.g. "cpu x1".
      runtime: seconds the evaluation took.
      queries: query images an episode.
      notes: sentences that belong under the table.
      parts: the same by data set, where there is more than one, and on held-out classes
        of the meta-train sets.
      episodes_sha256: of the episodes; runs with one digest may be paired.
      manifests: which images they are of, one a data set.
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
    parts: tuple[Evaluation, ...] = ()
    episodes_sha256: str = ""
    manifests: tuple[Manifest, ...] = ()


class FineTuning(NamedTuple):
    """One initialisation with one head, fine-tuned on a whole data set.

    Attributes:
      dataset: name of the data set.
      init, head: as in `Row`.
      setting: chosen on meta-validation, e.g. {"optimizer": "sgd",
        "learning_rate": 0.1}.
      validation_accuracy: accuracy on meta-validation of that choice, 0 to 1.
      points: rows of `transfer.jsonl`, by step; one for a head in closed form.
    """

    dataset: str
    init: str
    head: str
    setting: dict[str, Any]
    validation_accuracy: float
    points: tuple[dict[str, Any], ...]

    @property
    def in_closed_form(self) -> bool:
        """Whether the head was fitted at once, and no step was taken."""
        return len(self.points) == 1


class Transfer(NamedTuple):
    """Every fine-tuning of one experiment.

    Attributes:
      runs: one for each data set, initialisation and head.
      costs: of making each initialisation, by name.
      protocol: in words, e.g. "32 images a step, 20 % of each class held out".
      grid: what every initialisation and head met on meta-validation, by field.
      trial_seconds, trial_flops: device time and operations of those trials.
      device: kind of the one device that was used, e.g. "cpu".
      price_per_hour: of the device; None where not known.
      accuracies: to be reached that were fixed beforehand, 0 to 1.
      starts: as for `metainit.reporting.gain.split`.
    """

    runs: tuple[FineTuning, ...]
    costs: dict[str, Cost]
    protocol: str
    grid: dict[str, Any]
    trial_seconds: float
    trial_flops: float
    device: str
    price_per_hour: float | None = None
    accuracies: tuple[float, ...] = ()
    starts: Mapping[str, str] | None = None


class Trial(NamedTuple):
    """One setting that a search tried, on meta-validation.

    Attributes:
      fields: value by dotted name.
      accuracy: best on meta-validation, 0 to 1, by initialisation; {} for a trial that
        diverged, None where it was never measured.
      device_seconds: of training, all initialisations.
      seconds: by the wall clock, compilation included.
      notes: what ended it early, in sentences.
    """

    fields: dict[str, Any]
    accuracy: dict[str, float | None]
    device_seconds: float
    seconds: float
    notes: tuple[str, ...] = ()


class Context(TypedDict):
    """What a report says about the run besides its evaluation.

    Attributes:
      title: heading of the report.
      command: shell line that repeats the run.
      seed: of the run.
      versions: of the packages, by name.
      config: nested dict of the settings.
      training: rows of `metrics.jsonl`.
      device_hours: of the whole run.
      epoch: passes over the meta-train images.
    """

    title: str
    command: str
    seed: int
    versions: Mapping[str, str]
    config: Mapping[str, Any]
    training: Sequence[Mapping[str, Any]]
    device_hours: float
    epoch: float
