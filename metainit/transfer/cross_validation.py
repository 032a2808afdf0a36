"""Compares linear heads by cross-validation on features that stay, and calibrates them.

A head is {"kernel": float32 [d, way], "bias": float32 [way]} and takes the features as
they are. Centring and scaling are folded into it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.optimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from metainit.models.heads import FITTINGS
from metainit.runtime import progress

LinearHead = dict[str, np.ndarray]

FOLDS = 4
COMPARING = "comparing heads"  # what a terminal shows while it goes on


class Judged(NamedTuple):
    """What a head did on images that it had not learned from.

    Attributes:
      temperature: what its scores are multiplied by, for the lowest loss.
      right: bool [n], whether an image was classified rightly.
      losses: cross-entropy of the calibrated scores in nats, float [n].
    """

    method: str
    setting: float
    temperature: float
    right: np.ndarray
    losses: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of images that are right, 0 to 1; NaN where no image was judged."""
        return float(np.mean(self.right)) if len(self.right) else math.nan

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; NaN where no image was judged."""
        return float(np.mean(self.losses)) if len(self.losses) else math.nan

    def fitted(self, features: np.ndarray, labels: np.ndarray, way: int) -> LinearHead:
        """Fits the calibrated head to features, float [n, d], labels int [n]."""
        head = fit(self.method, self.setting, features, labels, way)
        return {name: np.float32(self.temperature) * x for name, x in head.items()}


def fit(
    method: str, setting: float, features: np.ndarray, labels: np.ndarray, way: int
) -> LinearHead:
    """Fits a head of `FITTINGS` to features, float [n, d], and labels int [n].

    The features are centred and divided by one spread of them all. A spread of each
    would make as much of features that hardly vary as of others.
    """
    mean = features.mean(0)
    spread = np.sqrt(np.mean(np.square(features - mean))) or 1.0
    # Where cores are busy, several threads of BLAS are far slower on such sizes.
    with threadpool_limits(1):
        kernel, bias = FITTINGS[method].fit(
            (features - mean) / spread, labels, way, setting
        )
    kernel = kernel / spread
    head = {"kernel": kernel, "bias": bias - mean @ kernel}
    return {name: np.asarray(leaf, np.float32) for name, leaf in head.items()}


def scores(head: LinearHead, features: np.ndarray) -> np.ndarray:
    """Scores features, [n, d], to [n, way]."""
    return features @ head["kernel"] + head["bias"]


def folds(labels: np.ndarray, first: np.ndarray, seed: int) -> np.ndarray:
    """Numbers the fold that judges each image, int [n].

    Each class is spread over the folds, so that the images outside of a fold have every
    class. The only image of a class is not judged: its fold is -1. An image is in the
    fold of the `first` of its class with the same pixels, int [n]
    (`metainit.data.cache.first_of`).
    """
    rng, fold = np.random.default_rng(seed), np.full(len(labels), -1)
    is_first = first == np.arange(len(first))
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(is_first & (labels == label)))
        if len(rows) > 1:
            fold[rows] = np.arange(len(rows)) % FOLDS
    return fold[first]


def compare(
    features: np.ndarray, labels: np.ndarray, way: int, fold: np.ndarray
) -> list[Judged]:
    """Judges every head, with its best setting, by cross-validation over `folds`.

    Features are float [n, d], labels and fold int [n].
    """
    known, numbers = fold >= 0, np.unique(fold[fold >= 0])
    count = sum(len(fitting.strengths) for fitting in FITTINGS.values()) * len(numbers)
    judged = []
    with progress.Stage(COMPARING, count) as stage:
        for method, (_, strengths) in FITTINGS.items():
            tries = []
            for setting in strengths:
                progress.detailed(f"{method}, setting {setting:g}")
                held_out = np.zeros((len(labels), way))
                for number in numbers:
                    inside = fold == number
                    learned = features[~inside], labels[~inside], way
                    fitted = fit(method, setting, *learned)
                    held_out[inside] = scores(fitted, features[inside])
                    stage.advance()
                tries.append(_judged(method, setting, held_out[known], labels[known]))
            judged.append(best(tries))
    return judged


def best(judged: Sequence[Judged], errors: float = 0.0) -> Judged:
    """Chooses the lowest loss among those at least as accurate as the first.

    The first is left only where the loss falls by more than `errors` standard errors of
    the difference. With few images most of what looks better is luck.
    """
    first, *others = judged

    def is_better(x: Judged) -> bool:
        gain = first.losses - x.losses
        if not len(gain) or x.accuracy < first.accuracy:
            return False
        return float(np.mean(gain)) > errors * np.std(gain) / len(gain) ** 0.5

    return min((first, *filter(is_better, others)), key=lambda x: x.loss)


def _judged(
    method: str, setting: float, scores: np.ndarray, labels: np.ndarray
) -> Judged:
    temperature = _temperature(scores, labels) if len(labels) else 1.0
    losses = _losses(temperature * scores, labels)
    return Judged(method, setting, temperature, scores.argmax(-1) == labels, losses)


def _losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -log_softmax(scores, -1)[np.arange(len(labels)), labels]


def _temperature(scores: np.ndarray, labels: np.ndarray) -> float:
    """Finds the factor of scores, [n, way], with the lowest cross-entropy.

    As in Platt (1999), a label is as uncertain as one more image would make it.
    Otherwise no factor would be too large where all are right.
    """
    n, way = scores.shape
    wanted = np.full((n, way), 1 / (n + 2) / (way - 1))
    wanted[np.arange(n), labels] = 1 - 1 / (n + 2)

    def loss(log_factor: float) -> float:
        chances = log_softmax(np.exp(log_factor) * scores, -1)
        return -float(np.mean(np.sum(wanted * chances, -1)))

    lowest = scipy.optimize.minimize_scalar(loss, bounds=(-5, 5), method="bounded")
    return float(np.exp(lowest.x))
