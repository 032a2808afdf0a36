"""What a fine-tuning is: its head, its settings, and what cannot work."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from metainit.data.batches import labelled
from metainit.data.loading import Source, class_index

STARTS = ("zero", "prototype", "given")
OPTIMIZERS = ("sgd", "adam")


class Stepped(NamedTuple):
    """A head that is learned by steps.

    Attributes:
      start: as `Spec.head`.
      probe: share of the steps, the first ones, that change the head only.
    """

    start: str
    probe: float


class Fitted(NamedTuple):
    """A head in closed form, fitted to features of the unchanged body.

    Attributes:
      field: what its setting is called.
    """

    field: str


# The heads that are compared.
HEADS: dict[str, Stepped | Fitted] = {
    "prototype": Stepped("prototype", 0.0),
    "zero": Stepped("zero", 0.0),
    "linear probe": Stepped("zero", 1.0),
    # Kumar et al. 2022, arXiv:2202.10054.
    "probe then fine-tune": Stepped("zero", 0.5),
    "nearest centroid": Fitted("scale"),
    "logistic regression": Fitted("C"),
}


class Spec(NamedTuple):
    """One fine-tuning.

    Attributes:
      seed: of the images chosen, their order and their augmentation.
      steps: optimiser steps.
      probe_steps: how many of them, the first ones, change the head only; the optimiser
        begins anew after them.
      batch: images a step.
      head: where the head starts. "zero"; "prototype": the nearest class mean of the
        training images' features; "given": the parameters' own.
      optimizer: "sgd" or "adam".
      learning_rate: constant.
      momentum: of "sgd".
      fraction: share of each class's training images that may be used, above 0 to 1.
      shot: training images of each class that may be used; 0 for all.
      measure_at: steps to measure at; () for `log_steps(steps)`.
      save_every: steps between checkpoints, besides one a measurement.
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
    measure_at: tuple[int, ...] = ()
    save_every: int = 500


def rows_used(train: Source, spec: Spec) -> np.ndarray:
    """Ascending int64 rows of the training images whose labels may be used.

    Raises:
      ValueError: a class would be left with none, or has too few.
    """
    return labelled(train, spec.seed, spec.fraction, spec.shot)


def check(spec: Spec, train: Source, test: Source) -> None:
    """Refuses settings and data that cannot work.

    Raises:
      ValueError: in one line, which field or class is wrong and what would work.
    """
    for field, choices in (("head", STARTS), ("optimizer", OPTIMIZERS)):
        if (value := getattr(spec, field)) not in choices:
            raise ValueError(
                f"{field} must be one of {', '.join(choices)}, got {value!r}"
            )
    for field, least in (("steps", 1), ("batch", 1), ("save_every", 1), ("shot", 0)):
        if (value := getattr(spec, field)) < least:
            raise ValueError(f"{field} must be {least} or more, got {value}")
    if not 0 <= spec.probe_steps <= spec.steps:
        raise ValueError(
            f"probe_steps must be from 0 to steps={spec.steps}, got {spec.probe_steps}"
        )
    if not 0 < spec.learning_rate < math.inf:
        raise ValueError(f"learning_rate must be above 0, got {spec.learning_rate}")
    if not 0 < spec.fraction <= 1:
        raise ValueError(f"fraction must be above 0 and at most 1, got {spec.fraction}")
    if spec.shot and spec.fraction < 1:
        raise ValueError(
            f"shot={spec.shot} and fraction={spec.fraction} both limit the training "
            "images; give one of them"
        )
    at = spec.measure_at
    if at and (list(at) != sorted(set(at)) or at[0] < 0 or at[-1] != spec.steps):
        raise ValueError(
            f"measure_at must rise from 0 or more to steps={spec.steps}, got {at}"
        )
    if len(train.class_names) < 2:
        raise ValueError(
            f"{train.name} has one class, {train.class_names[0]!r}; a classifier needs "
            "2 or more"
        )
    if differing := set(train.class_names) ^ set(test.class_names):
        raise ValueError(
            f"{train.name} and its held-out images have different classes: "
            f"{', '.join(sorted(differing)[:5])}"
        )
    if train.class_names != test.class_names:
        raise ValueError(f"{train.name}: held-out classes stand in another order")
    if train.images.shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"{train.name}: training images are {train.images.shape[1:]}, held-out "
            f"ones {test.images.shape[1:]}; read both at one size"
        )
    for kind, source in (("training", train), ("held-out", test)):
        for label, found in enumerate(class_index(source)):
            if not len(found):
                raise ValueError(
                    f"{source.name}: class {source.class_names[label]!r} has no "
                    f"{kind} images; leave the class out, or split anew"
                )
    rows_used(train, spec)
