"""Linear heads on features that stay: fitted, calibrated, and chosen between.

A head is {"kernel": float32 [d, way], "bias": float32 [way]} of the features as they
are: what a method does to them first is folded in.
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

Head = dict[str, np.ndarray]

FOLDS = 4
COMPARING = "comparing heads"  # what a terminal shows while it goes on


class Judged(NamedTuple):
    """What a method did on images that it had not learned from.

    Attributes:
      temperature: what its scores are multiplied by, for the lowest loss.
      right: bool [n], by image.
      losses: cross-entropy in nats after that, float [n].
    """

    method: str
    setting: float
    temperature: float
    right: np.ndarray
    losses: np.ndarray

    @property
    def accuracy(self) -> float:
        """From 0 to 1; NaN where no image was judged."""
        return float(np.mean(self.right)) if len(self.right) else math.nan

    @property
    def loss(self) -> float:
        """Mean cross-entropy in nats; NaN where no image was judged."""
        return float(np.mean(self.losses)) if len(self.losses) else math.nan

    def fitted(self, features: np.ndarray, labels: np.ndarray, way: int) -> Head:
        """Fits the calibrated head to features, float [n, d], labels int [n]."""
        head = fit(self.method, self.setting, features, labels, way)
        return {name: np.float32(self.temperature) * x for name, x in head.items()}


def fit(
    method: str, setting: float, features: np.ndarray, labels: np.ndarray, way: int
) -> Head:
    """Fits a head of `FITTINGS` to features, float [n, d], and labels int [n].

    The features are centred and divided by one spread of them all. A spread of each
    would make as much of features that hardly vary as of others.
    """
    mean = features.mean(0)
    spread = np.sqrt(np.mean(np.square(features - mean))) or 1.0
    # In threads of its own BLAS is far slower on such sizes where cores are busy.
    with threadpool_limits(1):
        made = FITTINGS[method].fit((features - mean) / spread, labels, way, setting)
    kernel, bias = made[0] / spread, made[1]
    head = {"kernel": kernel, "bias": bias - mean @ kernel}
    return {name: np.asarray(leaf, np.float32) for name, leaf in head.items()}


def scores(head: Head, features: np.ndarray) -> np.ndarray:
    """Scores features, [n, d], to [n, way]."""
    return features @ head["kernel"] + head["bias"]


def folds(labels: np.ndarray, first: np.ndarray, seed: int) -> np.ndarray:
    """The fold in which each image is judged, int [n], by class; -1 for an only one.

    What is learned from in a fold has every class. An image goes with the `first` of
    its class that has its pixels, int [n] (`metainit.data.cache.first_of`).
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
    """Judges every method, with its best setting, by cross-validation over `folds`.

    Features are float [n, d], labels and fold int [n].
    """
    known, numbers = fold >= 0, np.unique(fold[fold >= 0])
    count = sum(len(fitting.strengths) for fitting in FITTINGS.values()) * len(numbers)
    judged = []
    with progress.Stage(COMPARING, count) as stage:
        for method, (_, strengths) in FITTINGS.items():
            tried = []
            for setting in strengths:
                progress.detailed(f"{method}, setting {setting:g}")
                given = np.zeros((len(labels), way))
                for number in numbers:
                    inside = fold == number
                    learned = features[~inside], labels[~inside], way
                    fitted = fit(method, setting, *learned)
                    given[inside] = scores(fitted, features[inside])
                    stage.advance()
                tried.append(_judged(method, setting, given[known], labels[known]))
            judged.append(best(tried))
    return judged


def best(judged: Sequence[Judged], errors: float = 0.0) -> Judged:
    """The lowest loss of those that are right as often as the first, or more often.

    The first is left only where the loss falls by more than so many standard errors of
    the difference: with few images most of what looks better is luck.
    """
    first, *others = judged

    def is_better(x: Judged) -> bool:
        gain = first.losses - x.losses
        if not len(gain) or x.accuracy < first.accuracy:
            return False
        return float(np.mean(gain)) > errors * np.std(gain) / len(gain) ** 0.5

    return min((first, *filter(is_better, others)), key=lambda x: x.loss)


def _judged(
    method: str, setting: float, given: np.ndarray, labels: np.ndarray
) -> Judged:
    temperature = _temperature(given, labels) if len(labels) else 1.0
    losses = _losses(temperature * given, labels)
    return Judged(method, setting, temperature, given.argmax(-1) == labels, losses)


def _losses(given: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return -log_softmax(given, -1)[np.arange(len(labels)), labels]


def _temperature(given: np.ndarray, labels: np.ndarray) -> float:
    """The factor of scores, [n, way], with the lowest cross-entropy.

    As of Platt (1999) a label is as uncertain as one image more would make it: where
    all are right, no factor would be too large otherwise.
    """
    n, way = given.shape
    wanted = np.full((n, way), 1 / (n + 2) / (way - 1))
    wanted[np.arange(n), labels] = 1 - 1 / (n + 2)

    def loss(log_factor: float) -> float:
        chances = log_softmax(np.exp(log_factor) * given, -1)
        return -float(np.mean(np.sum(wanted * chances, -1)))

    found = scipy.optimize.minimize_scalar(loss, bounds=(-5, 5), method="bounded")
    return float(np.exp(found.x))
