"""A run's initialisation as files for everybody, PyTorch's users too.

metainit export RUN --out DIR [--way N] [--which meta]

DIR gets init.safetensors, a model card (README.md) and, where step sizes were learned,
rates.safetensors. A finished run has them already, in RUN/export.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from metainit.config.fields import Experiment, own_size
from metainit.experiments import model_card
from metainit.models import classification, registry
from metainit.models import export as files
from metainit.runtime.cost import NAMES, OURS, RATES
from metainit.training import initial_weights, initialisation, origin

FOLDER = "export"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, 2 for a mistake."""
    parser = argparse.ArgumentParser(
        prog="metainit export",
        description="Writes a run's initialisation for PyTorch and others.",
    )
    add = parser.add_argument
    add("run", help="folder of launch.py")
    add("--out", required=True, help="folder of the files")
    add("--way", type=int, help="rows of the classifier; by default of a training task")
    add(
        "--which",
        choices=initialisation.TRAINED,
        help="what of the run; by default meta, or else meta_from_pretrained",
    )
    given = parser.parse_args(argv)
    try:
        export(given.run, given.out, given.way, given.which)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"written to {given.out}; {files.CARD} there says what it is")
    return 0


def export(
    run: str | pathlib.Path,
    out: str | pathlib.Path,
    way: int | None = None,
    which: str | None = None,
) -> None:
    """Writes the files of a run's initialisation.

    Args:
      run: folder of launch.py.
      out: folder of the files.
      way: rows of the classifier, None for those of a training task.
      which: of `initialisation.TRAINED`; None for "meta", or "meta_from_pretrained"
        where the run has only that.

    Raises:
      ValueError: in one line, for a run without it, a network that has no names in
        PyTorch, or a head that was learned for another way.
    """
    config = initialisation.stored_config(run)
    if (named := architecture(config)) is None:
        raise ValueError(
            f"model.name={config.model.name} of {run} has no names in PyTorch; there "
            "are some for conv4, resnet and efficientnet_lite0"
        )
    if way is None:
        way = config.train_task.way or config.task.way
    if way < 2:
        raise ValueError(f"way={way}: give 2 or more classes, as --way 5")
    which = which or initialisation.meta_learned(run)
    step, leaves = initialisation.best(run, which)
    model = registry.build(config.network)
    first = (config.data.train or (config.data.name,))[0]
    size, channels = own_size(first, config.data.size)[1], config.data.channels
    name = initialisation.body_prefix(which)
    what = f"{run}, {which}"
    body = initialisation.fill_body(model, leaves, size, channels, what, name)
    features = classification.feature_count(
        model, body, jnp.zeros((1, size, size, channels))
    )
    head = None
    if config.method.head == "learned" and NAMES[which] in OURS:
        head = {
            part: leaves[f".params['head']['{part}']"] for part in ("kernel", "bias")
        }
        if len(head["bias"]) != way:
            raise ValueError(
                f"way={way}: the head of {run} was learned for {len(head['bias'])} "
                "classes; give that"
            )
    seen = origin.load(run)
    card = model_card.of_run(
        config,
        seen,
        model.policy,
        which,
        step,
        way,
        model_card.read_results(run),
    )
    rates = None
    if which == RATES:
        rates = step_sizes_of(leaves, config.inner.learning_rate)
    if config.encoder.name != "none" and config.model.name == "linear":
        body = body["encoder"]
        rates = rates and rates.get("encoder", {}) | {"fc": rates["fc"]}
    described = initial_weights.describe(config, size, seen)
    made = files.files(named, body, way, features, card, head, rates, described)
    files.write(out, made)


def step_sizes_of(leaves: dict[str, np.ndarray], rate: float) -> dict[str, Any]:
    """Learned step sizes, a tree like the body's; the head's are under "fc".

    Args:
      leaves: of a run's state by name; those of `metainit.core.step_sizes` are
        logarithms of what multiplies the inner rate.
      rate: that one.
    """
    tree: dict[str, Any] = {}
    for name, log in leaves.items():
        if not name.startswith(".params.inner"):
            continue
        part, *path, last = re.findall(r"\['(.*?)'\]", name)
        place = tree
        for key in ["fc"] if part == "head" else path:
            place = place.setdefault(key, {})
        place[last] = np.float32(rate) * np.exp(log)
    return tree


def architecture(config: Experiment) -> str | None:
    """What `metainit.models.export` calls a config's network; None if it knows none."""
    encoder, learner = config.encoder.name, config.model.name
    if learner == "linear":
        return encoder
    if learner != "conv4":
        return None
    return learner if encoder == "none" else f"{encoder}+{learner}"
