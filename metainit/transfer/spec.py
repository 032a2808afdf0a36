"""The settings of a fine-tuning, and the checks of what cannot work."""

from typing import Literal, NamedTuple

import numpy as np

from metainit.config import parsing
from metainit.config.fields import Count, Fraction, Natural, Positive, Schedule
from metainit.data.batches import labelled
from metainit.data.loading import Source, class_index

Start = Literal["zero", "prototype", "given"]  # of a head


class Split(NamedTuple):
    """One data set for a classifier, with the same classes on both sides."""

    name: str
    train: Source
    test: Source


class Spec(NamedTuple):
    """One fine-tuning.

    Attributes:
      probe_steps: the number of first steps that change the head only. The optimiser
        begins anew after them.
      batch: images a step.
      head: "prototype" is the nearest class mean of the training images' features,
        "given" the initialisation's own.
      momentum: of "sgd".
      schedule: of the rate, in the steps of the head only and again in the others.
      layer_decay: factor of the rate from a layer of the network to the one below it;
        the head's is the rate.
      shot: training images of each class that may be used; 0 for all.
    """

    seed: int = 0
    steps: Count = 1000
    probe_steps: Natural = 0
    batch: Count = 32
    head: Start = "prototype"
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: Positive = 0.01
    momentum: float = 0.0
    schedule: Schedule = "constant"
    layer_decay: Fraction = 1.0
    shot: Natural = 0


def rows_used(train: Source, spec: Spec) -> np.ndarray:
    """Gives the ascending int64 rows of the training images that may be used."""
    return labelled(train, spec.seed, spec.shot)


def check(spec: Spec, split: Split) -> None:
    """Raises ValueError, which names the field or class, for what cannot work."""
    parsing.parse(spec._asdict(), Spec)
    if spec.probe_steps > spec.steps:
        raise ValueError(f"probe_steps={spec.probe_steps} must be at most {spec.steps}")
    _, train, test = split
    classes = train.class_names
    shape, other = train.images.shape[1:], test.images.shape[1:]
    learned, held_out = set(classes), set(test.class_names)
    alone, other_classes = (
        ", ".join(sorted(names)[:5])
        for names in (learned - held_out, held_out - learned)
    )
    for right, wrong in (
        (len(classes) > 1, f"has one class, {classes[0]!r}; a classifier needs 2"),
        (not alone, f"has no held-out images of {alone}"),
        (not other_classes, f"has held-out images of other classes: {other_classes}"),
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
