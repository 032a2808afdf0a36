"""Heads in closed form on a whole data set: features once, and no step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence

import jax
import numpy as np

from metainit.data.loading import Source, rows
from metainit.evaluation import closed_form
from metainit.runtime import flops
from metainit.runtime.budget import compile_step
from metainit.training.initialisation import Initialisation
from metainit.transfer import held_out
from metainit.transfer.fine_tuning import Point
from metainit.transfer.spec import Spec, check, rows_used


def measure(
    init: Initialisation,
    train: Source,
    test: Source,
    spec: Spec,
    fit: closed_form.Head,
    values: Sequence[float],
) -> Iterator[Point]:
    """Fits a head to the features of the training images, once for each value.

    Features are those of the unchanged body; images are not augmented.

    Args:
      init: of which the body is used.
      train: images to learn from.
      test: held-out images of the same classes.
      spec: of which the images used and the seed matter.
      fit: `closed_form.nearest_centroid` or `closed_form.logistic_regression`.
      values: of its setting.

    Yields:
      One point for each value, at step 0, after one pass over the training images. Its
      device seconds are those of the fit, which is made on the host, and an equal share
      of those of the features, whose operations are shared likewise.

    Raises:
      ValueError: in one line, for settings or data that do not fit.
    """
    check(spec, train, test)
    chosen, judged = rows_used(train, spec), rows(test)
    moments = held_out.moment_images(train, spec)
    body = {"body": init.body}
    example = next(held_out.chunks(train, chosen))[:2]
    features = held_out.features(init.model, init.preprocess)
    program = compile_step(features, body, moments, *example)
    operations = flops.of_function(jax.jit(features), body, moments, *example)

    def of_images(source: Source, where: np.ndarray) -> tuple[np.ndarray, float]:
        begin = time.perf_counter()
        found = [
            np.asarray(program.update(body, moments, images, weight))[: len(real)]
            for images, weight, real in held_out.chunks(source, where)
        ]
        return np.concatenate(found), time.perf_counter() - begin

    support, device_seconds = of_images(train, chosen)
    query, evaluation_seconds = of_images(test, judged)
    for value in values:
        begin = time.perf_counter()
        log_probabilities = fit(support, train.labels[chosen], query, value)
        seconds = time.perf_counter() - begin
        yield Point(
            step=0,
            epoch=1.0,
            images=len(chosen),
            device_seconds=device_seconds / len(values) + seconds,
            compile_seconds=program.compile_seconds,
            evaluation_seconds=evaluation_seconds,
            **held_out.scores(log_probabilities, test.labels[judged])._asdict(),
            flops=operations * math.ceil(len(chosen) / held_out.CHUNK) / len(values),
        )
