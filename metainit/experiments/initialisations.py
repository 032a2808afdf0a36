"""Trains every initialisation that the report of an experiment compares."""

import math
import operator
import pathlib
import time
from collections.abc import Callable
from typing import Any

from metainit.config.fields import Experiment
from metainit.core.types import MetaParams
from metainit.data import episode_set
from metainit.data.loading import Source
from metainit.evaluation.few_shot import EvaluatorOf, saturated, validated
from metainit.evaluation.results import Measurements
from metainit.experiments import runs
from metainit.experiments.forecast import Forecast
from metainit.experiments.runs import Programs
from metainit.runtime.cost import (
    EQUAL_FLOPS,
    JOINT,
    META,
    RATES,
    WARM_RATES,
    Cost,
)
from metainit.training.initialisation import Initialisation
from metainit.training.loop import fit
from metainit.training.method import Setting
from metainit.training.session import Run


class Trainer:
    """Trains run after run, each in its share of the time that is left.

    Attributes:
      validated: by a run's name, its accuracy on meta-validation, its device seconds,
        why it stopped, whether its time ran out, and notes.
      notes: sentences for the report.
    """

    def __init__(
        self,
        config: Experiment,
        validation: tuple[Source, ...],
        evaluator_of: EvaluatorOf,
        forecast: Forecast,
        begin: float,
    ) -> None:
        """Draws the episodes by which the best states are chosen.

        `begin` is `time.perf_counter()` from when the experiment began or resumed.
        """
        self.validated: dict[str, dict[str, Any]] = {}
        self.notes: list[str] = []
        self._config, self._forecast = config, forecast
        self._evaluator_of = evaluator_of
        self._samples = episode_set.draw_validation(
            config.task, config.evaluate, validation
        )
        self._left, self._spent = forecast.runs, time.perf_counter() - begin
        self._ahead = 0.0  # seconds that the next run's warm start took of its share
        self._measured_before = False
        self._adaptation_seconds = math.inf  # the least of an episode so far
        self._seen: dict[str, float] = {}  # values of the last validation, by tag

    def fit(
        self,
        run: Run,
        key: Any,
        init_of: Callable[[Any], Initialisation],
        is_warm_start: bool = False,
    ) -> Initialisation:
        """Trains a run, and makes an initialisation of its parameters by `init_of`.

        A warm start always reaches its end, where its rate falls to 0. The run that
        follows has that much less time.
        """
        seconds = (lambda: math.inf) if is_warm_start else self._share
        fitted = fit(
            run, key, lambda x: self._validate(init_of(x)), seconds, lambda: self._seen
        )
        self._ahead += fitted.seconds
        if not is_warm_start:
            self._left, self._spent = self._left - 1, self._spent + self._ahead
            self._ahead = 0.0
        self.validated[run.name] = {
            "accuracy": fitted.accuracy,
            "device_seconds": fitted.cost.device_seconds,
            "stopped": fitted.stopped,
            "out_of_time": fitted.out_of_time,
            "notes": fitted.notes,
        }
        self.notes += [fitted.stopped] * (fitted.stopped != "")
        self.notes += fitted.notes
        if set(run.alphas) != {1.0} and fitted.accuracy is not None:
            self.notes.append(
                f"{run.name}: of {run.alphas}, alpha={fitted.alpha:g} did best on "
                "meta-validation: 0 is where it began, 1 what it had learned."
            )
        return init_of(fitted.params)._replace(name=run.name, cost=fitted.cost)

    def look_at_start(self, init: Initialisation) -> None:
        """Warns if inner steps could hardly learn from what a run begins with."""
        head = self._setting(init).head
        way = max(sample.way for sample in self._samples)
        if told := saturated(init.name, head, self._measured(init), way):
            print(f"warning: {told}", flush=True)

    def _validate(self, init: Initialisation) -> float:
        """Gives the accuracy on meta-validation after the best number of steps."""
        means = {x: y.mean(1) for x, y in self._measured(init).items()}
        best = int(means["accuracy"].argmax())
        self._seen = {"validation/loss": float(means["loss"][best])}
        for name in ("accuracy", "loss"):
            by_step = zip(self._config.evaluate.steps, means[name], strict=True)
            self._seen |= {
                f"adaptation/{name}_after_{step}": float(x) for step, x in by_step
            }
        return float(means["accuracy"][best])

    def _setting(self, init: Initialisation) -> Setting:
        """Gives the setting of meta-training, with a zero head if none was learned."""
        setting = self._evaluator_of(self._samples[0].way).method.setting
        if setting.head == "learned" and init.head is None:
            return setting._replace(head="zero")
        return setting

    def _measured(self, init: Initialisation) -> Measurements:
        begin, setting = time.perf_counter(), self._setting(init)
        measured = validated(self._evaluator_of, init, self._samples, setting)
        seconds = time.perf_counter() - begin
        episodes = sum(len(x.episodes.support["label"]) for x in self._samples)
        if self._measured_before:  # the first time, it compiled
            self._adaptation_seconds = min(self._adaptation_seconds, seconds / episodes)
        self._measured_before = True
        return measured

    def _share(self) -> float:
        """Gives the seconds that the next run may take."""
        forecast, known = self._forecast, self._adaptation_seconds
        if known < math.inf:
            forecast = forecast._replace(adaptation_seconds=known)
        left = self._config.max_hours * 3600 - self._spent
        return (left - forecast.reserved(self._config)) / self._left - self._ahead


def make(
    config: Experiment,
    workdir: pathlib.Path,
    trainer: Trainer,
    programs: Programs,
    ratio: float,
) -> dict[str, Initialisation]:
    """Makes the initialisations, or goes on where they stopped; returns them by name.

    `ratio` steps of joint pretraining take as long as a meta-iteration. Each
    initialisation is the state that does best on meta-validation. So is the warm start:
    it is the annealed end, unless that has come to suit meta-train's classes alone.
    Pretrained weights, as they are, are one of the initialisations.
    """
    _, start, _, meta, joint = programs
    inits: dict[str, Initialisation] = {}

    def of_body(params: Any) -> Initialisation:
        return start._replace(body=params["body"])

    def of_params(params: Any) -> Initialisation:
        params, inner = params if isinstance(params, MetaParams) else (params, None)
        init = start._replace(body=params["body"], head=params.get("head"))
        return init._replace(inner=inner, phases=config.method.phases)

    def of_rates(weights: Initialisation) -> Callable[[Any], Initialisation]:
        return lambda params: weights._replace(
            body=params.model["body"], inner=params.inner, phases=config.method.phases
        )

    joint_run = runs.of_joint(config, workdir / JOINT, programs, ratio)
    jointly_trained = trainer.fit(joint_run, meta.key, of_body)
    meta_run = runs.of_meta(config, workdir / META, programs)
    if config.cold_start:
        trainer.look_at_start(of_params(meta.state.params))
        inits[meta_run.name] = trainer.fit(meta_run, meta.key, of_params)
    if config.warm_start:
        run = runs.warm_start(config, joint_run, joint, ratio)
        warm = trainer.fit(run, meta.key, of_body, is_warm_start=True)
        trainer.look_at_start(warm)
        state = programs.state_of(warm.body)
        run = runs.from_pretrained(config, meta_run, state)
        run = run._replace(alphas=config.evaluate.alphas)
        init = trainer.fit(run, meta.key, of_params)
        cost = Cost(*map(operator.add, init.cost[:4], warm.cost[:4]))
        inits[run.name] = init._replace(cost=cost)
        if "warm start" in config.learned_rates:
            run = runs.learned_rates(config, programs, run, warm, WARM_RATES)
            init = trainer.fit(run, meta.key, of_rates(warm))
            cost = Cost(*map(operator.add, init.cost[:4], warm.cost[:4]))
            inits[run.name] = init._replace(cost=cost)
    inits[joint_run.name] = jointly_trained
    if config.joint.equal_flops:
        run = runs.equal_flops(config, workdir / EQUAL_FLOPS, programs)
        inits[run.name] = trainer.fit(run, meta.key, of_body)
    if start.provenance is not None:
        inits[start.name] = start
    if "pretrained" in config.learned_rates:
        run = runs.learned_rates(config, programs, meta_run, start, RATES)
        inits[run.name] = trainer.fit(run, meta.key, of_rates(start))
    return inits
