"""A run, and a session, which takes a run's steps from where the last one stopped."""

import concurrent.futures
import contextlib
import gc
import pathlib
import time
from collections import deque
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from typing import Any, NamedTuple

import jax
import numpy as np

from metainit.core.types import MetaState
from metainit.runtime import devices, placement, progress, stop
from metainit.runtime.checkpoint import LAST, Checkpoint, Checkpoints
from metainit.training.health import NORMS, Metrics

PROFILE = "profile"  # folder of a run's trace, for TensorBoard or Perfetto
_AHEAD = 2  # batches drawn and copied before the step that needs them
PATIENCE = 30.0  # seconds after which a batch that is late is reported
_COLLECTED_EVERY = 60.0  # seconds at least between searches for unreachable objects


class Intervals(NamedTuple):
    """Steps between log lines, validations and checkpoints."""

    log: int
    validate: int
    save: int

    def times(self, pace: float) -> "Intervals":
        """Gives intervals of equal time for steps that are `pace` times as fast."""
        return Intervals(*(max(1, round(interval * pace)) for interval in self))


class Run(NamedTuple):
    """One training, from its first step to its last."""

    name: str
    folder: pathlib.Path
    # Compiled `(state, batch, key) -> (state, metrics)`.
    update: Callable[[MetaState, Any, jax.Array], tuple[MetaState, Metrics]]
    batch: Callable[[int], Any]  # `(step) -> batch`, a pure function of the step
    state: MetaState  # before the first step
    steps: int  # the step before which it ends
    first_step: int = 0
    images: int = 0  # in a step
    tasks: int = 1  # tasks or batches in a step
    # Its tags begin with `scope`, and its pace is `unit` per second. Different kinds of
    # run have different ones, so that they share no chart.
    scope: str = "train"
    unit: str = "tasks"
    rate: Callable[[int], float] | None = None  # `(step) -> learning rate`
    every: Intervals = Intervals(1, 1, 1)
    norms_every: int = 0  # steps between norms of layers that `update` gives; 0: never
    # `(step) -> names of the data sets that its batch comes from`.
    data: Callable[[int], Iterable[str]] = lambda step: ()
    # `(step) -> index of each task's episode`; None where a batch is not of tasks.
    episodes: Callable[[int], Sequence[int]] | None = None
    chance: float = 0.0  # the loss of a guess; 0 where it is not known
    rates: tuple[str, ...] = ()  # fields that set its rates; a divergence names them
    flops: float | None = None  # operations of a step; None where not counted
    skip: int = 0  # how many steps `update` may leave out as not finite
    patience: int = 0  # validations without a new best, after which it ends; 0: never
    alphas: tuple[float, ...] = (1.0,)  # choices of alpha for `metainit.interpolate`
    profile: int = 0  # how many first steps of a session are traced

    def where(self, step: int, tasks: Sequence[int]) -> str:
        """Names a step, and the data sets and episodes of these tasks of it."""
        names, episodes = list(self.data(step)), ""
        if tasks:
            names = [names[task] for task in tasks]
        if self.episodes is not None:
            numbers = ", ".join(str(self.episodes(step)[task]) for task in tasks)
            episodes = f" (episode{'s' * (len(tasks) > 1)} {numbers})"
        return f"step {step}, on {', '.join(dict.fromkeys(names))}{episodes}"


class Session:
    """Takes the steps of a run from where an earlier session left it.

    It stands at `state` after `step` steps. Its `clock` has JSON values that are saved
    with the state. "device_seconds" are those of the steps on all devices, waiting for
    batches included; "seconds" are by the wall clock; "norms" are the latest of layers.
    The caller adds others, with their values before the first step. The devices compute
    a step while they are given the next. Call `settle` before you read the clock or
    the state.
    """

    best: Checkpoints | None = None  # is on disk before a clock that mentions it

    def __init__(self, run: Run, clock: dict[str, Any]) -> None:
        self.run = run
        self._saved = Checkpoints(run.folder / LAST)
        restored = self._saved.restore(run.state)
        self.resumed = restored is not None
        self.step, self.state, of_clock = restored or Checkpoint(
            run.first_step, run.state, {}
        )
        self.clock = {"device_seconds": 0.0, "seconds": 0.0} | clock | of_clock
        self._started = time.perf_counter() - self.clock["seconds"]
        self._unchecked: deque[tuple[int, Metrics]] = deque()
        self._collected = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Gives the seconds by the wall clock of all sessions so far."""
        return time.perf_counter() - self._started

    def save(self) -> None:
        """Begins to save the state; the next steps do not wait for the disk."""
        self.settle()
        self.clock["seconds"] = self.seconds
        self._saved.save(self.step, self.state, self.clock, self.best)
        # Steps leave objects in cycles. Python looks for old ones only when a quarter
        # of all objects are new. As jax has a million, that would be after hours.
        if time.perf_counter() - self._collected > _COLLECTED_EVERY:
            gc.collect()
            self._collected = time.perf_counter()

    def finish(self) -> None:
        """Waits until what was saved is on disk."""
        if self.best is not None:
            self.best.wait()
        self._saved.wait()

    def settle(self) -> None:
        """Waits for the steps that the device still computes, and checks them."""
        if not self._unchecked:
            return
        begin = time.perf_counter()
        jax.block_until_ready(self.state)
        self._spend(time.perf_counter() - begin)
        while self._unchecked:
            step, metrics = self._unchecked.popleft()
            scores = {n: np.asarray(x) for n, x in metrics.items() if n != NORMS}
            self._check(step, scores)
            if self.run.norms_every and (step + 1) % self.run.norms_every == 0:
                norms = metrics[NORMS].items()
                self.clock[NORMS] = {name: np.asarray(x).tolist() for name, x in norms}

    def advance(
        self,
        key: jax.Array,
        owed: Callable[[], bool],
        check: Callable[[int, Metrics], None] = lambda step, metrics: None,
        over: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Takes the steps that are left, and tells whether all are done.

        After Ctrl-C it saves the state, then raises KeyboardInterrupt. Everything
        saved is on disk when this ends.

        Args:
          owed: does what is due after a step, and tells whether to save. It is also
            called at the start, for what an earlier session left undone.
          check: `(step, metrics)`, called for each step before a state that it led to
            is saved. It raises where that state must not be saved.
          over: tells whether to save and stop before the next step.
        """
        run, first, self._check = self.run, self.run.first_step, check
        batches = _drawn_ahead(run.batch, range(self.step, run.steps), self._stalled)
        with (
            contextlib.ExitStack() as tracing,
            contextlib.closing(batches),
            progress.Stage(run.name, run.steps, self.step) as self._stage,
        ):
            if self.step > first:
                progress.say(f"{run.name}: resumed at step {self.step}")
            traced = min(self.step + run.profile, run.steps)
            try:
                if owed():
                    self.save()
                if self.step < traced:
                    tracing.enter_context(jax.profiler.trace(run.folder / PROFILE))
                while self.step < run.steps:
                    if over():
                        self.save()
                        return False
                    stop.check()
                    self._step(batches, key)
                    if self.step == traced:
                        self.settle()
                        tracing.close()
                    if owed():
                        self.save()
            except KeyboardInterrupt:
                with contextlib.suppress(KeyboardInterrupt):
                    self.save()
                    self.finish()
                    progress.say(f"{run.name}: saved at step {self.step}")
                raise
            finally:
                self.finish()
        return True

    def _stalled(self, step: int, seconds: float) -> None:
        """Warns that a step waits for its images, and names them."""
        episodes = () if self.run.episodes is None else self.run.episodes(step)
        where = self.run.where(step, range(len(episodes)))
        progress.say(
            f"warning: {self.run.name}: the images of {where}, are not there after "
            f"{seconds:g} s; the disk or network that they are on is slow or gone"
        )

    def _spend(self, seconds: float) -> None:
        self.clock["device_seconds"] += seconds * devices.mesh().size

    def _step(self, batches: Iterator[Any], key: jax.Array) -> None:
        """Hands a step to the device, and waits for the one before it."""
        begin, before = time.perf_counter(), self.state
        state, metrics = self.run.update(before, next(batches), key)
        jax.block_until_ready(before)
        self._spend(time.perf_counter() - begin)
        self._unchecked.append((self.step, metrics))
        self.state, self.step = state, self.step + 1
        self._stage.advance()


def _drawn_ahead(
    batch: Callable[[int], Any],
    steps: range,
    stalled: Callable[[int, float], None],
) -> Generator[Any, None, None]:
    """Yields the batch of each step, drawn and copied to the devices by a thread.

    It calls `stalled(step, seconds)` when a batch is late by `PATIENCE` seconds, and
    each time the wait has doubled.
    """

    def draw(step: int) -> Any:
        return placement.copied(batch(step))

    def next_drawn() -> Any:
        (step, future), waited = drawn.popleft(), 0.0
        while not concurrent.futures.wait([future], waited or PATIENCE).done:
            waited += waited or PATIENCE
            stalled(step, waited)
        return future.result()

    with concurrent.futures.ThreadPoolExecutor(1, "batches") as thread:
        drawn: deque[tuple[int, concurrent.futures.Future[Any]]] = deque()
        for step in steps:
            drawn.append((step, thread.submit(draw, step)))
            if len(drawn) > _AHEAD:
                yield next_drawn()
        while drawn:
            yield next_drawn()
