"""A run's initialisation as files for everybody, PyTorch's users too.

metainit export RUN --out DIR [--way N] [--which meta]

DIR gets init.safetensors, a model card (README.md) and, where step sizes were learned,
rates.safetensors. A finished run has them already, in RUN/export.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metainit.config.fields import Experiment, Network, own_size
from metainit.experiments import model_card
from metainit.models import classification, registry
from metainit.models import export as files
from metainit.training import stored
from metainit.training.initialisation import Initialisation

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
        choices=stored.PARTS,
        help="what of the run; by default meta, or else meta_from_pretrained",
    )
    given = parser.parse_args(argv)
    try:
        init = stored.load(given.run, given.which)
        config = stored.config_of(given.run)
        export(init, config, given.out, given.way, read_results(given.run))
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"written to {given.out}; {files.CARD} there says what it is")
    return 0


def export(
    init: Initialisation,
    config: Experiment,
    out: str | pathlib.Path,
    way: int | None = None,
    results: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes the files of an initialisation.

    Args:
      init: of a run, by the run's name for it.
      config: of the run, for the card.
      out: folder of the files.
      way: rows of the classifier, None for those of a training task.
      results: lines of the run's `results.jsonl`, for the card.

    Raises:
      ValueError: in one line, for a network that has no names in PyTorch, a way that is
        not known, or a head that was learned for another one.
    """
    network = init.network
    if network is None or (named := architecture(network)) is None:
        name = network.model.name if network else "the caller's"
        raise ValueError(
            f"model.name={name} has no names in PyTorch; there are some for conv4, "
            "resnet and efficientnet_lite0"
        )
    if way is None:
        way = config.train_task.way or config.task.way
    if way < 2:
        raise ValueError(f"way={way}: give 2 or more classes, as --way 5")
    if init.head is not None and len(init.head["bias"]) != way:
        raise ValueError(
            f"way={way}: the head was learned for {len(init.head['bias'])} classes; "
            "give that"
        )
    first = (config.data.train or (config.data.name,))[0]
    size, channels = own_size(first, config.data.size)[1], config.data.channels
    body, rates = init.body, None
    # Of images, also where the initialisation is on the maps of its encoder.
    features = classification.feature_count(
        registry.build(network), body, jnp.zeros((1, size, size, channels))
    )
    if init.inner is not None:
        rates = step_sizes_of(init.inner, config.inner.learning_rate)
    if network.encoder.name != "none" and network.model.name == "linear":
        body = body["encoder"]
        rates = rates and {**rates.get("encoder", {}), "fc": rates["fc"]}
    card = model_card.of_run(config, init, way, results)
    described = stored.describe(init, size)
    made = files.files(named, body, way, features, card, init.head, rates, described)
    files.write(out, made)


def step_sizes_of(inner: Any, rate: float) -> dict[str, Any]:
    """Learned step sizes, a tree like the body's; the head's are under "fc".

    Args:
      inner: logarithms of what multiplies the inner rate, see
        `metainit.core.step_sizes`.
      rate: that one.
    """
    sizes = jax.tree.map(lambda log: np.float32(rate) * np.exp(log), inner)
    return {**_without_none(sizes["body"]), "fc": sizes["head"]}


def _without_none(tree: Any) -> Any:
    """The tree without the leaves that inner steps do not change."""
    if not isinstance(tree, Mapping):
        return tree
    kept = {name: _without_none(part) for name, part in tree.items()}
    return {name: part for name, part in kept.items() if part not in (None, {})}


def read_results(run: str | pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a run's `results.jsonl`; [] where it has none (yet)."""
    path = pathlib.Path(run) / "results.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def architecture(network: Network) -> str | None:
    """What `metainit.models.export` calls a network; None if it knows none."""
    encoder, learner = network.encoder.name, network.model.name
    if learner == "linear":
        return encoder
    if learner != "conv4":
        return None
    return learner if encoder == "none" else f"{encoder}+{learner}"
