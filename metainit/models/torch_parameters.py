"""A network's parameters by the names that PyTorch's users know, and back.

Those of an encoder and what learns on its map begin with "encoder." and "learner.".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from metainit.config.fields import Network
from metainit.models import registry


def parts(network: Network) -> dict[str, str]:
    """Lists the network's parts that have parameters, by place in the body's tree."""
    places: dict[str, str] = {
        "encoder": network.encoder.name,
        "learner": network.model.name,
    }
    return {x: name for x, name in places.items() if name not in ("none", "linear")}


def without_names(network: Network) -> list[str]:
    """Lists the network's parts that PyTorch's users have no names for."""
    return [name for name in parts(network).values() if name not in registry.NAMES]


def to_torch(network: Network, body: Any, head: Any = None) -> dict[str, np.ndarray]:
    """Names the arrays of a body, or a part of it, and of a head, in torch's layout."""
    named = parts(network)
    arrays = {}
    for place, name in named.items():
        tree = dict(body if network.encoder.name == "none" else body.get(place, {}))
        if head is not None and place == list(named)[-1]:
            tree["fc"] = head
        for key, array in registry.NAMES[name].to_torch(tree).items():
            arrays[f"{place}.{key}" if len(named) > 1 else key] = array
    return arrays


def from_torch(network: Network, arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """Takes a file's arrays to a body like `like`, leaving out a classifier.

    Raises:
      ValueError: naming what is missing, unexpected or of another shape.
    """
    named = parts(network)
    body = {}
    for place, name in named.items():
        prefix = f"{place}." if len(named) > 1 else ""
        of_place = {
            key.removeprefix(prefix): array
            for key, array in arrays.items()
            if key.startswith(prefix) and not _is_classifier(key.removeprefix(prefix))
        }
        wanted = like if network.encoder.name == "none" else like[place]
        body[place] = registry.NAMES[name].from_torch(of_place, wanted)
    return body["learner"] if network.encoder.name == "none" else body


def _is_classifier(name: str) -> bool:
    return re.fullmatch(r"_?fc\.(weight|bias)", name) is not None
