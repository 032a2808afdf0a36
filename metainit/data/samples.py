"""The episodes of meta-validation and meta-test: always the same ones."""

from typing import NamedTuple

from ml_collections import ConfigDict

from metainit.core.types import Episode
from metainit.data import episodes, manifest, variable_episodes
from metainit.data.episodes import EpisodeSpec
from metainit.data.loading import Roles, Source
from metainit.data.manifest import Manifest
from metainit.data.variable_episodes import VariableSpec

VALIDATION_SEED, TEST_SEED = 1, 2


class Sample(NamedTuple):
    """Episodes of one data set, all of one shape.

    Attributes:
      manifest: which images they are of.
      way: classes of the largest episode.
      episodes: with a leading axis; filled up where they differ
        (`metainit.data.variable_episodes`).
    """

    manifest: Manifest
    way: int
    episodes: Episode


class Samples(NamedTuple):
    """The episodes of an evaluation, a sample for each data set.

    Attributes:
      validation: what everything is chosen on.
      test: of the classes of meta-test.
      held_out: of held-out classes of the meta-train sets.
    """

    validation: tuple[Sample, ...]
    test: tuple[Sample, ...]
    held_out: tuple[Sample, ...]


def spec_of(config: ConfigDict) -> EpisodeSpec | VariableSpec:
    """What episodes of meta-validation and meta-test look like."""
    if not config.evaluate.variable:
        return EpisodeSpec(**config.task)
    return VariableSpec(
        min_way=config.evaluate.min_way,
        max_way=config.evaluate.max_way,
        max_queries=config.evaluate.max_queries,
        max_support=config.evaluate.max_support,
    )


def check(config: ConfigDict, roles: Roles) -> None:
    """Refuses sources that cannot give the episodes of meta-validation and meta-test.

    Raises:
      ValueError: in one line, which field, data set or class.
    """
    spec = spec_of(config)
    for role in ("validation", "test", "held_out"):
        of_role = getattr(roles, role)
        if isinstance(spec, EpisodeSpec):
            if of_role or role != "held_out":
                episodes.check(of_role, spec, role, "task.")
            continue
        for source in of_role:
            variable_episodes.check(source, spec, role)
    if config.evaluate.episodes and config.evaluate.manifest:
        stored(config.evaluate.manifest, roles)


def of_roles(config: ConfigDict, roles: Roles) -> Samples:
    """The episodes of meta-validation and meta-test; these stored ones where asked."""
    if config.evaluate.manifest:
        testing = stored(config.evaluate.manifest, roles)
    else:
        sources = roles.test + roles.held_out
        testing = draw(sources, spec_of(config), TEST_SEED, config.evaluate.episodes)
    return Samples(
        validation=draw_validation(config, roles.validation),
        test=testing[: len(roles.test)],
        held_out=testing[len(roles.test) :],
    )


def draw(
    sources: tuple[Source, ...],
    spec: EpisodeSpec | VariableSpec,
    seed: int,
    count: int,
) -> tuple[Sample, ...]:
    """`count` episodes of each source, always the same ones."""
    return tuple(
        _sample(source, manifest.draw(source, spec, seed, count)) for source in sources
    )


def _sample(source: Source, found: Manifest) -> Sample:
    way = int(found.ways.max())
    return Sample(found, way, manifest.read_episodes(source, found))


def stored(path: str, roles: Roles) -> tuple[Sample, ...]:
    """The episodes of another run on the same meta-test data.

    Raises:
      ValueError: they are of other data.
    """
    found = {one.dataset: one for one in manifest.read(path)}
    wanted = {source.name: source for source in roles.test + roles.held_out}
    if found.keys() != wanted.keys():
        raise ValueError(
            f"evaluate.manifest={path} has episodes of {', '.join(found)}, and meta-"
            f"test is of {', '.join(wanted)}; give the manifest of a run on these"
        )
    for name, source in wanted.items():
        manifest.check(source, found[name], path)
    return tuple(_sample(source, found[name]) for name, source in wanted.items())


def draw_validation(
    config: ConfigDict, sources: tuple[Source, ...]
) -> tuple[Sample, ...]:
    """The episodes that everything is chosen on: as many of each source."""
    each = -(-config.evaluate.validation_episodes // len(sources))
    return draw(sources, spec_of(config), VALIDATION_SEED, each)
