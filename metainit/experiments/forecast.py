"""What an experiment will take: told and checked before it begins."""

import os
from typing import NamedTuple

import jax

from metainit.config import parsing
from metainit.config.fields import ConfigError, Experiment
from metainit.core.inner_loop import model_part
from metainit.data import episode_set
from metainit.data.loading import Roles
from metainit.evaluation import adaptation, halving
from metainit.training import steps
from metainit.training.initialisation import Initialisation
from metainit.training.steps import Step

MARGIN = 1.5  # for heads in closed form, and steps too small to be worth their time
_SHARE = 0.9  # of the memory; the rest holds states, data and what allocation loses


class NoTimeError(ConfigError):
    """What has to be done does not fit into max_hours."""


class Forecast(NamedTuple):
    """Seconds by the wall clock, and how often they are spent.

    Attributes:
      runs: initialisations that training makes, each in an equal share of the time; of
        ours from pretrained weights the warm start is a part.
      adaptations: at meta-test, over all initialisations, heads and settings.
      adaptation_seconds: of one episode, at the pace of a meta-iteration.
      encoding_seconds: of features that are yet to be computed, of a dry run.
    """

    runs: int
    meta_seconds: float
    joint_seconds: float
    adaptations: int
    adaptation_seconds: float
    encoding_seconds: float = 0.0

    @property
    def meta_test_seconds(self) -> float:
        adapting = MARGIN * self.adaptations * self.adaptation_seconds
        return adapting + self.encoding_seconds


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
    validation, test = len(roles.validation), len(roles.test + roles.held_out)
    sizes = [-(-asked.validation_episodes // validation)] * validation
    choosing = halving.cost(settings, sizes, asked.rungs)
    return initialisations * heads * (choosing + test * episodes)


def measure(
    config: Experiment, start: Initialisation, roles: Roles, meta: Step, joint: Step
) -> Forecast:
    """Times both steps; `start` is what `meta` starts from, head aside."""
    start = start._replace(head=model_part(meta.state.params).get("head"))
    seconds = steps.seconds(meta, joint)
    made = 1 + sum((config.cold_start, config.warm_start > 0))
    made += len(config.learned_rates)
    made += config.joint.equal_flops
    # Random ones are measured too, and pretrained weights as they are.
    count = adaptations(config, roles, made + 1 + (start.provenance is not None))
    if not count:
        return Forecast(made, *seconds, 0, 0.0)
    one = parsing.replaced(config, {"evaluate.validation_episodes": 1})
    (sample,) = episode_set.draw_validation(one, roles.validation[:1])
    flops = adaptation.operations(config, start, sample.episodes, sample.way)
    return Forecast(made, *seconds, count, flops / meta.flops * seconds[0])


def check_memory(needed: int, available: int) -> None:
    """Raises ConfigError where bytes do not suffice for a meta-iteration's plan."""
    if needed > _SHARE * available:
        raise ConfigError(
            f"a meta-iteration needs {needed / 1e9:.1f} GB, and the device has "
            f"{available / 1e9:.1f} GB; lower data.size, inner.steps or train_task.way,"
            " or see method.gradient, method.tasks, compute=bfloat16, "
            "encoder.checkpoint and encoder.adapt_from"
        )


def device_memory() -> int:
    """Bytes of the first device: of an accelerator its own, of a CPU the machine's."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_hours(config: Experiment, forecast: Forecast) -> None:
    """Raises NoTimeError for hours that cannot hold the warm start and meta-test."""
    warm_start = config.warm_start * forecast.meta_seconds * forecast.runs / 3600
    after = forecast.meta_test_seconds / 3600
    if warm_start + after > config.max_hours:
        raise NoTimeError(
            f"max_hours={config.max_hours:g} is too short: meta-test takes about "
            f"{after:.3g} hours, and warm_start={config.warm_start} {warm_start:.3g}; "
            f"give more than {warm_start + after:.3g}, or less of evaluate.episodes"
        )


def in_words(
    config: Experiment, forecast: Forecast, meta: Step, joint: Step, ratio: float
) -> str:
    """Says seconds, bytes and hours in a line."""
    hours = forecast.runs * config.iterations * forecast.meta_seconds / 3600
    after = forecast.meta_test_seconds / 3600
    return (
        f"compiled in {meta.program.compile_seconds:.1f} + "
        f"{joint.program.compile_seconds:.1f} s; a meta-iteration takes "
        f"{forecast.meta_seconds:.4f} s and {meta.program.memory / 1e6:.0f} MB, a "
        f"joint step {forecast.joint_seconds:.4f} s: {ratio:.1f} joint steps for equal "
        f"device time; {config.iterations} iterations for each of {forecast.runs} "
        f"initialisations: about {hours:.3f} hours; meta-test, which adapts to "
        f"{forecast.adaptations} episodes: about {after:.3f}; {hours + after:.3f} in "
        f"all, of max_hours={config.max_hours:g}"
    )
