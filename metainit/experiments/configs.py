"""The edge between ConfigDicts, which the command line changes, and typed fields."""

from __future__ import annotations

import dataclasses
import pathlib
import pprint
import runpy
from collections.abc import Mapping
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from metainit.config import checks, fields, parsing
from metainit.config.fields import ConfigError
from metainit.models import registry
from metainit.runtime import run_folder

Typed: TypeAlias = (
    fields.Experiment | fields.TransferExperiment | fields.Supervised | fields.Search
)
Config: TypeAlias = ConfigDict | Mapping[str, Any] | Typed

_KINDS: dict[str, type[Typed]] = {
    "transfer": fields.TransferExperiment,
    "supervised": fields.Supervised,
    "tune": fields.Search,
}

_SOURCE = '''"""{about}"""

from metainit.experiments import configs

CHANGED = {changed}


def get_config():
    config = configs.default()
    config.update_from_flattened_dict(CHANGED)
    return config
'''


def default() -> ConfigDict:
    """Every field of an experiment with its default; configs change what they say."""
    return ConfigDict(dataclasses.asdict(fields.Experiment()))


def transfer() -> ConfigDict:
    """The fields of a comparison of initialisations that exist, with their defaults."""
    return ConfigDict(dataclasses.asdict(fields.TransferExperiment()))


def supervised() -> ConfigDict:
    """The fields of plain supervised learning, with their defaults."""
    return ConfigDict(dataclasses.asdict(fields.Supervised()))


def search(experiment: ConfigDict) -> ConfigDict:
    """The fields of a search with their defaults.

    Args:
      experiment: whose fields are searched; changed from `default`.
    """
    return ConfigDict(
        {
            "kind": "tune",
            "search": dataclasses.asdict(fields.SearchFields()),
            "experiment": experiment,
        }
    )


def seven_data_sets() -> ConfigDict:
    """The defaults with the brief's data sets in their roles, tasks and rates.

    8-way 4-shot tasks, whose support is a batch of 32 images, and 32 queries.
    """
    config = default()
    config.data.name = ""
    config.data.train = ("cifar100", "caltech256", "flowers102")
    config.data.validation = ("stanford_cars", "fgvc_aircraft")
    config.data.test = ("oxford_pets", "sun397")
    config.data.channels = 3
    config.augment.flip = True
    config.train_task.update(way=8, shot=4, queries=4)
    config.task.update(way=8, shot=4, queries=4)
    config.joint.batch = 32
    return config


def minibatch(config: ConfigDict) -> None:
    """Changes tasks to 16-way 20-shot, adapted to in ten batches of 32 images.

    The smallest class of Flowers102 has 40 images: no more than 22 fit a task.
    """
    config.inner.batch = 32
    config.train_task.update(way=16, shot=20, queries=2)
    config.task.update(way=16, shot=20, queries=2)


def load(name: str) -> ConfigDict:
    """The config of "FILE.py" or "FILE.py:VARIANT", as on the command line.

    Raises:
      ValueError: no such file, or what the file says of a variant.
    """
    path, _, variant = name.partition(":")
    if not pathlib.Path(path).is_file():
        others = ", ".join(sorted(map(str, pathlib.Path("configs").glob("*.py"))))
        raise ValueError(f"no such file; there is {others or 'no configs/*.py here'}")
    get_config = runpy.run_path(path)["get_config"]
    return get_config(variant) if variant else get_config()


def source(experiment: fields.Experiment, about: str) -> str:
    """Python source of a config file, whose docstring is `about`."""
    values = run_folder.flat(dataclasses.asdict(experiment))
    defaults = run_folder.flat(dataclasses.asdict(fields.Experiment()))
    changed = {name: x for name, x in values.items() if x != defaults[name]}
    return _SOURCE.format(
        about=about.replace("\\", "\\\\").replace('"""', "'''"),
        changed=pprint.pformat(changed, sort_dicts=False),
    )


def typed(config: Config) -> Typed:
    """The typed fields of a config of any kind, after all checks that need no data.

    Raises:
      ConfigError: in one line, the field, its value and what would work.
    """
    if isinstance(config, ConfigDict):
        values = config.to_dict()
    elif isinstance(config, Mapping):
        values = dict(config)
    else:
        values = dataclasses.asdict(config)
    kind = values.get("kind")
    if kind is not None and kind not in _KINDS:
        raise ConfigError(f"kind={kind!r} must be one of {', '.join(_KINDS)}")
    if kind == "tune" and "kind" in values.get("experiment", {}):
        raise ConfigError(
            f"experiment.kind={values['experiment']['kind']!r}: only configs of "
            "meta-learning can be searched"
        )
    found = parsing.parse(values, _KINDS[kind] if kind else fields.Experiment)
    if isinstance(found, fields.Experiment):
        validate(found)
    elif isinstance(found, fields.TransferExperiment):
        checks.validate(found)
    return found


def validate(experiment: fields.Experiment) -> None:
    """Checks what must hold between fields, and builds the network to see it exist.

    Raises:
      ConfigError: in one line, the field, its value and what would work.
    """
    checks.validate(experiment)
    try:
        registry.build(experiment.network)
    except ValueError as error:
        part = "model" if experiment.encoder.name == "none" else "encoder"
        raise ConfigError(f"{part}: {error}") from None
