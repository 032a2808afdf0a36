"""Full-data fine-tuning: how fast a whole data set is learned from an initialisation.

One classifier over all classes of a data set is trained from a given body and head, and
measured on held-out images at step 0 and at log-spaced steps. Which images are used,
in which order and how they are augmented depends on the seed and the step only, so
that two initialisations of a seed meet the same batches.

A network that is normalised by its support (`Model.joint`) is normalised by the moments
of a training batch; for held-out images see `metainit.transfer.held_out`.
"""

from __future__ import annotations

import functools
import json
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from metainit.data.batches import Order
from metainit.data.loading import Source
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import atomic, digest, flops, run_folder, stop
from metainit.runtime.budget import compile_step
from metainit.runtime.checkpoint import LAST, Checkpoints
from metainit.runtime.logging import Progress
from metainit.training import steps
from metainit.training.initialisation import Initialisation
from metainit.transfer import held_out, start
from metainit.transfer.spec import Spec, check, rows_used

RESULTS = "transfer.jsonl"


class Point(NamedTuple):
    """One measurement on the held-out images; costs are those spent up to it.

    Attributes:
      step: optimiser steps done.
      epoch: `images` in training images used.
      images: training images seen, repeats counted; those that prototypes were made of
        are among them.
      device_seconds: of making the head and of the steps, drawing batches included.
      compile_seconds: of compiling, counted apart; next to none where an earlier call
        compiled the same programs; a resumed run in a new process compiles again.
      evaluation_seconds: of measuring, counted apart.
      loss: mean cross-entropy in nats.
      accuracy: share of images, 0 to 1.
      class_accuracy: mean over classes of the accuracy of each.
      f1: macro-F1.
      calibration_error: expected calibration error in 15 bins.
      flops: operations of what `device_seconds` were spent on, by
        `metainit.runtime.flops.of_function`; what the host fits is not among them.
    """

    step: int
    epoch: float
    images: int
    device_seconds: float
    compile_seconds: float
    evaluation_seconds: float
    loss: float
    accuracy: float
    class_accuracy: float
    f1: float
    calibration_error: float
    flops: float


def log_steps(last: int) -> tuple[int, ...]:
    """Steps to measure at: 0, 1, 2, 5, 10, 20, 50, 100, ... and `last`."""
    series = (base * 10**power for power in range(len(str(last))) for base in (1, 2, 5))
    return (0, *(step for step in series if step < last), last)


def fine_tune(
    init: Initialisation,
    train: Source,
    test: Source,
    spec: Spec,
    folder: str | pathlib.Path,
    about: Mapping[str, Any] | None = None,
) -> tuple[Point, ...]:
    """Fine-tunes and measures, or goes on where an earlier call on `folder` stopped.

    The points are also written to `transfer.jsonl` in `folder`, a line each, together
    with `about`, the settings, the normalisation policy and the digest of the order.
    A loss that is no longer finite is measured like any other and written as null.

    Args:
      init: to start from; its `preprocess` augments training images.
      train: images to learn from; those labelled -1 are left out, here as below.
      test: held-out images of the same classes.
      spec: of the fine-tuning.
      folder: of this run; one initialisation, head and seed each.
      about: JSON values to be written with each point, e.g. {"init": "random"}; they
        take the place of settings of the same name.

    Returns:
      A point for each step measured, ascending.

    Raises:
      ValueError: in one line, for settings, data or parameters that do not fit, or a
        folder that holds another run; before anything is compiled.
    """
    check(spec, train, test)
    model, preprocess = init.model, init.preprocess
    start.check_params(init, train, spec)
    chosen = rows_used(train, spec)
    order = Order(chosen, spec.seed, spec.batch)
    folder = pathlib.Path(folder)
    described = {
        **spec._asdict(),
        **(about or {}),
        "batch_norm": model.policy,
        "order": order.digest(spec.steps),
    }
    run_folder.claim(
        folder,
        described | {"init_sha256": digest.sha256(init.arrays)},
        may_change=("save_every",),
    )
    due = spec.measure_at or log_steps(spec.steps)

    # The start, or what an earlier call left.
    state = start.state(init, train, spec)
    started: Any = state.params
    saved = Checkpoints(folder / LAST)
    points: list[Point] = []
    spent = {"device": 0.0, "compile": 0.0, "evaluation": 0.0, "flops": 0.0}
    if (found := saved.restore(state)) is not None:
        _, state, extra = found
        spent, points = extra["spent"], [Point(*values) for values in extra["points"]]
        if points and points[-1].step == spec.steps:
            write(folder / RESULTS, described, points)  # a kill may have come first
            return tuple(points)

    # The programs; compiling is timed apart.
    moments = held_out.moment_images(train, spec)
    measure = held_out.Measurer(model, preprocess, started, moments, test)
    batch = lambda step: _batch(train, order(step))  # noqa: E731
    key = jax.random.key(spec.seed)
    optimizer, example = start.optimizer(spec, init.inner), batch(0)
    kind = spec.optimizer, spec.momentum, init.inner is not None
    functions = {
        head_only: _update(model, preprocess, *kind, head_only)
        for head_only, needed in (
            (True, int(state.step) < spec.probe_steps),
            (False, spec.probe_steps < spec.steps),
        )
        if needed
    }
    updates = {
        head_only: compile_step(function, state, example, key)
        for head_only, function in functions.items()
    }
    operations = {  # of a step; jitted, it is traced already
        head_only: flops.of_function(jax.jit(function), state, example, key)
        for head_only, function in functions.items()
    }
    for program in (measure.program, *updates.values()):
        spent["compile"] += program.compile_seconds
    if found is None and spec.head == "prototype":
        made = start.prototypes(model, preprocess, started, moments, train, chosen)
        state = state._replace(params=started | {"head": made.head})
        spent["device"] += made.seconds
        spent["compile"] += made.compile_seconds
        spent["flops"] += made.flops

    looked_at = len(chosen) if spec.head == "prototype" else 0

    def save() -> None:
        extra = {"spent": spent, "points": [list(point) for point in points]}
        saved.save(int(state.step), state, extra)

    name = str(described.get("init", "fine-tuning"))
    with Progress(name, int(state.step), spec.steps) as bar:
        try:
            while True:
                stop.check()
                step = int(state.step)
                if step in due and (not points or points[-1].step < step):
                    begin = time.perf_counter()
                    scores = measure(state.params)
                    spent["evaluation"] += time.perf_counter() - begin
                    images = step * spec.batch + looked_at
                    points.append(
                        Point(
                            step=step,
                            epoch=images / len(chosen),
                            images=images,
                            device_seconds=spent["device"],
                            compile_seconds=spent["compile"],
                            evaluation_seconds=spent["evaluation"],
                            flops=spent["flops"],
                            **scores._asdict(),
                        )
                    )
                    save()
                    write(folder / RESULTS, described, points)
                    bar.say(f"{name} {step}: accuracy {points[-1].accuracy:.4f}")
                elif step and step % spec.save_every == 0:
                    save()
                if step == spec.steps:
                    return tuple(points)
                if step == spec.probe_steps and step:
                    state = start.restarted(state, model, optimizer)
                head_only = step < spec.probe_steps
                update = updates[head_only].update
                begin = time.perf_counter()
                state, _ = jax.block_until_ready(update(state, batch(step), key))
                spent["device"] += time.perf_counter() - begin
                spent["flops"] += operations[head_only]
                bar.step()
        except KeyboardInterrupt:
            save()
            bar.say(f"{name}: saved at step {int(state.step)}; the same call goes on")
            raise


def last_params(
    init: Initialisation, train: Source, spec: Spec, folder: str | pathlib.Path
) -> dict[str, Any]:
    """What `fine_tune`, called with the same values, last saved in `folder`.

    Returns:
      {"body": ..., "head": {"kernel": [d, way], "bias": [way]}}; after the call, those
      of its last step.

    Raises:
      ValueError: nothing was saved there, or it is damaged.
    """
    saved = Checkpoints(pathlib.Path(folder) / LAST)
    found = saved.restore(start.state(init, train, spec))
    if found is None:
        raise ValueError(f"{folder} holds no fine-tuning; call fine_tune first")
    return dict(found[1].params)


@functools.lru_cache(maxsize=16)
def _update(
    model: Model,
    preprocess: Preprocess,
    optimizer: str,
    momentum: float,
    with_inner: bool,
    head_only: bool,
) -> Any:
    """A training step: one object, so that JAX compiles it once for all that it fits.

    Rates and step sizes are in the optimiser's state; those given here are not used.
    """
    spec = Spec(optimizer=optimizer, momentum=momentum)
    of_state = start.optimizer(spec, {} if with_inner else None)
    return steps.supervised(model, preprocess, of_state, head_only)


def _batch(train: Source, where: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": train.images[where], "label": train.labels[where]}


def write(
    path: pathlib.Path, about: Mapping[str, Any], points: Sequence[Point]
) -> None:
    """Writes points as lines of JSON, each with `about`; what is not finite as null."""
    lines = []
    for point in points:
        finite = {
            field: value if math.isfinite(value) else None
            for field, value in point._asdict().items()
        }
        lines.append(json.dumps({**about, **finite}) + "\n")
    atomic.write_text(path, "".join(lines))
