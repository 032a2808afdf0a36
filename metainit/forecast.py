"""How long meta-test will take: training has to end in time for it."""

from typing import Any, NamedTuple

from ml_collections import ConfigDict

from metainit import adaptation, samples
from metainit.models.model import Model
from metainit.preprocess import Preprocess
from metainit.sources import Roles
from metainit.steps import MetaStep

# For the heads in closed form, and for small steps that take longer than by their share
# of operations.
MARGIN = 1.5


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


def adaptations(config: ConfigDict, roles: Roles, initialisations: int) -> int:
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
    config: ConfigDict,
    model: Model,
    preprocess: Preprocess,
    params: Any,
    roles: Roles,
    initialisations: int,
    meta: MetaStep,
    meta_seconds: float,
) -> Forecast:
    """Before anything was adapted to: at the pace of a meta-iteration.

    Args:
      config: of the experiment.
      model: the network body.
      preprocess: of images.
      params: {"body": ...}, with "head" where it is learned.
      roles: its data.
      initialisations: that meta-test compares.
      meta: the meta-iteration.
      meta_seconds: that one takes.
    """
    count = adaptations(config, roles, initialisations)
    if not count:
        return Forecast(0, 0.0)
    one = config.copy_and_resolve_references()
    one.evaluate.validation_episodes = 1
    (sample,) = samples.draw_validation(one, roles.validation[:1])
    each = adaptation.operations(
        config, model, preprocess, params, sample.episodes, sample.way
    )
    return Forecast(count, each / meta.flops * meta_seconds)
