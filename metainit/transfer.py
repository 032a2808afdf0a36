"""Full-data fine-tuning: how fast a whole data set is learned from an initialisation.

One classifier over all classes of a data set is trained from a given body and head, and
measured on held-out images at step 0 and at log-spaced steps. Which images are used,
in which order and how they are augmented depends on the seed and the step only, so
that two initialisations of a seed meet the same batches.

Normalisation of a network that is normalised by its support (`Model.joint`): a training
batch by its own moments; a held-out image by those of `MOMENTS` training images, drawn
once by the seed. A held-out image thus never sees another one.
"""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metainit import atomic, metrics, run_config, supervised
from metainit.batches import Order, labelled, part
from metainit.budget import compile_step
from metainit.checkpoint import Checkpoints
from metainit.models import classifier, heads
from metainit.models.model import Model
from metainit.preprocess import Preprocess
from metainit.progress import Progress
from metainit.sources import Source, class_index, rows
from metainit.types import MetaState

HEADS = ("zero", "prototype", "given")
OPTIMIZERS = ("sgd", "adam")
MOMENTS = 256  # training images whose moments normalise a held-out one
CHUNK = 256  # held-out images a call of the compiled program
RESULTS = "transfer.jsonl"


class Spec(NamedTuple):
    """One fine-tuning.

    Attributes:
      seed: of the images chosen, their order and their augmentation.
      steps: optimiser steps.
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
    batch: int = 32
    head: str = "prototype"
    optimizer: str = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.0
    fraction: float = 1.0
    shot: int = 0
    measure_at: tuple[int, ...] = ()
    save_every: int = 500


class Point(NamedTuple):
    """One measurement on the held-out images; costs are those spent up to it.

    Attributes:
      step: optimiser steps done.
      epoch: passes over the training images used.
      images: training images seen, repeats counted.
      device_seconds: of making the head and of the steps, drawing batches included.
      compile_seconds: of compiling, counted apart; a resumed run compiles again.
      evaluation_seconds: of measuring, counted apart.
      loss: mean cross-entropy in nats.
      accuracy: share of images, 0 to 1.
      class_accuracy: mean over classes of the accuracy of each.
      f1: macro-F1.
      calibration_error: expected calibration error in 15 bins.
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


def log_steps(last: int) -> tuple[int, ...]:
    """Steps to measure at: 0, 1, 2, 5, 10, 20, 50, 100, ... and `last`."""
    series = (base * 10**power for power in range(len(str(last))) for base in (1, 2, 5))
    return (0, *(step for step in series if step < last), last)


def fine_tune(
    model: Model,
    preprocess: Preprocess,
    params: Mapping[str, Any],
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
      model: the network body.
      preprocess: of images; augments training images.
      params: {"body": ...}, and "head" where `spec.head` is "given".
      train: images to learn from; those labelled -1 are left out, here as below.
      test: held-out images of the same classes.
      spec: of the fine-tuning.
      folder: of this run; one initialisation, head and seed each.
      about: JSON values to be written with each point, e.g. {"init": "random"}.

    Returns:
      A point for each step measured, ascending.

    Raises:
      ValueError: in one line, for settings, data or parameters that do not fit, or a
        folder that holds another run; before anything is compiled.
    """
    check(spec, train, test)
    check_params(model, params, train, spec)
    chosen = labelled(train, spec.seed, spec.fraction, spec.shot)
    order = Order(chosen, spec.seed, spec.batch)
    folder = pathlib.Path(folder)
    described = {
        **(about or {}),
        **spec._asdict(),
        "batch_norm": model.policy,
        "order": order.digest(spec.steps),
    }
    run_config.claim(
        folder, described | {"init_sha256": digest(params)}, may_change=("save_every",)
    )
    due = spec.measure_at or log_steps(spec.steps)

    # The start, or what an earlier call left.
    optimizer = _optimizer(spec)
    state = _start(model, params, train, spec)
    started: Any = state.params
    saved = Checkpoints(folder)
    points: list[Point] = []
    spent = {"device": 0.0, "compile": 0.0, "evaluation": 0.0}
    if (found := saved.latest(state)) is not None:
        _, state, extra = found
        spent, points = extra["spent"], [Point(*values) for values in extra["points"]]
        if points and points[-1].step == spec.steps:
            _write(folder / RESULTS, described, points)  # a kill may have come first
            return tuple(points)

    # The programs; compiling is timed apart.
    moments = moment_images(train, spec)
    measure = _Measurer(model, preprocess, started, moments, test)
    batch = lambda step: _batch(train, order(step))  # noqa: E731
    key = jax.random.key(spec.seed)
    update = compile_step(
        supervised.update(model, preprocess, optimizer), state, batch(0), key
    )
    spent["compile"] += measure.program.compile_seconds + update.compile_seconds
    if found is None and spec.head == "prototype":
        head, seconds, compiling = _prototypes(
            model, preprocess, started, moments, train, chosen
        )
        state = state._replace(params=started | {"head": head})
        spent["device"] += seconds
        spent["compile"] += compiling

    def save() -> None:
        extra = {"spent": spent, "points": [list(point) for point in points]}
        saved.save(int(state.step), state, extra)

    name = str(described.get("init", "fine-tuning"))
    with Progress(name, int(state.step), spec.steps) as bar:
        try:
            while True:
                step = int(state.step)
                if step in due and (not points or points[-1].step < step):
                    begin = time.perf_counter()
                    scores = measure(state.params)
                    spent["evaluation"] += time.perf_counter() - begin
                    images = step * spec.batch
                    points.append(
                        Point(
                            step, images / len(chosen), images, *spent.values(), *scores
                        )
                    )
                    save()
                    _write(folder / RESULTS, described, points)
                    bar.say(f"{name} {step}: accuracy {points[-1].accuracy:.4f}")
                elif step and step % spec.save_every == 0:
                    save()
                if step == spec.steps:
                    return tuple(points)
                begin = time.perf_counter()
                state, _ = jax.block_until_ready(update.update(state, batch(step), key))
                spent["device"] += time.perf_counter() - begin
                bar.step()
        except KeyboardInterrupt:
            save()
            bar.say(f"{name}: saved at step {int(state.step)}; the same call goes on")
            raise


def last_params(
    model: Model,
    params: Mapping[str, Any],
    train: Source,
    spec: Spec,
    folder: str | pathlib.Path,
) -> dict[str, Any]:
    """What `fine_tune`, called with the same values, last saved in `folder`.

    Returns:
      {"body": ..., "head": {"kernel": [d, way], "bias": [way]}}; after the call, those
      of its last step.

    Raises:
      ValueError: nothing was saved there, or it is damaged.
    """
    found = Checkpoints(folder).latest(_start(model, params, train, spec))
    if found is None:
        raise ValueError(f"{folder} holds no fine-tuning; call fine_tune first")
    return dict(found[1].params)


def moment_images(train: Source, spec: Spec) -> np.ndarray:
    """The training images whose moments normalise a held-out one.

    Returns:
      uint8 [m, h, w, c], m at most `MOMENTS`; of use where `Model.joint` only.
    """
    chosen = labelled(train, spec.seed, spec.fraction, spec.shot)
    return train.images[part(chosen, spec.seed, MOMENTS)]


def check(spec: Spec, train: Source, test: Source) -> None:
    """Refuses settings and data that cannot work.

    Raises:
      ValueError: in one line, which field or class is wrong and what would work.
    """
    for field, choices in (("head", HEADS), ("optimizer", OPTIMIZERS)):
        if (value := getattr(spec, field)) not in choices:
            raise ValueError(
                f"{field} must be one of {', '.join(choices)}, got {value!r}"
            )
    for field, least in (("steps", 1), ("batch", 1), ("save_every", 1), ("shot", 0)):
        if (value := getattr(spec, field)) < least:
            raise ValueError(f"{field} must be {least} or more, got {value}")
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
    labelled(train, spec.seed, spec.fraction, spec.shot)


def check_params(
    model: Model, params: Mapping[str, Any], train: Source, spec: Spec
) -> None:
    """Refuses parameters of another network, or a head of other classes.

    Raises:
      ValueError: naming every parameter that differs.
    """
    images = jax.ShapeDtypeStruct((2, *train.images.shape[1:]), jnp.float32)
    wanted = {"body": jax.eval_shape(model.init, jax.random.key(0), images)}
    given = {"body": params["body"]}
    if spec.head == "given":
        if "head" not in params:
            raise ValueError("head='given', but the initialisation has no head")
        wanted["head"] = jax.eval_shape(
            lambda body, images: _zero_head(model, {"body": body}, train),
            wanted["body"],
            images,
        )
        given["head"] = params["head"]
    shapes = [_shapes(tree) for tree in (wanted, given)]
    differing = [
        f"{name}: given {shapes[1].get(name)}, wanted {shapes[0].get(name)}"
        for name in sorted(shapes[0].keys() | shapes[1].keys())
        if shapes[0].get(name) != shapes[1].get(name)
    ]
    if differing:
        raise ValueError(f"initialisation of another network: {'; '.join(differing)}")


class _Measurer:
    """`(params) -> (loss, accuracy, class accuracy, F1, calibration error)`."""

    def __init__(
        self,
        model: Model,
        preprocess: Preprocess,
        params: Any,
        moments: np.ndarray,
        test: Source,
    ) -> None:
        features = _features(model, preprocess)

        def log_probabilities(params, moments, images, weight):
            scores = classifier.logits(
                params, features(params, moments, images, weight)
            )
            return jax.nn.log_softmax(scores)

        self._moments, self._test, self._rows = moments, test, rows(test)
        example = next(_chunks(test, self._rows))[:2]
        self.program = compile_step(log_probabilities, params, moments, *example)

    def __call__(self, params: Any) -> tuple[float, ...]:
        log_probabilities = np.concatenate(
            [
                np.asarray(self.program.update(params, self._moments, images, weight))[
                    : len(real)
                ]
                for images, weight, real in _chunks(self._test, self._rows)
            ]
        ).astype(np.float64)
        labels = self._test.labels[self._rows]
        predictions = log_probabilities.argmax(-1)
        way = len(self._test.class_names)
        return (
            -float(log_probabilities[np.arange(len(labels)), labels].mean()),
            float(np.mean(predictions == labels)),
            metrics.class_accuracy(labels, predictions, way),
            float(metrics.macro_f1(labels, predictions, way)),
            metrics.calibration_error(np.exp(log_probabilities), labels),
        )


def _features(model: Model, preprocess: Preprocess) -> Callable[..., jax.Array]:
    """`(params, moments uint8, images uint8, weight) -> float [n, d]`, no dropout."""
    of_query = classifier.query_features(model)

    def features(params, moments, images, weight):
        key = jax.random.key(0)  # nothing in it is random
        support = preprocess.for_evaluation(params, {"image": moments}, key)
        query = preprocess.for_evaluation(params, {"image": images}, key)
        return of_query(params, support, query | {"weight": weight})

    return features


def _chunks(
    source: Source, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Images uint8 [CHUNK, ...] with weights (0 for filling), and the rows among them.

    The last chunk is filled up with its own last image.
    """
    for first in range(0, len(rows), CHUNK):
        real = rows[first : first + CHUNK]
        filled = np.pad(real, (0, CHUNK - len(real)), mode="edge")
        weight = (np.arange(CHUNK) < len(real)).astype(np.float32)
        yield source.images[filled], weight, real


def _prototypes(
    model: Model,
    preprocess: Preprocess,
    params: Any,
    moments: np.ndarray,
    train: Source,
    chosen: np.ndarray,
) -> tuple[dict[str, jax.Array], float, float]:
    """The prototype head of all training images used; seconds, and of compiling."""
    features = _features(model, preprocess)
    way = len(train.class_names)

    def class_sums(params, moments, images, weight, labels):
        member = jax.nn.one_hot(labels, way) * weight[:, None]
        return member.T @ features(params, moments, images, weight)

    count = np.bincount(train.labels[chosen], minlength=way)
    width = params["head"]["kernel"].shape[0]
    images, weight, _ = next(_chunks(train, chosen))
    labels = np.zeros(CHUNK, np.int32)
    sums = compile_step(class_sums, params, moments, images, weight, labels)
    head = compile_step(heads.nearest_mean, np.zeros((way, width), np.float32))
    begin = time.perf_counter()
    total = np.zeros((way, width))
    for images, weight, real in _chunks(train, chosen):
        labels = np.zeros(CHUNK, np.int32)
        labels[: len(real)] = train.labels[real]
        total += np.asarray(sums.update(params, moments, images, weight, labels))
    means = (total / count[:, None]).astype(np.float32)
    made = jax.block_until_ready(head.update(means))
    seconds = time.perf_counter() - begin
    return made, seconds, sums.compile_seconds + head.compile_seconds


def _start(
    model: Model, params: Mapping[str, Any], train: Source, spec: Spec
) -> MetaState:
    """The state before the first step, prototypes still to be made."""
    head = params["head"] if spec.head == "given" else _zero_head(model, params, train)
    started = {"body": params["body"], "head": head}
    return MetaState(started, _optimizer(spec).init(started), jnp.zeros((), jnp.int32))


def _zero_head(model: Model, params: Any, train: Source) -> dict[str, jax.Array]:
    images = jax.ShapeDtypeStruct((2, *train.images.shape[1:]), jnp.float32)
    features = classifier.feature_count(model, params["body"], images)
    kernel = jnp.zeros((features, len(train.class_names)))
    return {"kernel": kernel, "bias": kernel[0]}


def _optimizer(spec: Spec) -> optax.GradientTransformation:
    # The rate is part of the state: a program in JAX's cache then serves every rate.
    if spec.optimizer == "adam":
        return optax.inject_hyperparams(optax.adam)(spec.learning_rate)
    return optax.inject_hyperparams(optax.sgd)(
        spec.learning_rate, spec.momentum or None
    )


def _batch(train: Source, where: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": train.images[where], "label": train.labels[where]}


def _shapes(tree: Any) -> dict[str, str]:
    pairs = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): f"{np.shape(leaf)}" for path, leaf in pairs}


def digest(params: Any) -> str:
    """SHA-256 of the names and values of all parameters, as hexadecimal digits."""
    found = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        found.update(jax.tree_util.keystr(path).encode())
        found.update(np.asarray(leaf).tobytes())
    return found.hexdigest()


def _write(path: pathlib.Path, about: Mapping[str, Any], points: list[Point]) -> None:
    lines = []
    for point in points:
        finite = {
            field: value if math.isfinite(value) else None
            for field, value in point._asdict().items()
        }
        lines.append(json.dumps({**about, **finite}) + "\n")
    atomic.write_text(path, "".join(lines))
