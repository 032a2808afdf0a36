"""Forecasts and checks the time and memory of an experiment before it begins."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from threadpoolctl import threadpool_limits

from metainit.config.fields import ConfigError, Evaluate, Experiment
from metainit.core.inner_loop import meta_params
from metainit.data import episode_set
from metainit.data.episode_set import Sample
from metainit.data.loading import Roles
from metainit.evaluation import adaptation, episode_count, halving
from metainit.evaluation.few_shot import EvaluatorOf
from metainit.models.heads import CLASSIFIERS, STEPPED
from metainit.runtime import devices, hosts
from metainit.runtime.budget import LEAST_STEPS
from metainit.runtime.cost import NAMES, RATES, WARM_RATES
from metainit.training import steps
from metainit.training.initialisation import Initialisation
from metainit.training.method import Setting
from metainit.training.steps import Step
from metainit.transfer import fine_tuning, learning

MARGIN = 1.5  # on the time kept for meta-test, as a machine may become busy
SHARE = 0.9  # of the memory for a step; states, data and gaps have the rest
_WIDTH = 256  # features that heads in closed form are timed on
_TIMED = 3.0  # seconds after which nothing is timed again


class NoTimeError(ConfigError):
    """The warm start and meta-test do not fit into max_hours."""


class Forecast(NamedTuple):
    """Seconds by the wall clock, and how often they are spent.

    A time that has not been measured is NaN.

    Attributes:
      runs: how many initialisations training makes, each in an equal share of the time.
        A warm start is part of the run that goes on from it.
      adaptations: how many episodes meta-test adapts to at most, over all
        initialisations, heads and settings.
      adaptation_seconds: what adapting to one episode takes.
      encoding_seconds: what computing the missing features takes, in a dry run.
      floor: the fewest episodes that meta-test may have of each of its sets.
      fewest: `adaptations` with only those episodes.
      heads_seconds: what features and heads in closed form take at meta-test at most.
      looks: how many episodes validations adapt to while training.
      begun_seconds: what data, encoding and compiling took before the plan.
      compile_seconds: what is compiled after the plan takes.
      transfer_seconds: what fine-tuning takes.
    """

    runs: int
    adaptations: int = 0
    floor: int = 0
    fewest: int = 0
    looks: int = 0
    compile_seconds: float = 0.0
    meta_seconds: float = math.nan
    joint_seconds: float = math.nan
    transfer_seconds: float = math.nan
    adaptation_seconds: float = math.nan
    heads_seconds: float = math.nan
    encoding_seconds: float = 0.0
    begun_seconds: float = 0.0

    def meta_test_seconds(self, section: Evaluate, run: float) -> float:
        """Gives the most seconds of meta-test in a run of `run` seconds.

        `evaluate.max_share` limits them. Only meta-validation can tell how many
        episodes `evaluate.half_width` asks for.
        """
        most = self.adaptations * self.adaptation_seconds + self.heads_seconds
        share = section.max_share
        return min(most, max(self.least_seconds, share * run)) if share < 1 else most

    @property
    def least_seconds(self) -> float:
        """Gives the seconds of meta-test with the fewest episodes that it may have."""
        of_heads = self.heads_seconds / max(1, self.adaptations)
        return self.fewest * (self.adaptation_seconds + of_heads)

    def reserved(self, config: Experiment) -> float:
        """Gives the seconds of max_hours that training has to leave."""
        testing = self.meta_test_seconds(config.evaluate, 3600 * config.max_hours)
        return MARGIN * testing + self.encoding_seconds


def adaptations(
    config: Experiment, roles: Roles, initialisations: int, episodes: int | None = None
) -> int:
    """Counts the episodes that meta-test adapts to, over all heads and settings.

    `episodes` is their number in each meta-test set, by default the most there may be.
    With 0, only those are counted that settings are chosen by on meta-validation.
    """
    asked = config.evaluate
    if not asked.episodes:
        return 0
    episodes = asked.episodes if episodes is None else episodes
    heads = len({"prototype", "zero", config.method.head})
    settings = len(asked.sgd_rates) + len(asked.adam_rates)
    test = len(roles.test + roles.held_out)
    choosing = halving.cost(settings, _choosing(config, roles), asked.rungs)
    return initialisations * heads * (choosing + test * episodes)


def _choosing(config: Experiment, roles: Roles) -> list[int]:
    """Counts the episodes of each meta-validation set."""
    sets = len(roles.validation)
    return [-(-config.evaluate.validation_episodes // sets)] * sets


def trained(config: Experiment) -> dict[str, int]:
    """Lists the trainings of an experiment, and how many iterations each is worth."""
    whole, warm_start = config.iterations, config.warm_start
    iterations = {"joint pretraining": whole}
    if config.cold_start:
        iterations["meta-learned"] = whole
    if warm_start:
        iterations["warm start"] = warm_start
        iterations["meta-learned from pretrained"] = whole - warm_start
    for start in config.learned_rates:
        done = warm_start if start == "warm start" else 0
        folder = WARM_RATES if start == "warm start" else RATES
        iterations[NAMES[folder]] = whole - done
    if config.joint.equal_flops:
        iterations["joint pretraining, equal FLOPs"] = whole
    return iterations


def looks(config: Experiment, roles: Roles, has_weights: bool) -> int:
    """Counts the episodes that validations adapt to while training."""
    of_runs = trained(config)
    times = sum(-(-count // config.validate_every) for count in of_runs.values())
    times += config.cold_start + (config.warm_start > 0)  # before the first step
    # Mixtures with the trained weights that a run began with are validated too.
    back = len([alpha for alpha in config.evaluate.alphas if alpha != 1])
    times += back * (len(of_runs) if has_weights else config.warm_start > 0)
    return times * sum(_choosing(config, roles))


def measured(
    config: Experiment,
    start: Initialisation,
    roles: Roles,
    meta: Step,
    joint: Step,
    evaluator_of: EvaluatorOf,
) -> Iterator[Forecast]:
    """Times the steps, an episode and the heads; yields a forecast after each part.

    `start` is what `meta` starts from, without its head.
    """
    start = start._replace(head=meta_params(meta.state).model.get("head"))
    made, has_weights = len(trained(config)), start.provenance is not None
    made -= config.warm_start > 0
    # Random weights are compared too, and pretrained weights as they are.
    compared = made + 1 + has_weights
    floor = episode_count.floor(config.evaluate, len(roles.test + roles.held_out))
    forecast = Forecast(
        runs=made,
        adaptations=adaptations(config, roles, compared),
        floor=floor,
        fewest=adaptations(config, roles, compared, floor),
        looks=looks(config, roles, has_weights),
        # A run that learns step sizes alone compiles a program of its own.
        compile_seconds=len(config.learned_rates) * meta.program.compile_seconds,
    )
    yield forecast
    of_meta, of_joint = steps.seconds(meta, joint)
    forecast = forecast._replace(
        meta_seconds=of_meta,
        joint_seconds=of_joint,
        transfer_seconds=compared * _fine_tuning_seconds(config, roles, of_joint),
    )
    yield forecast
    embedding, adapting = _episode_seconds(config, start, roles, evaluator_of)
    forecast = forecast._replace(
        adaptation_seconds=adapting,
        heads_seconds=compared * _heads_seconds(config, roles, embedding),
    )
    yield Forecast(*hosts.agreed(forecast))  # times differ between hosts


def _episode_seconds(
    config: Experiment, start: Initialisation, roles: Roles, evaluator_of: EvaluatorOf
) -> tuple[float, float]:
    """Times the features of an episode, and adapting to it, in seconds."""
    sample = _drawn(config, roles, 1)
    count = devices.mesh().size * adaptation.together(sample.episodes)
    sample, evaluator = _drawn(config, roles, count), evaluator_of(sample.way)
    embedding = _least(lambda: evaluator.embed(start, sample)) / count
    seen = evaluator.embed(start, sample) if evaluator.is_fixed(start) else sample
    setting = Setting("prototype", "sgd", 0.0)
    adapting = _least(lambda: evaluator.adapt(start, seen.episodes, setting)) / count
    return embedding, adapting


def _drawn(config: Experiment, roles: Roles, count: int) -> Sample:
    """Draws the first `count` episodes of meta-validation."""
    several = dataclasses.replace(config.evaluate, validation_episodes=count)
    (sample,) = episode_set.draw_validation(config.task, several, roles.validation[:1])
    return sample


def _heads_seconds(config: Experiment, roles: Roles, embedding: float) -> float:
    """Estimates the seconds of an initialisation's features and heads in closed form.

    The heads are timed on random features in the numbers of an episode.
    """
    asked, choosing = config.evaluate, _choosing(config, roles)
    if not asked.episodes:
        return 0.0
    sample = _drawn(config, roles, 1)
    testing = asked.episodes * len(roles.test + roles.held_out)
    rng, total = np.random.default_rng(0), (sum(choosing) + testing) * embedding
    means = rng.standard_normal((sample.way, _WIDTH))
    labels = [np.asarray(part["label"][0]) for part in sample.episodes]
    support, query = (
        means[of_part] + rng.standard_normal((len(of_part), _WIDTH))
        for of_part in labels
    )
    for classify, grid in CLASSIFIERS.values():
        settings = grid(asked)
        task = support, labels[0], query, *settings[0].values()
        with threadpool_limits(1):  # as at meta-test
            each = _least(partial(classify, *task))
        fits = len(settings) * sum(choosing) + testing  # no setting is dropped early
        total += fits * each
    return total


def _least(call: Callable[[], Any]) -> float:
    """Times some calls after a first one, which compiles; gives the least seconds."""
    call()
    times: list[float] = []
    while len(times) < LEAST_STEPS and sum(times) < _TIMED:
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def _fine_tuning_seconds(
    config: Experiment, roles: Roles, joint_seconds: float
) -> float:
    """Estimates the seconds of fine-tuning an initialisation by those of a joint step.

    Measuring an image takes a third of the time of learning from it.
    """
    asked, images = config.transfer, 0.0
    if not asked.steps:
        return 0.0
    testing = roles.test + roles.held_out
    points = len(fine_tuning.log_steps(asked.steps))
    for name, settings in learning.grid(asked).items():
        if name in STEPPED:
            trials = len(settings) * len(roles.validation) * asked.trial_steps
            images += asked.batch * (trials + asked.steps * len(testing))
            held_out = asked.held_out * sum(len(x.images) for x in testing)
            images += points * held_out / 3
    return images * joint_seconds / config.joint.batch


def fits(needed: int) -> bool:
    """Tells whether the device has the bytes that a meta-iteration needs."""
    return needed <= SHARE * device_memory()


def check_memory(needed: int) -> None:
    """Raises ConfigError if the device lacks the bytes that a meta-iteration needs."""
    available = device_memory()
    if not fits(needed):
        raise ConfigError(
            f"a meta-iteration needs {needed / 1e9:.1f} GB, and the device has "
            f"{available / 1e9:.1f} GB; lower data.size, inner.steps or train_task.way,"
            " or see method.gradient, method.tasks, compute=bfloat16, "
            "encoder.checkpoint and encoder.adapt_from"
        )


def device_memory() -> int:
    """Gives the bytes of an accelerator's memory, or of the machine's for a CPU."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_hours(config: Experiment, forecast: Forecast) -> None:
    """Raises NoTimeError if the warm start and meta-test do not fit into max_hours."""
    warm_start = config.warm_start * forecast.meta_seconds * forecast.runs / 3600
    after = forecast.reserved(config) / 3600
    if warm_start + after > config.max_hours:
        raise NoTimeError(
            f"max_hours={config.max_hours:g} is too short: meta-test takes about "
            f"{after:.3g} hours, and warm_start={config.warm_start} {warm_start:.3g}; "
            f"give more than {warm_start + after:.3g}, or less of evaluate.episodes"
        )
