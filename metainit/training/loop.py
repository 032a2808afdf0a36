"""The training loop: of meta-learning, joint pretraining, fine-tuning and the rest."""

import concurrent.futures
import contextlib
import functools
import pathlib
import shlex
import time
from collections import deque
from collections.abc import (
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from clu import metrics as clu_metrics

from metainit.core.interpolation import interpolate
from metainit.core.types import MetaState
from metainit.runtime import devices, hosts, placement, stop
from metainit.runtime.checkpoint import BEST, LAST, NONFINITE, Checkpoint, Checkpoints
from metainit.runtime.cost import Cost
from metainit.runtime.logging import Progress, Writer
from metainit.training import health
from metainit.training.averaging import averaged
from metainit.training.health import NORMS, Metrics

PROFILE = "profile"  # folder of a run's trace, for TensorBoard or Perfetto
_NO_TIME = "max_hours"
_LOGGED, _LOGGED_AT, _NORMS = "logged", "logged_at", "norms"
_AHEAD = 2  # batches drawn and copied before the step that needs them
PATIENCE = 30.0  # seconds after which a batch that is waited for is told


class NonFiniteError(ArithmeticError):
    """Loss or gradient became infinite or NaN; the last good checkpoint is kept."""


# Means over the steps, and tasks, since the last log line.
Averages = clu_metrics.Collection.create(
    loss=clu_metrics.Average.from_output("loss"),
    accuracy=clu_metrics.Average.from_output("accuracy"),
    grad_norm=clu_metrics.Average.from_output("grad_norm"),
)


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
    # JSON values that it is made from again (`metainit replay`); {} where it is not.
    recipe: Mapping[str, Any] = MappingProxyType({})


class Fitted(NamedTuple):
    """The outcome of a run."""

    params: Any  # best by meta-validation
    alpha: float  # where they stand between where the run began, 0, and its best, 1
    accuracy: float | None  # of these, 0 to 1; None where it was never measured
    cost: Cost
    seconds: float  # by the wall clock, validation included, of all sessions
    stopped: str  # why it ended before its last step; "" where it did not
    out_of_time: bool  # whether that is why
    notes: tuple[str, ...] = ()  # of what went wrong, for a report


class Session:
    """A run from where an earlier session left it, at `state` after `step` steps.

    Its clock has JSON values that are saved with the state: "device_seconds" of the
    steps on all devices, waiting for batches included, "seconds" by the wall clock, and
    those of the caller, given as before the first step. The devices compute a step
    while the next is handed to them: `settle` before the clock, or a value of the
    state, is read.
    """

    bar: Progress
    norms: Mapping[str, Any] = MappingProxyType({})  # of layers, last computed

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

    @property
    def seconds(self) -> float:
        """By the wall clock, of all sessions so far."""
        return time.perf_counter() - self._started

    def save(self) -> None:
        self.settle()
        self.clock["seconds"] = self.seconds
        self._saved.save(self.step, self.state, self.clock)

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
                self.norms = metrics[NORMS]

    def advance(
        self,
        key: jax.Array,
        owed: Callable[[], bool],
        check: Callable[[int, Metrics], None] = lambda step, metrics: None,
        over: Callable[[], bool] = lambda: False,
    ) -> bool:
        """Takes the steps that are left, and says whether all are done.

        Ctrl-C (KeyboardInterrupt) saves the state before it goes on up.

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
            Progress(run.name, self.step - first, run.steps - first) as self.bar,
        ):
            if self.step > first:
                self.bar.say(f"{run.name}: resumed at step {self.step}")
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
                    at = f"saved at step {self.step}"
                    self.bar.say(f"{run.name}: {at}; the same line goes on")
                raise
        return True

    def _stalled(self, step: int, seconds: float) -> None:
        """Says what a step has waited for so long."""
        episodes = () if self.run.episodes is None else self.run.episodes(step)
        where = _where(self.run, step, range(len(episodes)))
        self.bar.say(
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
        self.bar.step()


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


def fit(
    run: Run,
    key: jax.Array,
    validate: Callable[[Any], float],
    seconds: Callable[[], float],
    describe: Callable[[], Mapping[str, float]] = dict,
) -> Fitted:
    """Takes the steps of a run, logs and validates; gives the best parameters.

    Those are averages where the optimizer keeps one (`metainit.training.averaging`),
    moved back towards where the run began as far as validation says (`Run.alphas`).
    `validate` is `(params) -> accuracy`, and `describe` gives what else it has just
    measured, by tag. The run may take `seconds()` by the wall
    clock, earlier sessions counted, but does one step at least. A `NonFiniteError`
    names run, step, data and the likely cause.
    """
    training = _Training(run, key, validate, seconds, describe)
    with Writer(run.folder, first_step=training.first_row()) as writer:
        training.learn(writer)
    kept = _moved_back(run, training.best, validate)
    steps = training.step - run.first_step
    params = kept.state.params if kept else averaged(training.state).params
    device_seconds, flops = training.clock["device_seconds"], run.flops
    ended_by = training.ended_by
    stopped = f"{run.name} stopped at step {training.step} of {run.steps}: {ended_by}"
    return Fitted(
        params=params,
        alpha=kept.extra.get("alpha", 1.0) if kept else 1.0,
        accuracy=kept and kept.extra["best"],
        cost=Cost(device_seconds, steps * run.images, steps, flops and steps * flops),
        seconds=training.seconds,
        stopped=stopped if ended_by else "",
        out_of_time=ended_by == _NO_TIME,
        notes=training.notes(),
    )


class _Training(Session):
    """A session of `fit`: what is done between its steps.

    Attributes:
      best: its best states by validation.
      ended_by: why it ended before its last step; "" where it did not.
    """

    def __init__(
        self,
        run: Run,
        key: jax.Array,
        validate: Callable[[Any], float],
        seconds: Callable[[], float],
        describe: Callable[[], Mapping[str, float]],
    ) -> None:
        clock = {"worse": 0, "skipped": 0, "losses": [], "stuck": 0}
        super().__init__(run, {"best": -1.0, "validated": run.first_step} | clock)
        self.best, self.ended_by = Checkpoints(run.folder / BEST), ""
        self._key, self._validate, self._may_take = key, validate, seconds
        self._describe = describe
        self._begun_at = self.step
        self._good = self.step, self.state  # after steps that were checked
        self._logged: list[tuple[int, Metrics]] = [
            (step, {name: np.asarray(x, np.float32) for name, x in metrics.items()})
            for step, metrics in self.clock.pop(_LOGGED, ())
        ]
        now = self.step, self.clock["device_seconds"]
        self._logged_at = self.clock.pop(_LOGGED_AT, now)
        self.norms = self.clock.pop(_NORMS, {})

    def notes(self) -> tuple[str, ...]:
        """Says what went wrong, in sentences."""
        name, notes = self.run.name, []
        if skipped := self.clock["skipped"]:
            notes.append(f"{name}: {skipped} steps were not finite and left out.")
        if step := self.clock["stuck"]:
            notes.append(
                f"{name}: up to step {step} the training loss stayed at or above that "
                f"of a guess, {self.run.chance:.3g}, and did not fall; likely a rate "
                f"is too high: {', '.join(self.run.rates)}."
            )
        return tuple(notes)

    def save(self) -> None:
        """Saves what the next row of the log is made of, too."""
        self.settle()
        self.clock[_LOGGED] = [
            (step, {name: np.asarray(x).tolist() for name, x in metrics.items()})
            for step, metrics in self._logged
        ]
        self.clock[_LOGGED_AT] = self._logged_at
        norms = {layer: np.asarray(x).tolist() for layer, x in self.norms.items()}
        self.clock[_NORMS] = norms
        super().save()
        del self.clock[_LOGGED], self.clock[_LOGGED_AT], self.clock[_NORMS]

    def first_row(self) -> int:
        """The first step whose row of the log may be written still."""
        due = self.step % self.run.every.log == 0 or self.step == self.run.steps
        return self.step if self._logged and due else self.step + 1

    def learn(self, writer: Writer) -> None:
        owed = functools.partial(self._owed, writer)
        self.advance(self._key, owed, self._require_finite, self._is_over)

    def _is_over(self) -> bool:
        run = self.run
        if 0 < run.patience <= self.clock["worse"]:
            words = f"no new best in {run.patience} validations (outer.patience)"
            self.ended_by = words
        elif self.step > run.first_step and self._is_late():
            self.ended_by = _NO_TIME
        return self.ended_by != ""

    def _is_late(self) -> bool:
        # Several processes would wait for each other to agree on it.
        if hosts.several() and self.step % self.run.every.log:
            return False
        return hosts.agreed(self.seconds > self._may_take())

    def _require_finite(self, step: int, metrics: Metrics) -> None:
        run, clock = self.run, self.clock
        if health.is_finite(metrics):
            self._logged.append((step, metrics))
            return
        if clock["skipped"] >= run.skip:
            before = _before(run, step, *self._good, self._key)
            raise _not_finite(run, *before, metrics, self._key)
        clock["skipped"] += 1
        where = _where(run, step, health.by_loss(metrics))
        left_out = f"left out, {clock['skipped']} of {run.skip} (outer.skip_nonfinite)"
        self.bar.say(f"warning: {run.name}: {where}, is not finite: {left_out}")

    def _owed(self, writer: Writer) -> bool:
        run, step, clock = self.run, self.step, self.clock
        last = step == run.steps
        to_log, to_validate, to_save = (last or step % n == 0 for n in run.every)
        if to_log or to_validate or to_save:
            self.settle()
            self._good = step, self.state
        if self._logged and to_log:
            self._log(writer)
        if clock["validated"] < step and to_validate:
            candidate = averaged(self.state)
            accuracy = self._validate(candidate.params)
            told = {"validation/accuracy": accuracy, **self._describe()}
            writer.write_scalars(step, told)
            self.bar.say(f"{run.name} {step}: validation accuracy {accuracy:.4f}")
            judged = {"best": clock["best"], "worse": clock["worse"] + 1}
            if accuracy > clock["best"]:
                judged = {"best": accuracy, "worse": 0}
                self.best.save(step, candidate, clock | judged)
            clock.update(judged, validated=step)
        return step > self._begun_at and to_save

    def _log(self, writer: Writer) -> None:
        run, step, logged, clock = self.run, self.step, self._logged, self.clock
        first, before = self._logged_at
        count, spent = step - first, clock["device_seconds"] - before
        spent /= devices.mesh().size
        numbers = _average([metrics for _, metrics in logged])
        numbers[f"{run.unit}_per_second"] = count * run.tasks / spent
        scalars = {f"{run.scope}/{name}": value for name, value in numbers.items()}
        if run.rate:
            scalars[f"{run.scope}/learning_rate"] = run.rate(step - 1)
        if run.skip:
            scalars[f"{run.scope}/skipped"] = clock["skipped"]
        scalars |= _by_data(run, logged) | health.by_tag(self.norms)
        writer.write_scalars(step, scalars)
        left = (run.steps - step) * spent / count
        self.bar.show(step - run.first_step, numbers, left)
        logged.clear()
        self.norms = {}
        self._logged_at = step, clock["device_seconds"]
        self._tell_if_stuck(numbers["loss"])

    def _tell_if_stuck(self, loss: float) -> None:
        """Says once that nothing is learned."""
        run, clock = self.run, self.clock
        windows = health.windows(run.steps - run.first_step, run.every.log)
        losses = clock["losses"] = [*clock["losses"], loss][-max(windows) :]
        told = clock["stuck"] > 0 or not run.chance
        if not told and health.is_stuck(losses, run.chance, windows):
            clock["stuck"] = self.step
            self.bar.say(f"warning: {self.notes()[-1]}")


def _moved_back(
    run: Run, best: Checkpoints, validate: Callable[[Any], float]
) -> Checkpoint | None:
    """The best, moved back once towards where the run began as validation says.

    WiSE-FT (Wortsman et al. 2022, arXiv:2109.01903). Of alphas that do as well it is
    the largest; the best is saved anew, with it, so that a resumed run has the same.
    """
    kept = best.restore(run.state)
    if kept is None or "alpha" in kept.extra or set(run.alphas) == {1.0}:
        return kept

    def moved(alpha: float) -> Any:
        return interpolate(run.state.params, kept.state.params, alpha)

    def accuracy_of(alpha: float) -> float:
        return kept.extra["best"] if alpha == 1 else validate(moved(alpha))

    accuracy, alpha = max((accuracy_of(alpha), alpha) for alpha in run.alphas)
    print(f"{run.name}: validation accuracy {accuracy:.4f} with alpha {alpha:g}")
    extra = kept.extra | {"best": accuracy, "alpha": alpha}
    best.save(kept.step, kept.state._replace(params=moved(alpha)), extra)
    return best.restore(run.state)


def _average(logged: list[Metrics]) -> dict[str, float]:
    stacked = {name: np.stack([m[name] for m in logged]).ravel() for name in logged[0]}
    averages = Averages.single_from_model_output(**stacked).compute()
    return {name: float(value) for name, value in averages.items()}


def _of_tasks(run: Run, step: int, metrics: Metrics) -> Iterable[Any]:
    """Gives each task's data set, loss and accuracy; nothing where a batch mixes."""
    if not np.ndim(metrics["loss"]):
        return ()
    return zip(run.data(step), metrics["loss"], metrics["accuracy"], strict=True)


def _by_data(run: Run, logged: list[tuple[int, Metrics]]) -> dict[str, float]:
    """Averages by data set, where there are several."""
    of_data: dict[str, list[list[float]]] = {}
    for step, metrics in logged:
        for name, *scores in _of_tasks(run, step, metrics):
            of_data.setdefault(name, []).append(scores)
    if len(of_data) < 2:
        return {}
    return {
        f"{run.scope}/{measure}/{name}": float(mean)
        for name, values in of_data.items()
        for measure, mean in zip(("loss", "accuracy"), np.mean(values, 0), strict=True)
    }


def _where(run: Run, step: int, tasks: Sequence[int]) -> str:
    """Names a step, its data sets and its episodes, by numbers of tasks in it."""
    names, episodes = list(run.data(step)), ""
    if tasks:
        names = [names[task] for task in tasks]
    if run.episodes is not None:
        numbers = ", ".join(str(run.episodes(step)[task]) for task in tasks)
        episodes = f" (episode{'s' * (len(tasks) > 1)} {numbers})"
    return f"step {step}, on {', '.join(dict.fromkeys(names))}{episodes}"


def _before(
    run: Run, step: int, at: int, state: MetaState, key: jax.Array
) -> tuple[int, MetaState]:
    """Gives a step and the state before it, from `state`, that before step `at`.

    Steps are checked when devices have gone on already, and taken again here.
    """
    for number in range(at, step):
        state, _ = run.update(state, placement.copied(run.batch(number)), key)
    return step, state


def _not_finite(
    run: Run, step: int, state: MetaState, metrics: Metrics, key: jax.Array
) -> NonFiniteError:
    """Saves the state before a step that is not finite, and says what happened."""
    loss, norm = float(np.mean(metrics["loss"])), float(metrics["grad_norm"])
    what, cause = "gradient", "a norm of zero, which has none"
    if not np.isfinite(loss):
        what, cause = "loss", "an image is degenerate"

    def norm_of(batch: Any) -> Any:
        return run.update(state, placement.copied(batch), key)[1]["grad_norm"]

    tasks = health.culprits(metrics, run.batch(step), norm_of)
    kept = "There was no checkpoint yet"
    if (run.folder / LAST).exists():
        kept = f"The last good checkpoint is kept in {run.folder / LAST}"
    if run.recipe:
        dump = run.folder / NONFINITE
        recorded = {name: np.asarray(x).tolist() for name, x in metrics.items()}
        Checkpoints(dump).save(step, state, {**run.recipe, "metrics": recorded})
        again = shlex.join(["metainit", "replay", str(dump)])
        kept += f"; this step is taken again by: {again}"
    return NonFiniteError(
        f"{run.name}: the {what} of {_where(run, step, tasks)}, is not finite "
        f"(loss {loss}, gradient norm {norm}); likely a rate is too high "
        f"({', '.join(run.rates)}), or {cause}. {kept}"
    )
