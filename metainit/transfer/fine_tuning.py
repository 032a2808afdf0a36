"""Fine-tunes on a whole data set, and measures how fast it is learned.

Images, their order and augmentation depend on seed and step only. A network that is
normalised by its support (`Model.joint`) takes the batch as that in training. For
held-out images see `metainit.transfer.held_out`.
"""

import functools
import itertools
import math
import pathlib
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metainit.core import leaves
from metainit.core.types import MetaState, Params
from metainit.data.batches import Order
from metainit.data.loading import Source
from metainit.models.heads import prototype
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import atomic, digest, flops, progress, run_folder
from metainit.runtime.budget import Program, compile_step
from metainit.training import steps
from metainit.training.initialisation import Initialisation
from metainit.training.session import Run, Session
from metainit.transfer import held_out, rates
from metainit.transfer.spec import Spec, Split, check, rows_used

RESULTS = "transfer.jsonl"
COSTS = ("device_seconds", "compile_seconds", "evaluation_seconds")
SAVE_EVERY = 500  # steps, besides after each measurement


class Point(NamedTuple):
    """One measurement on the held-out images; its costs are those spent until then.

    Attributes:
      images: training images seen, with repeats and those of prototypes.
      epoch: `images` over the number of training images in use.
      device_seconds: time of the head's start and of the steps, with drawing batches.
      compile_seconds, evaluation_seconds: no part of `device_seconds`. A resumed run
        compiles again.
      loss: mean cross-entropy in nats.
      accuracy, class_accuracy, f1: 0 to 1, over images, mean over classes, macro-F1.
      calibration_error: expected calibration error in 15 bins.
      flops: operations in `device_seconds`, by `metainit.runtime.flops.of_function`,
        without what the host fits.
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
    """Gives the steps to measure at: 0, 1, 2, 5, then 10, 15, 20, 30, 40, 50, 70, ...

    From 10 on they grow by half at most, which is how finely times are told apart.
    `last` is one of them.
    """
    tens = (10, 15, 20, 30, 40, 50, 70)
    later = (step * 10**power for power in itertools.count() for step in tens)
    series = itertools.chain((0, 1, 2, 5), later)
    return (*itertools.takewhile(lambda step: step < last, series), last)


def fine_tune(
    init: Initialisation,
    split: Split,
    spec: Spec,
    folder: pathlib.Path,
    about: Mapping[str, Any] = MappingProxyType({}),
) -> tuple[tuple[Point, ...], Params]:
    """Fine-tunes and measures, or goes on where an earlier call on `folder` stopped.

    It writes the points to `transfer.jsonl` in `folder`, with `about`, the settings,
    the normalisation policy and the digest of the order. A loss that is not finite is
    written as null.

    Args:
      split: the data set, of which images labelled -1 are left out.
      folder: where this initialisation, head and seed are kept.
      about: JSON values, e.g. {"init": "random"}, that replace settings of the same
        name.

    Returns:
      The points, ascending, and the last parameters: {"body": ..., "head": {"kernel":
      [d, way], "bias": [way]}}.

    Raises:
      ValueError: for settings, data or parameters that do not fit, or a folder that
        holds another run. It comes before anything is compiled, as one line.
    """
    session = _FineTuning(init, split, spec, folder, about)
    if not session.measured(spec.steps):
        session.learn()
    # A kill may have come before the rows were written.
    return session.write(), session.state.params


class _FineTuning(Session):
    """A fine-tuning that can be resumed: the head alone, then everything."""

    def __init__(
        self,
        init: Initialisation,
        split: Split,
        spec: Spec,
        folder: pathlib.Path,
        about: Mapping[str, Any],
    ) -> None:
        train = split.train
        check(spec, split)
        check_params(init, train)
        layers = rates.layer_factors(init.model, init.body, spec.layer_decay)
        self._init, self._split, self._spec = init, split, spec
        self._chosen = rows_used(train, spec)
        order = Order(self._chosen, spec.seed, spec.batch)
        self._about = {
            **spec._asdict(),
            **about,
            "batch_norm": init.model.policy,
            "order": order.digest(spec.steps),
        }
        init_sha256 = digest.sha256(init.arrays)
        run_folder.claim(folder, self._about | {"init_sha256": init_sha256})
        self._programs: dict[bool, Program] = {}  # by whether the head alone learns
        self._flops = {True: 0.0, False: 0.0}
        self._fresh = rates.optimizer(spec, init.inner, init.phases, layers)
        way, images = len(train.class_names), _images_like(train)
        state = steps.start(init.model, self._fresh, init.body, images, way)
        if spec.head == "given":
            state = state._replace(params=dict(init.params))
        run = Run(
            name=name_of(about),
            folder=folder,
            update=self._update,
            batch=lambda step: (
                _batch(train, order(step)) | {"rate": rates.share(spec, step)}
            ),
            state=state,
            steps=spec.steps,
        )
        costs = dict.fromkeys((*COSTS, "head_flops"), 0.0)
        super().__init__(run, {**costs, "points": []})

    def measured(self, step: int) -> bool:
        return any(step == values[0] for values in self.clock["points"])

    def write(self) -> tuple[Point, ...]:
        points = tuple(Point(*values) for values in self.clock["points"])
        rows = ({**self._about, **point._asdict()} for point in points)
        atomic.write_rows(self.run.folder / RESULTS, rows)
        return points

    def learn(self) -> None:
        init, spec, (_, train, test) = self._init, self._spec, self._split
        moments, params = held_out.moment_images(train, spec), self.run.state.params
        key = jax.random.key(spec.seed)
        self._scores, seconds = held_out.measurer(init, params, moments, test)
        example = self.state, self.run.batch(0), key
        plain = Spec(optimizer=spec.optimizer, momentum=spec.momentum)
        phases = None if init.inner is None else init.phases
        # The first steps may learn the head alone, and so may the last.
        for head_only in {spec.probe_steps > 0, spec.probe_steps == spec.steps}:
            function = _step(init.model, init.preprocess, plain, phases, head_only)
            program = self._programs[head_only] = steps.compile_supervised(
                function, *example
            )
            seconds += program.compile_seconds
            # A jitted function has been traced already.
            self._flops[head_only] = flops.of_function(jax.jit(function), *example)
        self.clock["compile_seconds"] += seconds
        if spec.head == "prototype" and not self.resumed:
            self._make_prototypes(moments)
        self.advance(key, self._owed)

    def _update(self, state: MetaState, batch: Any, key: jax.Array) -> Any:
        # The session knows the step; the state's may still be computed.
        program = self._programs[self.step < self._spec.probe_steps]
        return program.update(state, batch, key)

    def _owed(self) -> bool:
        """Measures where a point is due; returns whether the state is to be saved."""
        step, clock, spec, images = self.step, self.clock, self._spec, len(self._chosen)
        if due := step in log_steps(spec.steps) and not self.measured(step):
            self.settle()
            begin = time.perf_counter()
            scores = self._scores(self.state.params)
            clock["evaluation_seconds"] += time.perf_counter() - begin
            seen = step * spec.batch + (images if spec.head == "prototype" else 0)
            probing = min(step, spec.probe_steps)
            head_flops = probing * self._flops[True]
            whole_flops = (step - probing) * self._flops[False]
            point = Point(
                step=step,
                epoch=seen / images,
                images=seen,
                **{cost: clock[cost] for cost in COSTS},
                flops=clock["head_flops"] + (head_flops + whole_flops),
                **scores,
            )
            clock["points"].append(list(point))
            self.write()
            accuracy = f"accuracy {point.accuracy:.4f}"
            line = f"{self.run.name} {step}: {accuracy}"
            progress.tell(line, f"step {step}: {accuracy}")
        if 0 < step == spec.probe_steps:
            self.state = steps.restarted(self.state, self._init.model, self._fresh)
        return due or (step > 0 and step % SAVE_EVERY == 0)

    def _make_prototypes(self, moments: np.ndarray) -> None:
        """Makes the prototype head of all training images, before the first step."""
        init, train, chosen = self._init, self._split.train, self._chosen
        params: Any = self.state.params
        width, way = params["head"]["kernel"].shape
        class_sums = _class_sums(init.model, init.preprocess, way)
        *chunk, _ = next(held_out.chunks(train, chosen))
        where = held_out.where(*chunk)
        sums = compile_step(class_sums, params, moments, *chunk, where=where)
        head = compile_step(prototype.linear, np.zeros((way, width), np.float32))
        begin = time.perf_counter()
        total = np.zeros((way, width))
        for *chunk, _ in held_out.chunks(train, chosen):
            total += np.asarray(sums.update(params, moments, *chunk))
        count = np.bincount(train.labels[chosen], minlength=way)
        means = (total / count[:, None]).astype(np.float32)
        kernel, bias = jax.block_until_ready(head.update(means))
        self._spend(time.perf_counter() - begin)
        self.clock["compile_seconds"] += sums.compile_seconds + head.compile_seconds
        counted = flops.of_function(jax.jit(class_sums), params, moments, *chunk)
        self.clock["head_flops"] = counted * math.ceil(len(chosen) / held_out.CHUNK)
        self.state = self.state._replace(
            params=params | {"head": {"kernel": kernel, "bias": bias}}
        )


def name_of(about: Mapping[str, Any]) -> str:
    """Names a fine-tuning by what it is about: initialisation, head and setting."""
    words = about.get("init", "fine-tuning"), about.get("head")
    setting = about.get("setting", {}).values()
    return ", ".join(str(word) for word in (*words, *setting) if word is not None)


def check_params(init: Initialisation, train: Source) -> None:
    """Refuses parameters of another network, or of other images, by a ValueError."""
    wanted = jax.eval_shape(init.model.init, jax.random.key(0), _images_like(train))
    given = leaves.shapes({"body": init.body})
    if differing := leaves.differences(given, leaves.shapes({"body": wanted})):
        raise ValueError(f"initialisation of another network: {differing}")


@functools.lru_cache(maxsize=16)
def _step(
    model: Model,
    preprocess: Preprocess,
    plain: Spec,
    phases: tuple[int, ...] | None,
    head_only: bool,
) -> Any:
    """Makes a step that JAX compiles once for all rates, which the state holds.

    `phases` are None without learned step sizes.
    """
    inner: dict[str, Any] | None = None if phases is None else {}
    optimizer = rates.optimizer(plain, inner, phases or (0,))
    return steps.supervised(model, preprocess, optimizer, head_only)


@functools.lru_cache(maxsize=8)
def _class_sums(model: Model, preprocess: Preprocess, way: int) -> Any:
    """Makes the sums of features by class; one function a model, compiled once."""
    features = held_out.features(model, preprocess)

    def class_sums(params, moments, images, weight, labels):
        member = jax.nn.one_hot(labels, way) * weight[:, None]
        return member.T @ features(params, moments, images, weight)

    return class_sums


def _images_like(train: Source) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((2, *train.images.shape[1:]), jnp.float32)


def _batch(train: Source, where: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": train.images[where], "label": train.labels[where]}
