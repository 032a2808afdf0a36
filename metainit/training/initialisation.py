"""Where fine-tuning starts: a network and its body, of a run or random."""

from __future__ import annotations

import json
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metainit.config import parsing
from metainit.config.fields import Data, Experiment
from metainit.core import leaves as named_leaves
from metainit.models import registry
from metainit.models.model import Model
from metainit.runtime import devices
from metainit.runtime.checkpoint import BEST, LAST, WARM_START, Checkpoints
from metainit.runtime.cost import FROM_PRETRAINED, JOINT, NAMES, RATES, Cost
from metainit.training import learner, origin
from metainit.training.origin import Origin

RANDOM = "random"
# Folders of a run.
TRAINED = tuple(NAMES)


class Initialisation(NamedTuple):
    """A network and where it starts.

    Attributes:
      config: of the run; the defaults where there is none.
      model: the network body.
      body: its parameters.
      name: in words.
      seen: how the images of a pretrained encoder are normalised; None where those of
        the images at hand do.
      rates: step sizes that were learned (`metainit.core.step_sizes`), None for none.
    """

    config: Experiment
    model: Model
    body: Any
    name: str
    seen: Origin | None = None
    rates: Any = None

    @property
    def params(self) -> dict[str, Any]:
        """As `metainit.transfer.fine_tuning.fine_tune` takes them."""
        rates = {} if self.rates is None else {"rates": self.rates}
        return {"body": self.body} | rates


def stored_config(run: str | pathlib.Path) -> Experiment:
    """The config of a run folder of launch.py.

    Raises:
      ValueError: no such folder, or it is of something else.
    """
    run = pathlib.Path(run)
    if not run.is_dir():
        raise ValueError(f"init: there is no folder {run}; give a run's, or {RANDOM}")
    try:
        values = json.loads((run / "config.json").read_text())
        if values.get("kind") == "supervised":
            raise ValueError("it is of a plain classifier, not of meta-learning")
        config = parsing.parse(values, Experiment)
        registry.build(config.network)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"init: {run} is no run of launch.py ({error})") from error
    return config


def read_config(run: str | pathlib.Path) -> Experiment:
    """The config of a run, for fine-tuning.

    A network that is normalised by the batch it stands in is taken as one that is
    normalised by its support, which has the same parameters: a classifier to take home
    has to judge an image alone.

    Raises:
      ValueError: as `stored_config`.
    """
    config = stored_config(run)
    parts = {"model.norm": config.model.norm, "encoder.norm": config.encoder.norm}
    by_batch = [name for name, norm in parts.items() if norm == "batch"]
    return parsing.replaced(config, dict.fromkeys(by_batch, "support"))


def defaults() -> Experiment:
    """Conv-4 on 64x64 images in colour, for an initialisation without a run."""
    return Experiment(data=Data(size=64, channels=3))


def random(config: Experiment, size: int, channels: int) -> Initialisation:
    """Weights before any training, those of the run where the size is the run's.

    Args:
      config: its model and seed.
      size: side of the images in pixels.
      channels: of the images.
    """
    model = registry.build(config.network)
    key = jax.random.split(jax.random.key(config.seed), 3)[
        0
    ]  # as in metainit.experiments.meta_learning
    body = jax.jit(model.init)(key, jnp.zeros((2, size, size, channels)))
    return Initialisation(config, model, body, RANDOM)


def meta_learned(run: str | pathlib.Path) -> str:
    """The run's "meta", or "meta_from_pretrained" where the run has only that."""
    there = [name for name in TRAINED[:2] if (pathlib.Path(run) / name).is_dir()]
    return there[0] if there else TRAINED[0]


def best(run: str | pathlib.Path, which: str) -> tuple[int, dict[str, np.ndarray]]:
    """The best state of a run by its meta-validation: its step and leaves by name.

    Raises:
      ValueError: the run has nothing of that name (yet).
    """
    run = pathlib.Path(run)
    if not (run / which / BEST).is_dir():
        there = [name for name in TRAINED if (run / name / BEST).is_dir()]
        raise ValueError(
            f"init: {run} has no best checkpoint of {which!r}; which may be "
            f"{', '.join([*there, RANDOM])}"
        )
    found = Checkpoints(run / which / BEST).restore()
    if found is None:
        raise ValueError(f"init: {run / which / BEST} is empty; train the run first")
    return found.step, found.state


def trained(
    config: Experiment, run: str | pathlib.Path, which: str, size: int, channels: int
) -> Initialisation:
    """The best body of a run, by its meta-validation.

    Args:
      config: the run's, from `read_config`.
      run: its folder.
      which: one of `TRAINED`.
      size: side of the images in pixels, the run's or any that its network takes.
      channels: of the images.

    Raises:
      ValueError: the run has nothing of that name (yet), or of another network, image
        size or number of channels.
    """
    step, leaves = best(run, which)
    model = registry.build(config.network)
    what = f"{pathlib.Path(run) / which} with {size}x{size}x{channels} images"
    body = fill_body(model, leaves, size, channels, what, body_prefix(which))
    rates = None
    if which == RATES:
        rates = _filled(
            learner.log_step_sizes(model, body), leaves, what, ".params.inner"
        )
    seen = origin.load(run) if config.encoder.name != "none" else None
    return Initialisation(
        config, model, body, f"{which} of {run}, step {step}", seen, rates
    )


def cost(run: str | pathlib.Path, which: str) -> Cost:
    """Device time that a run spent on making `which`, pretraining included.

    The kind of device is that of the run's report, "not recorded" without one.

    Raises:
      ValueError: no checkpoint tells it.
    """
    run = pathlib.Path(run)
    folders = [run / which / LAST]
    if which == FROM_PRETRAINED:
        folders.append(run / JOINT / WARM_START)
    seconds = 0.0
    for folder in folders:
        if (found := Checkpoints(folder).restore()) is None:
            raise ValueError(
                f"init: {folder} has no checkpoint, which tells what {which} cost; "
                "give the run's own line again"
            )
        seconds += found.extra["device_seconds"]
    report = run / "report.md"
    kind = devices.kind_in(report.read_text()) if report.exists() else None
    return Cost(seconds, 0, 0, device=kind or "not recorded")


def body_prefix(which: str) -> str:
    """What the names of the body's leaves begin with in a state of `which`."""
    return ".params.model['body']" if which == RATES else ".params['body']"


def fill_body(
    model: Model,
    leaves: dict[str, np.ndarray],
    size: int,
    channels: int,
    what: str,
    prefix: str = ".params['body']",
) -> Any:
    """The body among a state's leaves.

    Args:
      model: the network that it should be of.
      leaves: of a state by name, from `best`.
      size, channels: of the images.
      what: the leaves are, in words.
      prefix: of the body's names.

    Raises:
      ValueError: they are of another network, size or channels.
    """
    images = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    wanted = jax.eval_shape(model.init, jax.random.key(0), images)
    return _filled(wanted, leaves, what, prefix)


def _filled(wanted: Any, leaves: dict[str, np.ndarray], what: str, prefix: str) -> Any:
    """A tree among a state's leaves, after a check that it is of this network."""
    given = {
        name.removeprefix(prefix): leaf
        for name, leaf in leaves.items()
        if name.startswith(prefix)
    }
    shapes = named_leaves.shapes(wanted)
    saved = {name: leaf.shape for name, leaf in given.items()}
    if differing := named_leaves.differences(saved, shapes):
        raise ValueError(
            f"init: {what} is of another network, size or channels: {differing}"
        )
    filled = [jnp.asarray(given[name]) for name in shapes]
    return jax.tree.unflatten(jax.tree.structure(wanted), filled)
