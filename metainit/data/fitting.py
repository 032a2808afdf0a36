"""Whether data give the tasks that a config asks for, and what would do."""

import shlex
from collections.abc import Iterator
from typing import NamedTuple

from metainit.config import checks, parsing
from metainit.config.fields import Experiment, Task
from metainit.data import episode_set, episodes
from metainit.data.loading import Roles, Source, class_index


def check(config: Experiment, roles: Roles, command: str = "") -> None:
    """Refuses sources that cannot give the episodes of any role.

    Raises:
      ValueError: in one line, all that does not fit, and what would work with the
        classes there are, as an addition to `command`.
    """
    if not (problems := list(_problems(config, roles))):
        return
    if fields := _fields_that_fit(config, roles):
        line = shlex.join(f"{name}={x}" for name, x in fields.items())
        problems.append(f"this works with what there is: {command} {line}")
    elif config.data.name.startswith("folder:"):
        path = config.data.name.removeprefix("folder:")
        line = shlex.join(["metainit", "finetune", path])
        problems.append(f"a classifier of these classes needs no tasks: {line}")
    raise ValueError("; ".join(problems))


def _problems(config: Experiment, roles: Roles) -> Iterator[str]:
    """Says of each role the first thing that does not fit."""
    for role, sources in roles._asdict().items():
        try:
            if role == "train":
                episodes.check(sources, config.train_task, role, "train_task.")
            else:
                episode_set.check(config.task, config.evaluate, sources, role)
        except ValueError as error:
            yield str(error)


class _Section(NamedTuple):
    """A task of one size, and the sources that give it."""

    task: Task
    sources: tuple[Source, ...]
    # These give it too, of as many ways as they have classes.
    chosen_on: tuple[Source, ...] = ()


def _sections(config: Experiment, roles: Roles) -> dict[str, _Section]:
    sections = {"train_task": _Section(config.train_task, roles.train)}
    if not config.evaluate.variable:
        judged = roles.test + roles.held_out
        sections["task"] = _Section(config.task, judged, roles.validation)
    return sections


def _fields_that_fit(config: Experiment, roles: Roles) -> dict[str, int]:
    """Changes, as few as can be, with which all fits; {} where none would do."""
    fields: dict[str, int] = {}
    for section, (task, sources, chosen_on) in _sections(config, roles).items():
        sizes = [list(map(len, class_index(x))) for x in sources + chosen_on]
        if not sources or not all(sizes):
            return {}
        classes = min(map(len, sizes[: len(sources)]))
        images = min(map(min, sizes))
        shot = min(task.shot, images - 1)
        wanted = {
            "way": min(task.way, classes),
            "shot": shot,
            "queries": min(task.queries, images - shot),
        }
        for name, value in wanted.items():
            if value != getattr(task, name):
                fields[f"{section}.{name}"] = value
    if config.method.head == "learned" and any(name.endswith("way") for name in fields):
        both = "train_task.way", "task.way"
        fields |= dict.fromkeys(both, min(fields[x] for x in both if x in fields))
    try:
        changed = parsing.replaced(config, fields)
        checks.validate(changed)
    except ValueError:
        return {}
    ways = [section.task.way for section in _sections(changed, roles).values()]
    return {} if 1 in ways or any(_problems(changed, roles)) else fields
