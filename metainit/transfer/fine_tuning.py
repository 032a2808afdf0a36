"""Full-data fine-tuning: how fast a whole data set is learned from an initialisation.

Images, their order and augmentation depend on seed and step only. `Model.joint` is
normalised by a training batch; for held-out images see `metainit.transfer.held_out`.
"""

from __future__ import annotations

import functools
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from metainit.core import leaves, step_sizes
from metainit.core.types import MetaState
from metainit.data.batches import Order
from metainit.data.loading import Source
from metainit.models import heads
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import atomic, digest, flops, run_folder
from metainit.runtime.budget import Program, compile_step
from metainit.runtime.checkpoint import LAST, Checkpoints
from metainit.training import steps
from metainit.training.initialisation import Initialisation
from metainit.training.loop import Run, Session
from metainit.transfer import held_out
from metainit.transfer.spec import Spec, check, rows_used

RESULTS = "transfer.jsonl"
SAVE_EVERY = 500  # steps, besides after each measurement


class Point(NamedTuple):
    """One measurement on the held-out images; costs are those spent up to it.

    Attributes:
      images: training images seen, repeats and those of prototypes counted.
      epoch: the same in training images used.
      device_seconds: of making the head and of the steps, drawing batches included.
      compile_seconds: counted apart; a resumed run in a new process compiles again.
      evaluation_seconds: counted apart.
      loss: mean cross-entropy in nats.
      accuracy, class_accuracy, f1: 0 to 1, over images, mean over classes, macro-F1.
      calibration_error: expected calibration error in 15 bins.
      flops: operations of what `device_seconds` were spent on, by
        `metainit.runtime.flops.of_function`, without what the host fits.
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
    """Gives the steps to measure at: 0, 1, 2, 5, 10, 20, 50, 100, ... and `last`."""
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

    The points, ascending, are also written to `transfer.jsonl` in `folder`, together
    with `about`, the settings, the normalisation policy and the digest of the order.
    A loss that is no longer finite is measured like any other and written as null.

    Args:
      train, test: images to learn from and held-out ones of the same classes, those
        labelled -1 left out.
      folder: of one initialisation, head and seed.
      about: JSON values to be written with each point, e.g. {"init": "random"}; they
        take the place of settings of the same name.

    Raises:
      ValueError: in one line, for settings, data or parameters that do not fit, or a
        folder that holds another run; before anything is compiled.
    """
    check(spec, train, test)
    check_params(init, train)
    chosen, folder = rows_used(train, spec), pathlib.Path(folder)
    order = Order(chosen, spec.seed, spec.batch)
    described = {
        **spec._asdict(),
        **(about or {}),
        "batch_norm": init.model.policy,
        "order": order.digest(spec.steps),
    }
    stated = described | {"init_sha256": digest.sha256(init.arrays)}
    run_folder.claim(folder, stated)
    learner = _Learner(init, spec)
    run = Run(
        name=str(described.get("init", "fine-tuning")),
        folder=folder,
        update=learner.update,
        batch=lambda step: _batch(train, order(step)),
        state=start(init, train, spec),
        steps=spec.steps,
    )
    costs = dict.fromkeys(("compile_seconds", "evaluation_seconds", "head_flops"), 0.0)
    session = Session(run, {**costs, "points": []})
    clock = session.clock
    if not clock["points"] or clock["points"][-1][0] < spec.steps:
        key, moments = jax.random.key(spec.seed), held_out.moment_images(train, spec)
        measure = held_out.Measurer(init, run.state.params, moments, test)
        clock["compile_seconds"] += measure.program.compile_seconds
        clock["compile_seconds"] += learner.compile(session.state, run.batch(0), key)
        if spec.head == "prototype" and not session.resumed:
            _make_prototypes(session, init, moments, train, chosen)
        given = session, spec, learner, measure, described, len(chosen)
        session.advance(key, functools.partial(_owed, *given))
    points = _points(session)
    write(folder / RESULTS, described, points)  # a kill may have come before
    return points


class _Learner:
    """The steps of a fine-tuning: first of the head only, then of everything."""

    def __init__(self, init: Initialisation, spec: Spec) -> None:
        self._init, self._spec = init, spec
        self._programs: dict[bool, Program] = {}  # by whether of the head only
        self._flops = {True: 0.0, False: 0.0}

    def compile(self, state: MetaState, batch: Any, key: jax.Array) -> float:
        """Compiles the steps for inputs like these, in so many seconds."""
        init, spec = self._init, self._spec
        kind = spec.optimizer, spec.momentum, init.inner is not None
        needed = {True: spec.probe_steps > 0, False: spec.probe_steps < spec.steps}
        for head_only in (x for x, is_needed in needed.items() if is_needed):
            function = _update(init.model, init.preprocess, *kind, head_only)
            self._programs[head_only] = compile_step(function, state, batch, key)
            # Jitted, it is traced already.
            counted = flops.of_function(jax.jit(function), state, batch, key)
            self._flops[head_only] = counted
        return sum(program.compile_seconds for program in self._programs.values())

    def update(self, state: MetaState, batch: Any, key: jax.Array) -> Any:
        program = self._programs[int(state.step) < self._spec.probe_steps]
        return program.update(state, batch, key)

    def flops(self, step: int) -> float:
        """Counts the operations of the first `step` steps."""
        probing = min(step, self._spec.probe_steps)
        return probing * self._flops[True] + (step - probing) * self._flops[False]

    def restarted(self, state: MetaState) -> MetaState:
        """Gives the state after the probe, from which the optimiser begins anew."""
        of_spec = optimizer(self._spec, self._init.inner)
        return steps.restarted(state, self._init.model, of_spec)


def _owed(
    session: Session,
    spec: Spec,
    learner: _Learner,
    measure: held_out.Measurer,
    described: Mapping[str, Any],
    images: int,
) -> bool:
    """Measures where a point is due; says whether the state is still to be saved."""
    step, clock = session.step, session.clock
    save = step > 0 and step % SAVE_EVERY == 0
    measured = [values[0] for values in clock["points"]]
    if step in log_steps(spec.steps) and step not in measured:
        begin = time.perf_counter()
        scores = measure(session.state.params)
        clock["evaluation_seconds"] += time.perf_counter() - begin
        seen = step * spec.batch + (images if spec.head == "prototype" else 0)
        point = Point(
            step=step,
            epoch=seen / images,
            images=seen,
            device_seconds=clock["device_seconds"],
            compile_seconds=clock["compile_seconds"],
            evaluation_seconds=clock["evaluation_seconds"],
            flops=clock["head_flops"] + learner.flops(step),
            **scores,
        )
        clock["points"].append(list(point))
        session.save()
        write(session.run.folder / RESULTS, described, _points(session))
        session.bar.say(f"{session.run.name} {step}: accuracy {point.accuracy:.4f}")
        save = False
    if 0 < step == spec.probe_steps:
        session.state = learner.restarted(session.state)
    return save


def _points(session: Session) -> tuple[Point, ...]:
    return tuple(Point(*values) for values in session.clock["points"])


def last_params(
    init: Initialisation, train: Source, spec: Spec, folder: str | pathlib.Path
) -> dict[str, Any]:
    """Reads what `fine_tune`, called with the same values, last saved in `folder`.

    Raises:
      ValueError: nothing was saved there, or it is damaged.
    """
    saved = Checkpoints(pathlib.Path(folder) / LAST)
    found = saved.restore(start(init, train, spec))
    if found is None:
        raise ValueError(f"{folder} holds no fine-tuning; call fine_tune first")
    return dict(found.state.params)


def check_params(init: Initialisation, train: Source) -> None:
    """Refuses parameters of another network, or of other images.

    Raises:
      ValueError: naming every parameter that differs.
    """
    wanted = jax.eval_shape(init.model.init, jax.random.key(0), _images_like(train))
    given = leaves.shapes({"body": init.body})
    if differing := leaves.differences(given, leaves.shapes({"body": wanted})):
        raise ValueError(f"initialisation of another network: {differing}")


def start(init: Initialisation, train: Source, spec: Spec) -> MetaState:
    """Gives the state before the first step, with prototypes still to be made.

    Parameters are {"body": ..., "head": {"kernel": [d, way], "bias": [way]}}.
    """
    of_spec, way = optimizer(spec, init.inner), len(train.class_names)
    return steps.start(init.model, of_spec, init.body, _images_like(train), way)


def optimizer(spec: Spec, inner: Any = None) -> optax.GradientTransformation:
    """Makes the settings' optimiser, with every rate in its state.

    A step compiled for one rate, and one tree of learned step sizes `inner`
    (`metainit.core.step_sizes`), thus serves them all.
    """
    if spec.optimizer == "adam":
        plain = optax.inject_hyperparams(optax.adam)(spec.learning_rate)
    else:
        momentum = spec.momentum or None
        plain = optax.inject_hyperparams(optax.sgd)(spec.learning_rate, momentum)
    return plain if inner is None else optax.chain(plain, step_sizes.fixed(inner))


@functools.lru_cache(maxsize=16)
def _update(
    model: Model,
    preprocess: Preprocess,
    optimizer_name: str,
    momentum: float,
    with_inner: bool,
    head_only: bool,
) -> Any:
    """Makes a step that JAX compiles once, for any rates in the optimiser's state."""
    spec = Spec(optimizer=optimizer_name, momentum=momentum)
    of_state = optimizer(spec, {} if with_inner else None)
    return steps.supervised(model, preprocess, of_state, head_only)


def _make_prototypes(
    session: Session,
    init: Initialisation,
    moments: np.ndarray,
    train: Source,
    chosen: np.ndarray,
) -> None:
    """Gives the session the head that compares squared distances to class means."""
    params: Any = session.state.params
    way, width = len(train.class_names), params["head"]["kernel"].shape[0]
    images, weight, _ = next(held_out.chunks(train, chosen))
    class_sums = _class_sums(init.model, init.preprocess, way)
    example = params, moments, images, weight, np.zeros(held_out.CHUNK, np.int32)
    sums = compile_step(class_sums, *example)
    head = compile_step(heads.nearest_mean, np.zeros((way, width), np.float32))
    begin = time.perf_counter()
    total = np.zeros((way, width))
    for images, weight, real in held_out.chunks(train, chosen):
        labels = np.zeros(held_out.CHUNK, np.int32)
        labels[: len(real)] = train.labels[real]
        total += np.asarray(sums.update(params, moments, images, weight, labels))
    count = np.bincount(train.labels[chosen], minlength=way)
    means = (total / count[:, None]).astype(np.float32)
    made = jax.block_until_ready(head.update(means))
    session.clock["device_seconds"] += time.perf_counter() - begin
    session.clock["compile_seconds"] += sums.compile_seconds + head.compile_seconds
    calls = math.ceil(len(chosen) / held_out.CHUNK)
    counted = flops.of_function(jax.jit(class_sums), *example)
    session.clock["head_flops"] = calls * counted
    session.state = session.state._replace(params=params | {"head": made})


@functools.lru_cache(maxsize=8)
def _class_sums(model: Model, preprocess: Preprocess, way: int) -> Any:
    """Gives one object a program, so that JAX compiles it once for all of a model."""
    features = held_out.features(model, preprocess)

    def class_sums(params, moments, images, weight, labels):
        member = jax.nn.one_hot(labels, way) * weight[:, None]
        return member.T @ features(params, moments, images, weight)

    return class_sums


def _images_like(train: Source) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((2, *train.images.shape[1:]), jnp.float32)


def _batch(train: Source, where: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": train.images[where], "label": train.labels[where]}


def write(
    path: pathlib.Path, about: Mapping[str, Any], points: Sequence[Point]
) -> None:
    """Writes points as lines of JSON, each with `about`; what is not finite as null."""
    atomic.write_rows(path, ({**about, **point._asdict()} for point in points))
