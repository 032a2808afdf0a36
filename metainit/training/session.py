"""A run, and a session of it: its steps one after another, from where it was left."""

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
PATIENCE = 30.0  # seconds after which a batch that is waited for is told
_COLLECTED_EVERY = 60.0  # seconds at least between searches for unreachable objects


class Intervals(NamedTuple):
    """Steps between log lines, validations and checkpoints."""

    log: int
    validate: int
    save: int

    def times(self, pace: float) -> "Intervals":
        """Gives those of steps of which `pace` take as long as one of these."""
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
    images: int = 0  # of a step
    tasks: int = 1  # of a step; tasks or batches
    # What its tags begin with, and its pace is of, so that unlike runs share no chart.
    scope: str = "train"
    unit: str = "tasks"
    rate: Callable[[int], float] | None = None  # the learning rate of a step
    every: Intervals = Intervals(1, 1, 1)
    norms_every: int = 0  # steps after which `update` gives the norms of layers
    # `(step) -> names of the data sets that its batch is of`.
    data: Callable[[int], Iterable[str]] = lambda step: ()
    # `(step) -> index of each task's episode`; None where a batch is not of tasks.
    episodes: Callable[[int], Sequence[int]] | None = None
    chance: float = 0.0  # the loss of a guess; 0 where it is not known
    rates: tuple[str, ...] = ()  # fields that set its rates, to name at a divergence
    flops: float | None = None  # operations a step; None where not counted
    skip: int = 0  # steps that may be not finite, which `update` leaves out
    patience: int = 0  # validations without a new best, after which it ends; 0: never
    alphas: tuple[float, ...] = (1.0,)  # as of `metainit.interpolate`, to choose from
    profile: int = 0  # first steps of a session that a trace is taken of

    def where(self, step: int, tasks: Sequence[int]) -> str:
        """Names a step, its data sets and its episodes, by numbers of tasks in it."""
        names, episodes = list(self.data(step)), ""
        if tasks:
            names = [names[task] for task in tasks]
        if self.episodes is not None:
            numbers = ", ".join(str(self.episodes(step)[task]) for task in tasks)
            episodes = f" (episode{'s' * (len(tasks) > 1)} {numbers})"
        return f"step {step}, on {', '.join(dict.fromkeys(names))}{episodes}"


class Session:
    """A run from where an earlier session left it, at `state` after `step` steps.

    Its clock has JSON values that are saved with the state: "device_seconds" of the
    steps on all devices, waiting for batches included, "seconds" by the wall clock, and
    those of the caller, given as before the first step; and "norms" of layers, the last
    that were computed. The devices compute a step while the next is handed to them:
    `settle` before the clock, or a value of the state, is read.
    """

    best: Checkpoints | None = None  # what the clock tells of must be there before it

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
        """By the wall clock, of all sessions so far."""
        return time.perf_counter() - self._started

    def save(self) -> None:
        """Begins to save; the next steps need not wait for the disk."""
        self.settle()
        self.clock["seconds"] = self.seconds
        self._saved.save(self.step, self.state, self.clock, self.best)
        # Objects are left in cycles. Python looks for old ones by itself only when a
        # quarter of all its objects are new: beside jax's million, after hours.
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
        """Takes the steps that are left, and says whether all are done.

        Ctrl-C (KeyboardInterrupt) saves the state before it goes on up. What is saved
        is on disk when this ends.

        Args:
          owed: does what is due after a step, and says whether to save; also called at
            the start, for what an earlier session left undone.
          check: `(step, metrics)`, called for each step before a state is saved that
            it led to; raises where it must not be.
          over: whether to save and stop before the next step.
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
        """Says what a step has waited for so long."""
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

    One that is waited for is told after `PATIENCE` seconds, twice, four times as many,
    to `(step, seconds) -> None`.
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
