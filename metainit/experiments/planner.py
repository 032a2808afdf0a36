"""Whether a meta-iteration fits the device, and if not, what would."""

import itertools
import os
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metainit.config import parsing
from metainit.config.fields import ConfigError, Experiment
from metainit.core.types import Episode
from metainit.models import registry
from metainit.models.preprocess import Preprocess
from metainit.runtime.budget import compile_step
from metainit.training import learner as recipe

_ANY_WAY = 50  # classes of a task that has all of its data set, where none is given
# Of the device's memory that a program may plan for; the rest holds states, data and
# what the allocator loses.
_SHARE = 0.9


def device_memory() -> int:
    """Bytes of the first device: of an accelerator its own, of a CPU the machine's."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def meta_step(config: Experiment) -> tuple[Any, tuple[Any, ...]]:
    """The step of meta-training, and its inputs in shape only: no data is needed."""
    model = registry.build(config.network)
    half = (0.5,) * config.data.channels
    augment = config.augment
    preprocess = Preprocess(half, half, augment.shift, augment.flip, model.encode)
    learner = recipe.learner(config, model, preprocess)
    pixels = config.data.size, config.data.size, config.data.channels
    task = config.train_task

    def start(key: jax.Array) -> Any:
        example = jnp.zeros((2, *pixels))
        body = model.init(key, example)
        head = recipe.init_head(config, model, body, example, key)
        return learner.init({"body": body} | head)

    def images(each: int) -> dict[str, jax.ShapeDtypeStruct]:
        shape = config.meta_batch, (task.way or _ANY_WAY) * each
        return {
            "image": jax.ShapeDtypeStruct((*shape, *pixels), np.uint8),
            "label": jax.ShapeDtypeStruct(shape, np.int32),
        }

    key = jax.eval_shape(jax.random.key, 0)
    state = jax.eval_shape(start, key)
    episodes = Episode(images(task.shot), images(task.queries))
    return recipe.meta_update(learner), (state, episodes, key)


def memory(config: Experiment) -> int:
    """Bytes of a compiled meta-iteration, by the compiler's plan; compiles."""
    update, inputs = meta_step(config)
    return compile_step(update, *inputs).memory


def check(config: Experiment, needed: int, there: int) -> None:
    """Refuses a meta-iteration that does not fit.

    Args:
      config: of the experiment.
      needed: bytes of its compiled meta-iteration.
      there: bytes of the device.

    Raises:
      ConfigError: with the choices that would fit and their bytes, or else the first
        ones that do together. Each of them is compiled for that.
    """
    if needed <= _SHARE * there:
        return
    choices = list(_choices(config))
    fits = list(_fitting(config, ({words: change} for words, change in choices), there))
    if not fits:  # then one after the other together, until they do
        together = (dict(choices[:n]) for n in range(2, len(choices) + 1))
        fits = list(itertools.islice(_fitting(config, together, there), 1))
    raise ConfigError(
        f"a meta-iteration needs {needed / 1e9:.1f} GB and the device has "
        f"{there / 1e9:.1f} GB; "
        + ("these would fit: " + "; ".join(fits) if fits else "no choice tried fits")
    )


def _fitting(
    config: Experiment, tried: Iterable[dict[str, dict[str, Any]]], there: int
) -> Iterator[str]:
    """In words, those of the changes (by words) with which it fits, and their bytes."""
    for changes in tried:
        all_changes = {name: x for part in changes.values() for name, x in part.items()}
        bytes_ = memory(parsing.replaced(config, all_changes))
        if bytes_ <= _SHARE * there:
            yield f"{' '.join(changes)}: {bytes_ / 1e9:.1f} GB"


def _choices(config: Experiment) -> Iterator[tuple[str, dict[str, Any]]]:
    if config.method.gradient == "reverse":
        yield "--config.method.gradient=mixed", {"method.gradient": "mixed"}
    if config.method.tasks != "scan":
        yield "--config.method.tasks=scan", {"method.tasks": "scan"}
    encoder = config.encoder
    if encoder.name != "none" and encoder.use != "frozen" and not encoder.checkpoint:
        yield "--config.encoder.checkpoint=True", {"encoder.checkpoint": True}
    if encoder.name != "none" and encoder.use == "adapted":
        last = registry.encoder(encoder).stages[-1]
        if encoder.adapt_from != last:
            yield f"--config.encoder.adapt_from={last}", {"encoder.adapt_from": last}
    if config.compute == "float32":
        yield "--config.compute=bfloat16", {"compute": "bfloat16"}
    if config.inner.steps > 1:
        fewer = config.inner.steps // 2
        yield f"--config.inner.steps={fewer}", {"inner.steps": fewer}
    smaller = config.data.size // 2
    if smaller >= 16:
        yield f"--config.data.size={smaller}", {"data.size": smaller}
    if config.method.gradient != "first_order":
        yield "--config.method.gradient=first_order", {"method.gradient": "first_order"}
