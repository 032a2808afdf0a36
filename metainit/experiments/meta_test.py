"""Runs meta-test: chooses settings and the number of episodes, and measures."""

import functools
import pathlib
import textwrap
from collections.abc import Mapping

from metainit.config.fields import Experiment
from metainit.data import episode_set
from metainit.data.loading import Roles
from metainit.evaluation import episode_count, example, few_shot
from metainit.evaluation.episode_count import Seconds
from metainit.evaluation.few_shot import Chosen, Entrants, EvaluatorOf
from metainit.evaluation.results import Evaluation
from metainit.experiments import uncut
from metainit.experiments.uncut import Whole
from metainit.reporting.plain_text import WIDTH
from metainit.runtime import atomic, hosts, progress
from metainit.training.initialisation import Initialisation

FILE = "meta_test.json"


def run(
    config: Experiment,
    workdir: pathlib.Path,
    inits: Mapping[str, Initialisation],
    roles: Roles,
    evaluator_of: EvaluatorOf,
    whole: Whole,
    before: float,
    images: Roles,
) -> Evaluation:
    """Measures all initialisations, the uncut encoder too, on the same episodes.

    The episodes are written to `workdir` as row numbers of their data sets. `before` is
    the seconds that the run has taken so far. `roles` may be features of `images`,
    some of which the report shows.
    """
    samples = episode_set.draw_roles(config.task, config.evaluate, roles, config.seed)
    entrants = [
        Entrants(config.evaluate, inits, samples, evaluator_of),
        *uncut.entrants(whole, config, samples),
    ]
    testing = samples.test + samples.held_out
    rows, choosing = map(sum, zip(*map(few_shot.work, entrants), strict=True))
    most = choosing + rows * len(testing) * config.evaluate.episodes
    with progress.Stage("meta-test", most) as stage:
        chosen = [few_shot.choose(x) for x in entrants]
        # Times differ between hosts, so the number of episodes might differ too.
        count, why = hosts.agreed(_count(config, workdir, chosen, before))
        progress.say(textwrap.fill(why, WIDTH, break_on_hyphens=False))
        stage.total = choosing + rows * len(testing) * count
        manifests = [episode_set.some(x, slice(count)).manifest for x in testing]
        episode_set.write(workdir / episode_set.FILE, manifests)
        parts = [few_shot.measure(x, count) for x in chosen]
    evaluation = functools.reduce(few_shot.joined, parts)
    notes = *evaluation.notes, *uncut.notes(whole, config), why
    said = {name: x for of in chosen for name, x in few_shot.first_answers(of).items()}
    shown = example.first_episode(images.test[0], samples.test[0].manifest, said)
    return evaluation._replace(notes=notes, example=shown)


def _count(
    config: Experiment, workdir: pathlib.Path, chosen: list[Chosen], before: float
) -> tuple[int, str]:
    """Chooses the number of episodes, and says why; a resumed run reads it again."""
    if (path := workdir / FILE).exists():
        stored = atomic.read_json(path, "episodes", "why")
        return stored["episodes"], stored["why"]
    samples = chosen[0].entrants.samples
    sets = len(samples.test + samples.held_out)
    seconds = Seconds(
        before=before,
        choosing=sum(x.seconds for x in chosen),
        each=sets * sum(x.episode_seconds for x in chosen),
    )
    rows = [choice.row for x in chosen for choice in x.choices]
    fewest = episode_count.floor(config.evaluate, sets)
    count, why = episode_count.choose(
        config.evaluate, rows, len(samples.test), fewest, seconds
    )
    stored = {"episodes": count, "why": why, "seconds": seconds._asdict()}
    atomic.write_json(path, stored)
    return count, why
