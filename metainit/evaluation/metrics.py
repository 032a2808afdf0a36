"""Metrics of predictions, in NumPy, and how reports show them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import balanced_accuracy_score

from metainit.evaluation import intervals
from metainit.evaluation.intervals import Interval
from metainit.evaluation.results import Measurements


class Answers(NamedTuple):
    """The predictions for the queries of some episodes, after each measured step."""

    loss: np.ndarray  # float [steps, episodes], mean cross-entropy in nats
    accuracy: np.ndarray  # float [steps, episodes], 0 to 1
    logits: np.ndarray  # float [steps, episodes, queries, way]
    # {"label": int [episodes, queries]}. Episodes that are filled up also have "weight"
    # and "classes", see `metainit.data.episode_set.Sample`.
    query: Mapping[str, np.ndarray]


def _f1(answers: Answers) -> np.ndarray:
    """Computes macro-F1 of each episode, without what fills it up."""
    values, query = [], answers.query
    for number, labels in enumerate(query["label"]):
        logits = answers.logits[:, number]
        if "weight" in query:
            is_real = query["weight"][number] > 0
            logits = logits[:, is_real][..., query["classes"][number]]
            labels = labels[is_real]
        values.append(macro_f1(labels, logits.argmax(-1), logits.shape[-1]))
    return np.stack(values, 1)


class Format(NamedTuple):
    """How reports show a metric.

    Attributes:
      heading: of its column.
      scale, digits: values are multiplied by the scale, the product is formatted.
    """

    heading: str
    scale: float
    digits: str

    def mean(self, values: Any) -> str:
        """Formats the mean."""
        return f"{self.scale * np.mean(values):{self.digits}}"

    def plus_minus(self, values: np.ndarray) -> str:
        """Formats the mean of float [episodes] with its 95 % interval, "87.1 ± 0.6"."""
        mean, low, _ = intervals.mean_interval(values)
        return f"{self.mean(mean)} ± {self.mean(mean - low)}"

    def interval(self, interval: Interval) -> str:
        """Formats a mean with its interval, "68.4 [65.2, 71.7]"."""
        return "{} [{}, {}]".format(*map(self.mean, interval[:3]))


class Metric(NamedTuple):
    """A metric of few-shot evaluation: float [steps, episodes] of some answers."""

    function: Callable[[Answers], np.ndarray]
    format: Format


ACCURACY = Format("Accuracy, %", 100, ".1f")
# In the order of a report's columns.
METRICS: Mapping[str, Metric] = {
    "accuracy": Metric(lambda answers: answers.accuracy, ACCURACY),
    "f1": Metric(_f1, Format("F1, %", 100, ".1f")),
    "loss": Metric(lambda answers: answers.loss, Format("Loss", 1, ".3f")),
}


def measure(answers: Answers) -> Measurements:
    """Applies every metric of `METRICS`."""
    return {name: metric.function(answers) for name, metric in METRICS.items()}


def formats(rows: Iterable[Measurements]) -> dict[str, Format]:
    """Finds the metrics that some rows have, by name, and how they are shown.

    A run may be of another version of metainit. A metric that is unknown here is shown
    by its name, with three significant digits.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    known = {name: x.format for name, x in METRICS.items() if name in names}
    unknown = (name for name in names if name not in METRICS)
    return known | {name: Format(name, 1, ".3g") for name in unknown}


def predictions(answers: Answers) -> np.ndarray:
    """Gives the class that each query is taken for, int [steps, episodes, queries]."""
    return answers.logits.argmax(-1)


def macro_f1(labels: np.ndarray, predictions: np.ndarray, way: int) -> np.ndarray:
    """Averages F1 over `way` classes of each episode; int [..., n] to float64 [...].

    A class that is neither present nor predicted counts as 0, as in
    scikit-learn's `f1_score(average="macro", zero_division=0)`.
    """
    classes = np.arange(way)
    actual = np.asarray(labels)[..., None] == classes
    predicted = np.asarray(predictions)[..., None] == classes
    hits = np.sum(actual & predicted, axis=-2)
    # 2 TP / (2 TP + FP + FN): the denominator is "actual" plus "predicted".
    total = np.sum(actual, axis=-2) + np.sum(predicted, axis=-2)
    return np.mean(2 * hits / np.maximum(total, 1), axis=-1)


def calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, bins: int = 15
) -> float:
    """Gives the expected calibration error (Guo et al. 2017, arXiv:1706.04599, eq. 3).

    Images are put into bins of equal width by the probability of their predicted
    class, bin m holding those in ((m - 1) / bins, m / bins]; the error, from 0, is the
    mean over images of their bin's |accuracy - mean probability|. Probabilities are
    float [n, way]; it is NaN where one of them is.
    """
    confidence = np.max(probabilities, -1).astype(np.float64)
    hits = np.argmax(probabilities, -1) == labels
    inner = np.arange(1, bins) / bins
    number = np.searchsorted(inner, confidence, side="left")
    gaps = np.bincount(number, hits - confidence, minlength=bins)
    return float(np.sum(np.abs(gaps)) / len(labels))


def scores(probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Scores one classifier's probabilities, float [n, way], for labels, int [n].

    Every class is among the labels. `class_accuracy` is the "mean per-class accuracy"
    of Aircraft, Pets, Caltech and Flowers.
    """
    predictions, way = probabilities.argmax(-1), probabilities.shape[-1]
    return {
        "accuracy": float(np.mean(predictions == labels)),
        "class_accuracy": float(balanced_accuracy_score(labels, predictions)),
        "f1": float(macro_f1(labels, predictions, way)),
        "calibration_error": calibration_error(probabilities, labels),
    }
