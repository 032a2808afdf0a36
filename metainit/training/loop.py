"""The training loop: of meta-learning, joint pretraining, fine-tuning and the rest."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from clu import metrics as clu_metrics

from metainit.core.interpolation import interpolate
from metainit.runtime import devices, hosts, progress, stop
from metainit.runtime.checkpoint import BEST, Checkpoint, Checkpoints
from metainit.runtime.cost import Cost
from metainit.runtime.logging import Writer
from metainit.training import health, nonfinite
from metainit.training.averaging import averaged
from metainit.training.health import Metrics
from metainit.training.session import Run, Session

_NO_TIME = "max_hours"


# These are means over steps and tasks since the last log line.
Averages = clu_metrics.Collection.create(
    loss=clu_metrics.Average.from_output("loss"),
    accuracy=clu_metrics.Average.from_output("accuracy"),
    grad_norm=clu_metrics.Average.from_output("grad_norm"),
)


class Fitted(NamedTuple):
    """The outcome of a run."""

    params: Any  # the best by meta-validation
    alpha: float  # their place between the run's first parameters, 0, and its best, 1
    accuracy: float | None  # of `params`, 0 to 1; None where it was never measured
    cost: Cost
    seconds: float  # by the wall clock, validation included, of all sessions
    stopped: str  # why it ended before its last step; "" where it did not
    out_of_time: bool  # whether it ended because its time was over
    notes: tuple[str, ...] = ()  # sentences on what went wrong, for a report


def fit(
    run: Run,
    key: jax.Array,
    validate: Callable[[Any], float],
    seconds: Callable[[], float],
    describe: Callable[[], Mapping[str, float]] = dict,
) -> Fitted:
    """Takes the steps of a run, logs and validates; gives the best parameters.

    They are moving averages where the optimizer keeps these
    (`metainit.training.averaging`). Validation chooses how far they are moved back
    towards the run's first parameters (`Run.alphas`).

    Args:
      validate: `(params) -> accuracy`.
      seconds: `() -> seconds` that the run may take by the wall clock, earlier sessions
        counted. A run takes one step at least.
      describe: gives what else `validate` has just measured, by tag.

    Raises:
      NonFiniteError: names run, step, data and the likely cause.
    """
    training = _Training(run, key, validate, seconds, describe)
    with Writer(run.folder, first_step=training.step + 1) as writer:
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
    """A session of `fit`, which logs, validates and checks between its steps.

    Attributes:
      best: checkpoints of the best state by validation.
      ended_by: why it ended before its last step; "" where it did not.
    """

    best: Checkpoints

    def __init__(
        self,
        run: Run,
        key: jax.Array,
        validate: Callable[[Any], float],
        seconds: Callable[[], float],
        describe: Callable[[], Mapping[str, float]],
    ) -> None:
        judged = {"best": -1.0, "validated": run.first_step, "worse": 0}
        unwell = {"skipped": 0, "losses": [], "stuck": 0}
        # The next row of the log is made of these.
        to_log = {"logged": [], "logged_at": (run.first_step, 0.0), health.NORMS: {}}
        super().__init__(run, judged | unwell | to_log)
        self.best, self.ended_by = Checkpoints(run.folder / BEST), ""
        self._key, self._validate, self._may_take = key, validate, seconds
        self._describe = describe
        self._begun_at = self.step
        self._good = self.step, self.state  # every step before it was checked

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
        # Several processes wait for each other to agree, so they do it at log lines.
        if hosts.several() and self.step % self.run.every.log:
            return False
        return hosts.agreed(self.seconds > self._may_take())

    def _require_finite(self, step: int, metrics: Metrics) -> None:
        run, clock = self.run, self.clock
        if nonfinite.is_finite(metrics):
            values = {name: x.tolist() for name, x in metrics.items()}
            clock["logged"].append((step, values))
            return
        if clock["skipped"] >= run.skip:
            state = nonfinite.before(run, step, *self._good, self._key)
            raise nonfinite.error(run, step, state, metrics, self._key)
        clock["skipped"] += 1
        where = run.where(step, nonfinite.by_loss(metrics))
        left_out = f"left out, {clock['skipped']} of {run.skip} (outer.skip_nonfinite)"
        progress.say(f"warning: {run.name}: {where}, is not finite: {left_out}")

    def _owed(self, writer: Writer) -> bool:
        run, step, clock = self.run, self.step, self.clock
        last = step == run.steps
        to_log, to_validate, to_save = (last or step % n == 0 for n in run.every)
        if to_log or to_validate or to_save:
            self.settle()
            self._good = step, self.state
        if clock["logged"] and to_log:
            with stop.later():  # a stop here might lead to the same row twice
                self._log(writer)
        if clock["validated"] < step and to_validate:
            candidate = averaged(self.state)
            progress.detailed("validating")
            accuracy = self._validate(candidate.params)
            progress.detailed("")
            told = {"validation/accuracy": accuracy, **self._describe()}
            progress.say(f"{run.name} {step}: validation accuracy {accuracy:.4f}")
            judged = {"best": clock["best"], "worse": clock["worse"] + 1}
            with stop.later():
                writer.write_scalars(step, told)
                if accuracy > clock["best"]:
                    judged = {"best": accuracy, "worse": 0}
                    self.best.save(step, candidate, clock | judged)
                clock.update(judged, validated=step)
        return step > self._begun_at and to_save

    def _log(self, writer: Writer) -> None:
        run, step, clock = self.run, self.step, self.clock
        logged, (first, before) = clock["logged"], clock["logged_at"]
        count, spent = step - first, clock["device_seconds"] - before
        spent /= devices.mesh().size
        numbers = _average([metrics for _, metrics in logged])
        numbers[f"{run.unit}_per_second"] = count * run.tasks / spent
        scalars = {f"{run.scope}/{name}": value for name, value in numbers.items()}
        if run.rate:
            scalars[f"{run.scope}/learning_rate"] = run.rate(step - 1)
        if run.skip:
            scalars[f"{run.scope}/skipped"] = clock["skipped"]
        scalars |= _by_data(run, logged) | health.by_tag(clock[health.NORMS], run.scope)
        writer.write_scalars(step, scalars)
        left = (run.steps - step) * spent / count
        shown = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        line = f"{run.name} {step}/{run.steps}  {shown}  left {left:.0f} s"
        progress.tell(line, shown)
        now = step, clock["device_seconds"]
        clock.update({"logged": [], "logged_at": now, health.NORMS: {}})
        self._tell_if_stuck(numbers["loss"])

    def _tell_if_stuck(self, loss: float) -> None:
        """Warns once if the training learns nothing."""
        run, clock = self.run, self.clock
        windows = health.windows(run.steps - run.first_step, run.every.log)
        losses = clock["losses"] = [*clock["losses"], loss][-max(windows) :]
        told = clock["stuck"] > 0 or not run.chance
        if not told and health.is_stuck(losses, run.chance, windows):
            clock["stuck"] = self.step
            progress.say(f"warning: {self.notes()[-1]}")


def _moved_back(
    run: Run, best: Checkpoints, validate: Callable[[Any], float]
) -> Checkpoint | None:
    """Moves the best parameters back towards the run's first ones, by validation.

    This is WiSE-FT (Wortsman et al. 2022, arXiv:2109.01903). Of several alphas that do
    equally well it takes the largest. The moved parameters are saved as the best, with
    their alpha, so that it is done once and a resumed run has the same.
    """
    kept = best.restore(run.state)
    if kept is None or "alpha" in kept.extra or set(run.alphas) == {1.0}:
        return kept

    def moved(alpha: float) -> Any:
        return interpolate(run.state.params, kept.state.params, alpha)

    def accuracy_of(alpha: float) -> float:
        return kept.extra["best"] if alpha == 1 else validate(moved(alpha))

    accuracy, alpha = max((accuracy_of(alpha), alpha) for alpha in run.alphas)
    progress.say(f"{run.name}: validation accuracy {accuracy:.4f} with alpha {alpha:g}")
    extra = kept.extra | {"best": accuracy, "alpha": alpha}
    best.save(kept.step, kept.state._replace(params=moved(alpha)), extra)
    return best.restore(run.state)


def _average(logged: list[Metrics]) -> dict[str, float]:
    stacked = {name: np.ravel([m[name] for m in logged]) for name in logged[0]}
    averages = Averages.single_from_model_output(**stacked).compute()
    return {name: float(value) for name, value in averages.items()}


def _of_tasks(run: Run, step: int, metrics: Metrics) -> Iterable[Any]:
    """Gives each task's data set, loss and accuracy; nothing for a batch of images."""
    if not np.ndim(metrics["loss"]):
        return ()
    return zip(run.data(step), metrics["loss"], metrics["accuracy"], strict=True)


def _by_data(run: Run, logged: list[tuple[int, Metrics]]) -> dict[str, float]:
    """Averages loss and accuracy by data set, where there are several."""
    of_data: dict[str, list[list[float]]] = {}
    for step, metrics in logged:
        for name, *scores in _of_tasks(run, step, metrics):
            of_data.setdefault(name, []).append(scores)
    if len(of_data) < 2:
        return {}
    tags: dict[str, float] = {}
    for name, values in of_data.items():
        loss, accuracy = np.asarray(values, np.float32).mean(0)
        tags[f"{run.scope}/loss/{name}"] = float(loss)
        tags[f"{run.scope}/accuracy/{name}"] = float(accuracy)
    return tags
