"""What a fine-tuning is, and what cannot work."""

import math
from typing import NamedTuple

import numpy as np

from metainit.data.batches import labelled
from metainit.data.loading import Source, class_index

STARTS = ("zero", "prototype")
OPTIMIZERS = ("sgd", "adam")


class Spec(NamedTuple):
    """One fine-tuning.

    Attributes:
      probe_steps: how many of the steps, the first ones, change the head only; the
        optimiser begins anew after them.
      batch: images a step.
      head: "zero", or "prototype", the nearest class mean of the training images'
        features.
      momentum: of "sgd".
      fraction: share of each class's training images that may be used, above 0 to 1.
      shot: training images of each class that may be used; 0 for all.
    """

    seed: int = 0
    steps: int = 1000
    probe_steps: int = 0
    batch: int = 32
    head: str = "prototype"
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.0
    fraction: float = 1.0
    shot: int = 0


def rows_used(train: Source, spec: Spec) -> np.ndarray:
    """Gives the ascending int64 rows of the training images that may be used."""
    return labelled(train, spec.seed, spec.fraction, spec.shot)


def check(spec: Spec, train: Source, test: Source) -> None:
    """Refuses, by a ValueError that names field or class, what cannot work."""
    classes, probed = train.class_names, 0 <= spec.probe_steps <= spec.steps
    shape, other = train.images.shape[1:], test.images.shape[1:]
    differing = ", ".join(sorted(set(classes) ^ set(test.class_names))[:5])
    for field, right, wanted in (
        ("head", spec.head in STARTS, f"one of {', '.join(STARTS)}"),
        ("optimizer", spec.optimizer in OPTIMIZERS, f"one of {', '.join(OPTIMIZERS)}"),
        ("steps", spec.steps >= 1, "1 or more"),
        ("batch", spec.batch >= 1, "1 or more"),
        ("shot", spec.shot >= 0, "0 or more"),
        ("probe_steps", probed, f"from 0 to steps={spec.steps}"),
        ("learning_rate", 0 < spec.learning_rate < math.inf, "above 0"),
        ("fraction", 0 < spec.fraction <= 1, "above 0 and at most 1"),
        ("fraction", spec.fraction == 1 or not spec.shot, f"1 with shot={spec.shot}"),
    ):
        if not right:
            value = getattr(spec, field)
            raise ValueError(f"{field} must be {wanted}, got {value!r}")
    for right, wrong in (
        (len(classes) > 1, f"has one class, {classes[0]!r}; a classifier needs 2"),
        (not differing, f"and held-out images have different classes: {differing}"),
        (classes == test.class_names, "has held-out classes in another order"),
        (shape == other, f"has images of {shape} and {other}; read both at one size"),
    ):
        if not right:
            raise ValueError(f"{train.name} {wrong}")
    for kind, source in (("training", train), ("held-out", test)):
        for label, rows in enumerate(class_index(source)):
            if not len(rows):
                raise ValueError(
                    f"{source.name}: class {classes[label]!r} has no {kind} images; "
                    "leave the class out, or split anew"
                )
    rows_used(train, spec)
