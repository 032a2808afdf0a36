"""Chooses the best head on a network's features, or adapts the network.

Heads are compared by cross-validation on the training images. Adapting is judged on a
part of them. The best of all then learns from all training images.
"""

import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from metainit.data import cache, loading
from metainit.data.loading import Source, rows
from metainit.evaluation import intervals
from metainit.models.heads import FITTINGS
from metainit.training import frozen_features, initialisation
from metainit.training.initialisation import Initialisation
from metainit.transfer import cross_validation, fine_tuning, held_out
from metainit.transfer.spec import Spec, Split

BEST, ADAPTED = "best", "adapted"
HEADS = (BEST, *FITTINGS, ADAPTED)
# What a terminal shows meanwhile.
ON_A_PART, ON_ALL = "adapting, on a part", "adapting, on all"


class Choice(NamedTuple):
    """What was chosen, and what it was compared with.

    Attributes:
      chosen: name of the head, or "adapted".
      compared: a row for each head: "head", "accuracy", "low" and "high" (a Wilson
        interval) and "loss", on training images that the head had not seen.
      curve: the same rows for the steps of adapting; [] where it was not tried.
      steps_taken, device_seconds: of adapting the network; 0 where a head was fitted.
    """

    chosen: str
    compared: list[dict[str, Any]]
    curve: list[dict[str, Any]]
    steps_taken: int
    device_seconds: float


def learn(
    init: Initialisation,
    split: Split,
    spec: Spec,
    fold: np.ndarray,
    asked: str,
    folder: pathlib.Path,
    maps: pathlib.Path,
) -> tuple[Choice, Initialisation, np.ndarray]:
    """Compares heads and adapting, and trains the best on all images.

    Fine-tunings are kept in `folder`, and features in `maps`.

    Returns:
      The choice, the initialisation with its head, and images for the moments of batch
      norm.
    """
    name, train, test = split
    init = learned = initialisation.fitted(init, loading.images_used((train,)))
    moments = held_out.moment_images(train, spec)
    if _is_encoded(init):
        learned, encoded = frozen_features.encode(init, (train, test), maps)
        split = Split(name, *encoded)
    features = held_out.features_of(learned, split.train, spec)
    labels, way = train.labels[rows(train)], len(train.class_names)
    judged = cross_validation.compare(features, labels, way, fold)
    if asked in FITTINGS:
        judged = [x for x in judged if x.method == asked]
    best = cross_validation.best(judged, errors=1.0)
    compared = [
        _row(x.method, x.accuracy, len(x.right), x.loss) for x in judged if len(x.right)
    ]
    steps, curve = 0, []
    if asked in (BEST, ADAPTED) and adapts(learned, fold):
        inside = fold == 0
        head = best.fitted(features[~inside], labels[~inside], way)
        trial = _parted(split.train, inside)
        points = _adapted(learned._replace(head=head), trial, spec, asked, folder)
        curve = [
            _row(f"step {x.step}", x.accuracy, inside.sum(), x.loss) for x in points
        ]
        point = _chosen(points, asked)
        compared.append(_row(ADAPTED, point.accuracy, inside.sum(), point.loss))
        steps = point.step
    learned = learned._replace(head=best.fitted(features, labels, way))
    params, seconds = learned.params, 0.0
    if steps:
        whole = spec._replace(steps=steps), folder / "all"
        about = {"init": ON_ALL}
        taken, params = fine_tuning.fine_tune(learned, split, *whole, about)
        seconds = taken[-1].device_seconds
    saved = init._replace(body=params["body"], head=params["head"])
    chosen = ADAPTED if steps else best.method
    return Choice(chosen, compared, curve, steps, seconds), saved, moments


def stages(
    init: Initialisation, train: Source, fold: np.ndarray, asked: str
) -> tuple[str, ...]:
    """Lists the stages in order, of which those done before are skipped."""
    encoding = frozen_features.stage_of(train)
    adapting = asked in (BEST, ADAPTED) and adapts(init, fold)
    return (
        *(encoding,) * _is_encoded(init),
        cross_validation.COMPARING,
        *(ON_A_PART, ON_ALL) * adapting,
    )


def _is_encoded(init: Initialisation) -> bool:
    """Whether an image has the same features each time it is seen."""
    augmented = init.preprocess.shift or init.preprocess.flip
    return init.model.encode is not None and not augmented


def folds(train: cache.Part, seed: int) -> np.ndarray:
    """Numbers the fold of cross-validation of each training image."""
    labels, hashes = (x[train.labels >= 0] for x in (train.labels, train.hashes))
    return cross_validation.folds(labels, cache.first_of(labels, hashes), seed)


def adapts(init: Initialisation, fold: np.ndarray) -> bool:
    """Whether fine-tuning changes more than the head, and can be judged."""
    paths = jax.tree_util.tree_leaves_with_path(init.body)
    changes = any(init.model.learns(*pair) for pair in paths)
    return changes and bool((fold >= 0).all())


def _parted(train: Source, inside: np.ndarray) -> Split:
    """Splits training images in two; those `inside`, bool [n], are to judge on."""
    learnt, judged = train.labels.copy(), train.labels.copy()
    learnt[rows(train)[inside]] = -1
    judged[rows(train)[~inside]] = -1
    sides = (train._replace(labels=labels) for labels in (learnt, judged))
    return Split(train.name, *sides)


def _adapted(
    start: Initialisation, split: Split, spec: Spec, asked: str, folder: pathlib.Path
) -> list[fine_tuning.Point]:
    """Fine-tunes on a part, and gives the points whose losses are finite."""
    place, about = folder / "trial", {"init": ON_A_PART}
    points, _ = fine_tuning.fine_tune(start, split, spec, place, about)
    finite = [point for point in points if math.isfinite(point.loss)]
    if asked == ADAPTED and not finite[1:]:
        raise ValueError(
            f"the loss is not finite after {points[1].step} steps; give a lower "
            f"--learning_rate than {spec.learning_rate}, and another --out"
        )
    return finite


def _chosen(points: Sequence[fine_tuning.Point], asked: str) -> fine_tuning.Point:
    """Chooses the point with the lowest loss; step 0 where none is better.

    Where adapting is asked for, step 0 is no choice.
    """
    first, *others = points
    better = [x for x in others if asked == ADAPTED or x.accuracy >= first.accuracy]
    forced = () if asked == ADAPTED else (first,)
    return min((*forced, *better), key=lambda point: point.loss)


def _row(head: str, accuracy: float, count: int, loss: float) -> dict[str, Any]:
    """Makes the row of a head, judged on images that it had not learned from."""
    low, high = intervals.wilson(accuracy, count)
    values = {"accuracy": accuracy, "low": low, "high": high, "loss": loss}
    return {"head": head, "judged": int(count), **values}
