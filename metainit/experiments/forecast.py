"""What an experiment will take: told and checked before it begins."""

from typing import NamedTuple

from metainit.config import parsing
from metainit.config.fields import ConfigError, Experiment
from metainit.data import episode_set
from metainit.data.loading import Roles
from metainit.evaluation import adaptation
from metainit.training.initialisation import Initialisation
from metainit.training.steps import Step

# For the heads in closed form, and for small steps that take longer than by their share
# of operations.
MARGIN = 1.5


class NoTimeError(ConfigError):
    """What has to be done does not fit into max_hours."""


class Forecast(NamedTuple):
    """Of meta-test.

    Attributes:
      adaptations: episodes that are adapted to, over all initialisations, heads and
        settings.
      seconds_each: that one takes.
    """

    adaptations: int
    seconds_each: float

    @property
    def seconds(self) -> float:
        """Of all, by the wall clock."""
        return MARGIN * self.adaptations * self.seconds_each


def adaptations(config: Experiment, roles: Roles, initialisations: int) -> int:
    """Episodes that meta-test adapts to, each head with each setting.

    Args:
      config: of the experiment.
      roles: its data.
      initialisations: that meta-test compares.
    """
    asked = config.evaluate
    if not asked.episodes:
        return 0
    heads = 2 + (config.method.head == "learned")
    settings = len(asked.sgd_rates) + len(asked.adam_rates)
    validation, test = len(roles.validation), len(roles.test + roles.held_out)
    choosing = validation * -(-asked.validation_episodes // validation)
    return initialisations * heads * (settings * choosing + test * asked.episodes)


def by_operations(
    config: Experiment,
    start: Initialisation,
    roles: Roles,
    initialisations: int,
    meta: Step,
    meta_seconds: float,
) -> Forecast:
    """Before anything was adapted to: at the pace of a meta-iteration.

    Args:
      config: of the experiment.
      start: what meta-learning starts from.
      roles: its data.
      initialisations: that meta-test compares.
      meta: the meta-iteration.
      meta_seconds: that one takes.
    """
    count = adaptations(config, roles, initialisations)
    if not count:
        return Forecast(0, 0.0)
    one = parsing.replaced(config, {"evaluate.validation_episodes": 1})
    (sample,) = episode_set.draw_validation(one, roles.validation[:1])
    each = adaptation.operations(config, start, sample.episodes, sample.way)
    return Forecast(count, each / meta.flops * meta_seconds)


def check_hours(
    config: Experiment, learned: int, meta_seconds: float, meta_test: Forecast
) -> None:
    """Raises NoTimeError where max_hours cannot hold the warm start and meta-test.

    Args:
      config: of the experiment.
      learned: initialisations that training makes, each in an equal share of the time.
      meta_seconds: that a meta-iteration takes.
      meta_test: what comes after training.
    """
    warm_start = config.warm_start * meta_seconds * learned / 3600
    after = meta_test.seconds / 3600
    if warm_start + after > config.max_hours:
        raise NoTimeError(
            f"max_hours={config.max_hours:g} is too short: meta-test takes about "
            f"{after:.3g} hours, and warm_start={config.warm_start} {warm_start:.3g}; "
            f"give more than {warm_start + after:.3g}, a shorter warm start, or fewer "
            "evaluate.episodes and rates"
        )


def plan(
    config: Experiment,
    learned: int,
    meta: Step,
    joint: Step,
    meta_seconds: float,
    joint_seconds: float,
    ratio: float,
    meta_test: Forecast,
) -> str:
    """A line of seconds, bytes and hours.

    Args:
      config: of the experiment.
      learned: initialisations that training makes.
      meta, joint: the two training steps.
      meta_seconds, joint_seconds: that they take.
      ratio: joint steps for a meta-iteration.
      meta_test: what comes after training.
    """
    hours = learned * config.iterations * meta_seconds / 3600
    after = meta_test.seconds / 3600
    return (
        f"compiled in {meta.program.compile_seconds:.1f} + "
        f"{joint.program.compile_seconds:.1f} s; a meta-iteration takes "
        f"{meta_seconds:.4f} s and {meta.program.memory / 1e6:.0f} MB, a joint step "
        f"{joint_seconds:.4f} s: {ratio:.1f} joint steps for equal device time; "
        f"{config.iterations} iterations for each of {learned} initialisations: about "
        f"{hours:.3f} hours; meta-test, which adapts to {meta_test.adaptations} "
        f"episodes: about {after:.3f}; {hours + after:.3f} in all, of max_hours="
        f"{config.max_hours:g}"
    )
