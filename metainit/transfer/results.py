"""The results of fine-tuning on whole data sets: plain values, nothing computed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from metainit.runtime.cost import Cost

# One line of `transfer.jsonl`: what was fine-tuned, and what it measured at a step.
Record = dict[str, Any]


class FineTuning(NamedTuple):
    """One initialisation with one head, fine-tuned on a whole data set.

    Attributes:
      setting: chosen on meta-validation, e.g. {"optimizer": "sgd"}.
      validation_accuracy: accuracy on meta-validation of that choice, 0 to 1.
      points: records of `transfer.jsonl`, by step; one for a head in closed form.
      ours: whether the initialisation is one of ours, or a baseline.
    """

    dataset: str
    init: str
    head: str
    setting: dict[str, Any]
    validation_accuracy: float
    points: tuple[Record, ...]
    ours: bool

    @property
    def in_closed_form(self) -> bool:
        """Whether the head was fitted at once, and no step was taken."""
        return len(self.points) == 1


def of_points(points: Sequence[Record], ours: bool) -> FineTuning:
    """Makes a fine-tuning of its records."""
    fields = "dataset", "init", "head", "setting", "validation_accuracy"
    about = {name: points[0][name] for name in fields}
    return FineTuning(**about, points=tuple(points), ours=ours)


def made_in(runs: Sequence[FineTuning]) -> dict[str, float]:
    """Gives the device seconds that making each initialisation took, by its name.

    Initialisations of another kind of device are left out: their records have None.
    """
    seconds = {run.init: run.points[0]["init_device_seconds"] for run in runs}
    return {init: spent for init, spent in seconds.items() if spent is not None}


class Transfer(NamedTuple):
    """Every fine-tuning of one experiment, by data set, initialisation and head.

    Attributes:
      protocol: in words, e.g. "32 images a step, 20 % of each class held out".
      grid: what all met on meta-validation, by field.
      trial_seconds, trial_flops: device time and operations of those trials.
      accuracies: to be reached that were fixed beforehand, 0 to 1.
    """

    runs: tuple[FineTuning, ...]
    costs: dict[str, Cost]
    protocol: str
    grid: dict[str, Any]
    trial_seconds: float
    trial_flops: float
    device: str
    accuracies: tuple[float, ...] = ()
