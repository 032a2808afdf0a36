"""An initialisation from a file or a name of weights: a network, and its body.

A file that metainit exported says itself what network it is of. Of others, such as
ImageNet weights, the names of the arrays do; a head then learns on their features.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors

from metainit.config import parsing
from metainit.config.fields import Experiment
from metainit.models import (
    pretrained,
    registry,
)
from metainit.training.initialisation import Initialisation
from metainit.training.origin import Origin

USES = ("frozen", "adapted")
_DESCRIPTION = "metainit"  # in the metadata of a file
_NETWORK = ("model", "encoder", "compute")


def is_weights(name: str) -> bool:
    """Whether a name is one of weights, and not of a folder."""
    return (
        name == pretrained.WHEEL
        or name.endswith(pretrained.SUFFIXES)
        or pretrained.HUB_NAME.fullmatch(name) is not None
    )


def describe(config: Experiment, size: int, seen: Origin) -> dict[str, str]:
    """Metadata of an exported file: what it takes to build its network again.

    Args:
      config: of the run.
      size: side of the images in pixels.
      seen: how they were normalised.
    """
    network = dataclasses.replace(config.network, size=size)
    described = dataclasses.asdict(network) | {"mean": seen.mean, "std": seen.std}
    return {_DESCRIPTION: json.dumps(described)}


def load(source: str, use: str = "frozen", size: int | None = None) -> Initialisation:
    """The network and body of weights.

    Args:
      source: as of `metainit.models.pretrained.load`.
      use: of an encoder, for weights that metainit did not export: "frozen" or
        "adapted", see `metainit.models.encoder.composed`.
      size: side of the images in pixels; None for that of the weights.

    Raises:
      ValueError: in one line, for weights that cannot be had or of no network that is
        known here.
    """
    weights = pretrained.load(source)
    described = _description(source)
    if described is None:
        values = _of_names(source, weights.flat)
        about = registry.expected_by(values["encoder"]["name"], weights.about)
        expected = about.recipe.input
        mean, std = expected.mean, expected.std
        values["encoder"]["use"] = use
        values["data"] = {"size": size or expected.side, "channels": 3}
    else:
        mean, std = tuple(described["mean"]), tuple(described["std"])
        values = {part: described[part] for part in _NETWORK}
        values["data"] = {
            "size": size or described["size"],
            "channels": described["channels"],
        }
    try:
        config = parsing.parse(values, Experiment)
        model = registry.build(config.network)
        images = jax.ShapeDtypeStruct(
            (2, config.data.size, config.data.size, config.data.channels), jnp.float32
        )
        shapes: Any = jax.eval_shape(model.init, jax.random.key(0), images)
        body = _body(config, weights.flat, shapes)
    except (ValueError, TypeError) as error:
        raise ValueError(f"init: {source}: {error}") from error
    body = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), body)
    known = f"{weights.about.recipe.name} recipe, sha256 {weights.about.sha256[:12]}"
    seen = Origin(mean, std, weights.about) if config.encoder.name != "none" else None
    return Initialisation(config, model, body, f"{source} ({known})", seen)


def _description(source: str) -> dict[str, Any] | None:
    if not pathlib.Path(source).suffix == pretrained.SUFFIXES[0]:
        return None
    with safetensors.safe_open(source, "np") as file:
        found = (file.metadata() or {}).get(_DESCRIPTION)
    return json.loads(found) if found else None


def _of_names(source: str, flat: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What in a config builds the network that arrays are of, by their names."""
    encoder = registry.recognised(flat)
    if encoder is not None:
        return {"encoder": encoder, "model": {"name": "linear"}}
    raise ValueError(
        f"init: {source} is of no network known here: a ResNet with bottlenecks by "
        "torchvision's names, EfficientNet-Lite0 by those of its package, or a file "
        "that metainit.experiments.export wrote"
    )


def _body(config: Experiment, flat: Mapping[str, np.ndarray], shapes: Any) -> Any:
    encoder, learner = config.encoder.name, config.model.name
    parts = {name: x for name, x in flat.items() if not _is_head(name)}
    if encoder == "none":
        return registry.NAMES[learner].from_torch(parts, shapes)
    if learner == "linear":
        return {"encoder": registry.NAMES[encoder].from_torch(parts, shapes["encoder"])}
    return {
        part: registry.NAMES[kind].from_torch(
            {
                name.removeprefix(f"{part}."): x
                for name, x in parts.items()
                if name.startswith(f"{part}.")
            },
            shapes[part],
        )
        for part, kind in (("encoder", encoder), ("learner", learner))
    }


def _is_head(name: str) -> bool:
    return re.fullmatch(r"(learner\.)?_?fc\.(weight|bias)", name) is not None
