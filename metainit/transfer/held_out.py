"""Measures a classifier on held-out images, each of them alone.

A network that is normalised by its support (`Model.joint`) takes `MOMENTS` training
images as that, which the seed draws once.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from metainit.data import batches
from metainit.data.loading import Source, rows
from metainit.evaluation import metrics
from metainit.models import classification
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import placement
from metainit.runtime.budget import compile_step
from metainit.runtime.placement import EVERYWHERE, Placement
from metainit.training.initialisation import Initialisation
from metainit.transfer.spec import Spec, rows_used

MOMENTS = 256  # training images whose moments normalise a held-out one
CHUNK = 256  # held-out images a call of the compiled program

# `(params, source, rows) -> float [rows, ...]`.
OfRows = Callable[[Any, Source, np.ndarray], np.ndarray]


def moment_images(train: Source, spec: Spec) -> np.ndarray:
    """Draws the training images, at most `MOMENTS`, that normalise a held-out one."""
    return train.images[batches.part(rows_used(train, spec), spec.seed, MOMENTS)]


def scores(log_probabilities: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Scores log probabilities, [n, way], as in `fine_tuning.Point`.

    Every class is among the labels, int [n].
    """
    log_probabilities = log_probabilities.astype(np.float64)
    loss = -float(log_probabilities[np.arange(len(labels)), labels].mean())
    return {"loss": loss} | metrics.scores(np.exp(log_probabilities), labels)


def measurer(
    init: Initialisation, params: Any, moments: np.ndarray, test: Source
) -> tuple[Callable[[Any], dict[str, float]], float]:
    """Compiles `(params) -> scores` of held-out images; also gives the seconds."""
    of_images, judged = _log_probabilities(init.model, init.preprocess), rows(test)
    of_rows, seconds = compile_chunks(of_images, params, moments, test)

    def measure(params: Any) -> dict[str, float]:
        return scores(of_rows(params, test, judged), test.labels[judged])

    return measure, seconds


def features_of(init: Initialisation, train: Source, spec: Spec) -> np.ndarray:
    """Computes features of the images to learn from, float32 [n, d], each alone."""
    moments, params = moment_images(train, spec), {"body": init.body}
    of_images = features(init.model, init.preprocess)
    of_rows, _ = compile_chunks(of_images, params, moments, train)
    return of_rows(params, train, rows(train))


def compile_chunks(
    of_images: Callable[..., Any], params: Any, moments: np.ndarray, source: Source
) -> tuple[OfRows, float]:
    """Compiles `(params, moments, images, weight) -> [CHUNK, ...]`.

    Returns:
      A function that computes any number of rows in chunks, and the seconds of
      compiling. The function accepts every source whose images have the same shape as
      those of `source`.
    """
    images, weight, *_ = next(chunks(source, rows(source)))
    inputs = params, moments, images, weight
    program = compile_step(of_images, *inputs, where=where(images, weight))

    def of_rows(params: Any, source: Source, where: np.ndarray) -> np.ndarray:
        results = [
            np.asarray(program.update(params, moments, images, weight))[:count]
            for images, weight, _, count in chunks(source, where)
        ]
        return np.concatenate(results)

    return of_rows, program.compile_seconds


def where(*arrays: np.ndarray) -> Placement:
    """Spreads a chunk's arrays over devices; parameters and moments are on each."""
    return Placement((EVERYWHERE, EVERYWHERE, *placement.by_rows(arrays)))


@functools.lru_cache(maxsize=8)
def _log_probabilities(model: Model, preprocess: Preprocess) -> Callable[..., Any]:
    of_images = features(model, preprocess)

    def log_probabilities(params, moments, images, weight):
        x = of_images(params, moments, images, weight)
        return jax.nn.log_softmax(classification.logits(params, x))

    return log_probabilities


@functools.lru_cache(maxsize=8)
def features(model: Model, preprocess: Preprocess) -> Callable[..., jax.Array]:
    """Makes `(params, moments uint8, images uint8, weight) -> float [n, d]`.

    The same arguments give the same function, so that JAX compiles it once.
    """
    of_query = classification.query_features(model)

    def features(params, moments, images, weight):
        key = jax.random.key(0)  # nothing in it is random
        support = preprocess.for_evaluation(params, {"image": moments}, key)
        query = preprocess.for_evaluation(params, {"image": images}, key)
        return of_query(params, support, query | {"weight": weight})

    return features


def chunks(
    source: Source, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Yields images uint8 [CHUNK, ...], weights, labels, and the number of real images.

    The last chunk is filled up with copies of its last image, whose weight is 0.
    """
    for filled, count in batches.chunks(rows, CHUNK):
        weight = (np.arange(CHUNK) < count).astype(np.float32)
        yield source.images[filled], weight, source.labels[filled], count
