"""Loads configs, and turns ConfigDicts, which users change, into typed fields."""

import contextlib
import dataclasses
import inspect
import pathlib
import pprint
import runpy
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from ml_collections import ConfigDict

from metainit.config import checks, fields, parsing
from metainit.config.fields import ConfigError
from metainit.models import registry
from metainit.runtime import arguments, run_folder

Typed: TypeAlias = (
    fields.Experiment | fields.TransferExperiment | fields.Supervised | fields.Search
)
Config: TypeAlias = ConfigDict | Mapping[str, Any] | Typed

_KINDS: dict[str | None, type[Typed]] = {
    None: fields.Experiment,
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


def default(kind: str | None = None) -> ConfigDict:
    """Makes all fields of a kind of experiment (None: meta-learning) with defaults."""
    return ConfigDict(dataclasses.asdict(_KINDS[kind]()))


def search(experiment: ConfigDict) -> ConfigDict:
    """Makes a search's fields; raises ConfigError unless `experiment` meta-learns."""
    if "kind" in experiment:
        raise ConfigError(
            f"kind={experiment.kind!r}: only configs of meta-learning can be searched"
        )
    return ConfigDict({**dataclasses.asdict(fields.Search()), "experiment": experiment})


def seven_data_sets() -> ConfigDict:
    """Makes the default fields, with the seven data sets in their roles.

    Tasks are 8-way 4-shot: the support is a batch of 32 images, as the queries are.
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
    """Makes tasks 16-way 20-shot, so that the support is ten batches of 32 images.

    The smallest class of Flowers102 has 40 images: no more than 22 fit a task.
    """
    config.inner.batch = 32
    config.train_task.update(way=16, shot=20, queries=2)
    config.task.update(way=16, shot=20, queries=2)


def class_mean_tasks(config: ConfigDict, stage: str) -> None:
    """Makes a config change a pretrained encoder a little, from `stage` on.

    It learns from 20-way 5-shot tasks, which class means solve without inner steps.
    Logits are ten times cosines: at a hundred times, a task's loss says little.
    Learned weights are mixed with the pretrained ones as does best on meta-validation,
    both those of the tasks and those of joint pretraining.
    """
    config.encoder.update(use="adapted", cut="", learn_from=stage, adapt_from=stage)
    config.model.update(name="linear", unit_length=True, scale=3.2)
    config.train_task.update(way=20, shot=5, queries=5)
    config.method.update(head="prototype", gradient="first_order")
    config.inner.steps = 0
    config.meta_batch = 1
    config.iterations = 150
    config.outer.update(learning_rate=1e-4, decay_steps=150)
    config.joint.learning_rate = 3e-4
    config.evaluate.update(steps=(0, 1, 5, 10), alphas=(0.25, 0.5, 1.0))
    config.evaluate.update(sgd_rates=(0.01,), adam_rates=(0.001,))


def shipped() -> dict[str, pathlib.Path]:
    """Lists the configs that come with metainit, by name: "quickstart", ..."""
    package = pathlib.Path(__file__).resolve().parents[1]
    # A wheel has them inside of the package, a checkout beside it.
    places = package / "configs", package.parent / "configs"
    folder = next((place for place in places if place.is_dir()), places[0])
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def find(name: str) -> pathlib.Path:
    """Finds the file of a config: a path, or the name of one that comes with metainit.

    It raises ValueError where there is none, and names the nearest.
    """
    known, path = shipped(), pathlib.Path(name)
    if path.is_file():
        return path
    if name.removesuffix(".py") in known:
        return known[name.removesuffix(".py")]
    here = map(str, pathlib.Path("configs").glob("*.py"))
    near = arguments.nearest(name, [*here, *known])
    raise ValueError(f"no such file, nor a config that metainit brings{near}")


def load(name: str) -> ConfigDict:
    """Loads the config "FILE.py" or "NAME" (see `find`), or its variant ":VARIANT".

    It raises ValueError if there is no such config, or if its file does not work.
    """
    path, _, variant = name.partition(":")
    file = find(path)
    try:
        found = runpy.run_path(str(file))
        if "get_config" not in found:
            raise ValueError("it defines no get_config(), which returns the config")
        get_config = found["get_config"]
        if variant and not inspect.signature(get_config).parameters:
            raise ValueError(f"unknown variant {variant!r}; there is none: give {path}")
        return get_config(variant) if variant else get_config()
    except SyntaxError as error:
        raise ValueError(f"it is no valid Python: {error}") from None
    except ValueError:
        raise
    except Exception as error:  # raised by the file's own code
        at = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{at.filename}, line {at.lineno}"
        raise ValueError(f"{type(error).__name__}: {error} ({place})") from error


def source(experiment: fields.Experiment, about: str) -> str:
    """Writes a config file in Python, whose docstring is `about`."""
    values = run_folder.flat(dataclasses.asdict(experiment))
    defaults = run_folder.flat(dataclasses.asdict(fields.Experiment()))
    changed = {name: x for name, x in values.items() if x != defaults[name]}
    return _SOURCE.format(
        about=about.replace("\\", "\\\\").replace('"""', "'''"),
        changed=pprint.pformat(changed, sort_dicts=False),
    )


def kind_of(config: Mapping[str, Any] | ConfigDict) -> type[Typed]:
    """Finds the class of a config's fields; raises ConfigError for an unknown kind."""
    if (kind := config.get("kind")) not in _KINDS:
        known = ", ".join(filter(None, _KINDS))
        raise ConfigError(f"kind={kind!r} must be one of {known}, or left out")
    return _KINDS[kind]


def changed(config: ConfigDict, changes: Mapping[str, Any]) -> Typed:
    """Makes typed fields of a config with `changes` by dotted name; see `typed`."""
    fields_of = kind_of(config)
    return typed(parsing.replaced(parsing.parse(config.to_dict(), fields_of), changes))


def typed(config: Config) -> Typed:
    """Makes typed fields of any config, and checks what can be checked without data.

    Raises:
      ConfigError: a field is wrong. One line says which, and what would work.
    """
    if isinstance(config, ConfigDict):
        config = config.to_dict()
    values = config if isinstance(config, Mapping) else dataclasses.asdict(config)
    found = parsing.parse(values, kind_of(values))
    if isinstance(found, fields.Experiment | fields.TransferExperiment):
        checks.validate(found)
    if isinstance(found, fields.Experiment):
        try:
            registry.build(found.network)
        except ValueError as error:
            raise ConfigError(f"network: {error}") from None
    return found


def data_of(config: Typed) -> fields.Data | fields.TransferData | None:
    """Gives the data that a config of any kind asks for; None for plain glyphs."""
    if isinstance(config, fields.Search):
        config = config.experiment
    return None if isinstance(config, fields.Supervised) else config.data


@contextlib.contextmanager
def as_config_error() -> Iterator[None]:
    """Turns a ValueError about the user's data or folder into a ConfigError."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error
