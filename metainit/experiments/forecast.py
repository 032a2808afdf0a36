"""What an experiment will take: told and checked before it begins."""

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

MARGIN = 1.5  # that max_hours leaves for meta-test, as a machine may become busy
SHARE = 0.9  # of the memory; the rest holds states, data and what allocation loses
_WIDTH = 256  # features that heads in closed form are timed on
_TIMED = 3.0  # seconds after which nothing is timed again


class NoTimeError(ConfigError):
    """What has to be done does not fit into max_hours."""


class Forecast(NamedTuple):
    """Seconds by the wall clock, and how often they are spent.

    What has not been timed is NaN.

    Attributes:
      runs: initialisations that training makes, each in an equal share of the time; of
        ours from pretrained weights the warm start is a part.
      adaptations: at meta-test, over all initialisations, heads and settings, where it
        has all the episodes that it may have.
      adaptation_seconds: of one episode.
      encoding_seconds: of features that are yet to be computed, of a dry run.
      floor: the fewest episodes that meta-test may have of each of its sets.
      fewest: the adaptations where it has those.
      heads_seconds: at meta-test, of features and the heads in closed form on them,
        where it has all the episodes.
      looks: episodes that validations while training adapt to.
      begun_seconds: until it was planned: of data, of a run's encoding and compiling.
      compile_seconds: of what is compiled after that.
      transfer_seconds: of fine-tuning.
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
        """Seconds of meta-test in a run of so many, as `evaluate.max_share` limits it.

        How many episodes `evaluate.half_width` asks for is told by meta-validation
        alone.
        """
        most = self.adaptations * self.adaptation_seconds + self.heads_seconds
        share = section.max_share
        return min(most, max(self.least_seconds, share * run)) if share < 1 else most

    @property
    def least_seconds(self) -> float:
        """Seconds of meta-test with the fewest episodes that it may have."""
        of_heads = self.heads_seconds / max(1, self.adaptations)
        return self.fewest * (self.adaptation_seconds + of_heads)

    def reserved(self, config: Experiment) -> float:
        """Seconds that training has to leave of max_hours."""
        testing = self.meta_test_seconds(config.evaluate, 3600 * config.max_hours)
        return MARGIN * testing + self.encoding_seconds


def adaptations(
    config: Experiment, roles: Roles, initialisations: int, episodes: int | None = None
) -> int:
    """Counts the episodes that meta-test adapts to, each head with each setting.

    It is of so many `episodes` of each meta-test set, by default of all there may be;
    with 0 it is what choosing on meta-validation takes.
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
    """Lists the trainings of an experiment, and how many iterations' worth each is."""
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
    """Counts the episodes that validations while training adapt to."""
    of_runs = trained(config)
    times = sum(-(-count // config.validate_every) for count in of_runs.values())
    times += config.cold_start + (config.warm_start > 0)  # before the first step
    # Whoever began with trained weights is looked at on the way back to them.
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
    """Times both steps, an episode and the heads; each forecast knows one part more.

    `start` is what `meta` starts from, head aside.
    """
    start = start._replace(head=meta_params(meta.state).model.get("head"))
    made, has_weights = len(trained(config)), start.provenance is not None
    made -= config.warm_start > 0
    # Random ones are measured too, and pretrained weights as they are.
    compared = made + 1 + has_weights
    floor = episode_count.floor(config.evaluate, len(roles.test + roles.held_out))
    forecast = Forecast(
        runs=made,
        adaptations=adaptations(config, roles, compared),
        floor=floor,
        fewest=adaptations(config, roles, compared, floor),
        looks=looks(config, roles, has_weights),
        # Step sizes alone are learned by a program of their own.
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
    """Times an episode's features, and adapting to it."""
    sample = _drawn(config, roles, 1)
    count = devices.mesh().size * adaptation.together(sample.episodes)
    sample, evaluator = _drawn(config, roles, count), evaluator_of(sample.way)
    embedding = _least(lambda: evaluator.embed(start, sample)) / count
    seen = evaluator.embed(start, sample) if evaluator.is_fixed(start) else sample
    setting = Setting("prototype", "sgd", 0.0)
    adapting = _least(lambda: evaluator.adapt(start, seen.episodes, setting)) / count
    return embedding, adapting


def _drawn(config: Experiment, roles: Roles, count: int) -> Sample:
    """Draws the first episodes of meta-validation."""
    several = dataclasses.replace(config.evaluate, validation_episodes=count)
    (sample,) = episode_set.draw_validation(config.task, several, roles.validation[:1])
    return sample


def _heads_seconds(config: Experiment, roles: Roles, embedding: float) -> float:
    """Estimates the seconds of features and heads in closed form, an initialisation.

    The heads are timed on features that are like those of an episode.
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
    """Times some calls, the first of which compiles, and gives the least seconds."""
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
    """Seconds that fine-tuning from an initialisation takes, by those of a joint step.

    Measuring an image is a third of learning from it.
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
    """Tells whether the device has so many bytes for a meta-iteration."""
    return needed <= SHARE * device_memory()


def check_memory(needed: int) -> None:
    """Raises ConfigError where the device has not so many bytes."""
    available = device_memory()
    if not fits(needed):
        raise ConfigError(
            f"a meta-iteration needs {needed / 1e9:.1f} GB, and the device has "
            f"{available / 1e9:.1f} GB; lower data.size, inner.steps or train_task.way,"
            " or see method.gradient, method.tasks, compute=bfloat16, "
            "encoder.checkpoint and encoder.adapt_from"
        )


def device_memory() -> int:
    """Bytes of a device: of an accelerator its own, of a CPU the machine's."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_hours(config: Experiment, forecast: Forecast) -> None:
    """Raises NoTimeError for hours that cannot hold the warm start and meta-test."""
    warm_start = config.warm_start * forecast.meta_seconds * forecast.runs / 3600
    after = forecast.reserved(config) / 3600
    if warm_start + after > config.max_hours:
        raise NoTimeError(
            f"max_hours={config.max_hours:g} is too short: meta-test takes about "
            f"{after:.3g} hours, and warm_start={config.warm_start} {warm_start:.3g}; "
            f"give more than {warm_start + after:.3g}, or less of evaluate.episodes"
        )
