"""The training loop: the same for meta-learning and for joint pretraining."""

import collections
import contextlib
import math
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
from clu import metrics as clu_metrics

from metainit.core.types import MetaState
from metainit.runtime import stop
from metainit.runtime.checkpoint import BEST, LAST, WARM_START, Checkpoints
from metainit.runtime.cost import Cost
from metainit.runtime.logging import Progress, Writer


class NonFiniteError(ArithmeticError):
    """Loss or gradient became infinite or NaN; the last good checkpoint is kept."""


# Means over the steps, and tasks, since the last log line.
Averages = clu_metrics.Collection.create(
    loss=clu_metrics.Average.from_output("loss"),
    accuracy=clu_metrics.Average.from_output("accuracy"),
    grad_norm=clu_metrics.Average.from_output("grad_norm"),
)


class Run(NamedTuple):
    """One initialisation in the making.

    Attributes:
      name: for people, e.g. "meta-learned".
      folder: where checkpoints, events and metrics go.
      update: compiled `(state, batch, key) -> (state, metrics)`.
      batch: `(step) -> batch`, a pure function of the step.
      state: before the first step.
      first_step: the step the run begins with.
      steps: the step before which it ends.
      tasks: tasks (or batches) a step.
      images: images a step.
      flops: operations a step; None where not counted.
      data: `(step) -> names of the data sets that its batch is of`.
      rates: fields of the config that set its rates, for the error of a divergence.
      pace: steps that take as long as a meta-iteration; the config's intervals are in
        meta-iterations.
      keep_at: a step whose state is saved apart, for a warm start; None for none.
    """

    name: str
    folder: pathlib.Path
    update: Callable[
        [MetaState, Any, jax.Array], tuple[MetaState, dict[str, jax.Array]]
    ]
    batch: Callable[[int], Any]
    state: MetaState
    first_step: int
    steps: int
    tasks: int
    images: int
    data: Callable[[int], Iterable[str]]
    rates: tuple[str, ...]
    flops: float | None = None
    pace: float = 1.0
    keep_at: int | None = None


class Fitted(NamedTuple):
    """The outcome of a run.

    Attributes:
      params: best by meta-validation.
      accuracy: of these on meta-validation, 0 to 1; None where it was never measured.
      cost: of all steps done.
      seconds: by the wall clock, validation included, of all sessions.
      stopped: why the run ended before its last step; "" where it did not.
    """

    params: Any
    accuracy: float | None
    cost: Cost
    seconds: float
    stopped: str


class Intervals(Protocol):
    """Steps between lines of the log, validations and checkpoints."""

    @property
    def log_every(self) -> int: ...

    @property
    def validate_every(self) -> int: ...

    @property
    def checkpoint_every(self) -> int: ...


def fit(
    run: Run,
    every: Intervals,
    key: jax.Array,
    validate: Callable[[Any], float],
    seconds: Callable[[], float],
) -> Fitted:
    """Restores or starts, steps, logs, validates, saves; returns the best parameters.

    Ctrl-C (KeyboardInterrupt) saves the state before it goes on up.

    Args:
      run: what is trained.
      every: its intervals, scaled by `run.pace`.
      key: root key; folded with the step by `run.update`.
      validate: `(params) -> accuracy` on meta-validation.
      seconds: by the wall clock that the run may take in all, earlier sessions
        counted, by what is known so far. It does one step at least, and goes on to
        `run.keep_at`.

    Raises:
      NonFiniteError: naming the run, the step, its data and the likely cause.
    """
    saved, best, kept = (Checkpoints(run.folder / x) for x in (LAST, BEST, WARM_START))
    step, state = run.first_step, run.state
    clock = {"device_seconds": 0.0, "seconds": 0.0, "best": -1.0}
    if (found := saved.restore(run.state)) is not None:
        step, state, clock = found
    clock.setdefault("validated", step)
    stopped = ""
    started = time.perf_counter() - clock["seconds"]
    log_every, validate_every, checkpoint_every = (
        max(1, round(interval * run.pace))
        for interval in (
            every.log_every,
            every.validate_every,
            every.checkpoint_every,
        )
    )
    earliest_end = max(run.first_step + 1, run.keep_at or 0)

    def save() -> None:
        clock["seconds"] = time.perf_counter() - started
        saved.save(step, state, clock)

    def keep_and_validate() -> None:
        """What a step owes; also after a stop in the middle of it."""
        if step == run.keep_at:
            kept.save(step, state, clock)
        if clock["validated"] < step and (
            step % validate_every == 0 or step == run.steps
        ):
            accuracy = validate(state.params)
            writer.write_scalars(step, {"validation/accuracy": accuracy})
            bar.say(f"{run.name} {step}: validation accuracy {accuracy:.4f}")
            if accuracy > clock["best"]:
                best.save(step, state, clock | {"best": accuracy})
                clock["best"] = accuracy
            clock["validated"] = step

    with (
        Writer(run.folder, first_step=step + 1) as writer,
        Progress(run.name, step - run.first_step, run.steps - run.first_step) as bar,
    ):
        if step > run.first_step:
            bar.say(f"{run.name}: resumed at step {step}")
        logged: list[dict[str, Any]] = []
        of_data: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
        logged_at = clock["device_seconds"]
        try:
            keep_and_validate()
            while step < run.steps:
                if time.perf_counter() - started > seconds() and step >= earliest_end:
                    stopped = (
                        f"{run.name} stopped at step {step} of {run.steps}: max_hours"
                    )
                    save()
                    break
                stop.check()
                begin = time.perf_counter()
                new_state, metrics = run.update(state, run.batch(step), key)
                metrics = jax.tree.map(np.asarray, metrics)  # waits for the step
                clock["device_seconds"] += time.perf_counter() - begin
                _require_finite(run, step, metrics)
                for name, loss, accuracy in _of_tasks(run, step, metrics):
                    of_data[name].append((loss, accuracy))
                state, step = new_state, step + 1
                logged.append(metrics)
                bar.step()
                last = step == run.steps
                if step % log_every == 0 or last:
                    spent = clock["device_seconds"] - logged_at
                    numbers = _average(logged)
                    numbers["tasks_per_second"] = len(logged) * run.tasks / spent
                    writer.write_scalars(
                        step,
                        {f"train/{name}": x for name, x in numbers.items()}
                        | _by_data(of_data),
                    )
                    of_data.clear()
                    left = (run.steps - step) * spent / len(logged)
                    bar.show(step - run.first_step, numbers, left)
                    logged, logged_at = [], clock["device_seconds"]
                keep_and_validate()
                if step % checkpoint_every == 0 or last:
                    save()
        except KeyboardInterrupt:
            with contextlib.suppress(KeyboardInterrupt):
                save()
                bar.say(f"{run.name}: saved at step {step}; the same line goes on")
            raise
    kept_best = best.restore(run.state)
    params = state.params if kept_best is None else kept_best.state.params
    done = step - run.first_step
    operations = None if run.flops is None else done * run.flops
    cost = Cost(clock["device_seconds"], done * run.images, done, operations)
    return Fitted(
        params=params,
        accuracy=None if kept_best is None else kept_best.extra["best"],
        cost=cost,
        seconds=time.perf_counter() - started,
        stopped=stopped,
    )


def _average(logged: list[dict[str, Any]]) -> dict[str, float]:
    stacked = {name: np.stack([m[name] for m in logged]).ravel() for name in logged[0]}
    averages = Averages.single_from_model_output(**stacked).compute()
    return {name: float(value) for name, value in averages.items()}


def _of_tasks(
    run: Run, step: int, metrics: dict[str, Any]
) -> Iterator[tuple[str, float, float]]:
    """Data set, loss and accuracy of each task; nothing where a batch mixes sets."""
    if np.ndim(metrics["loss"]):
        yield from zip(
            run.data(step), metrics["loss"], metrics["accuracy"], strict=True
        )


def _by_data(of_data: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Means by data set, where there are several."""
    if len(of_data) < 2:
        return {}
    return {
        f"train/{measure}/{name}": float(mean)
        for name, values in of_data.items()
        for measure, mean in zip(("loss", "accuracy"), np.mean(values, 0), strict=True)
    }


def _require_finite(run: Run, step: int, metrics: dict[str, Any]) -> None:
    loss, norm = float(np.mean(metrics["loss"])), float(metrics["grad_norm"])
    if math.isfinite(loss) and math.isfinite(norm):
        return
    too_high = f"a rate is too high ({', '.join(run.rates)})"
    what, cause = "gradient", f"{too_high}, or a norm of zero, which has none"
    if not math.isfinite(loss):
        what, cause = "loss", f"{too_high}, or an image is degenerate"
    elif "inner.learning_rate" in run.rates:
        cause += "; Adam inside needs eps_root > 0"
    of_tasks = [
        name
        for name, of_task, _ in _of_tasks(run, step, metrics)
        if not math.isfinite(of_task)
    ]
    data = ", ".join(dict.fromkeys(of_tasks or run.data(step)))
    checkpoints = run.folder / LAST
    raise NonFiniteError(
        f"{run.name}: the {what} of step {step}, on {data}, is not finite (loss "
        f"{loss}, gradient norm {norm}); likely {cause}. "
        + (
            f"The last good checkpoint is kept in {checkpoints}"
            if checkpoints.exists()
            else "There was no checkpoint yet"
        )
    )
