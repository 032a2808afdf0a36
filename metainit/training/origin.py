"""What a run's network started from and how it sees images, kept with the run."""

from __future__ import annotations

import json
import os
import pathlib
from typing import NamedTuple

from metainit.models.pretrained import About, ImageInput, Recipe
from metainit.runtime import atomic

FILE = "origin.json"


class Origin(NamedTuple):
    """Of a run's network.

    Attributes:
      mean, std: per channel of images scaled to 0..1; it sees (x - mean) / std.
      weights: where those of its encoder are from, None for random ones.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    weights: About | None


def save(workdir: str | os.PathLike[str], origin: Origin) -> None:
    """Writes the file, or checks that a run that goes on has the same weights.

    Raises:
      ValueError: the run began with other weights.
    """
    path = pathlib.Path(workdir) / FILE
    if path.exists():
        before, now = load(workdir).weights, origin.weights
        if before and now and before.sha256 != now.sha256:
            raise ValueError(
                f"encoder.weights={now.source} is another file (sha256 {now.sha256}) "
                f"than when {workdir} began ({before.sha256}); give that one, or "
                "another --workdir"
            )
    about = origin.weights
    weights = None
    if about:
        recipe = about.recipe._asdict() | {"input": about.recipe.input._asdict()}
        weights = about._asdict() | {"recipe": recipe}
    content = origin._asdict() | {"weights": weights}
    atomic.write_text(path, json.dumps(content, indent=2) + "\n")


def load(workdir: str | os.PathLike[str]) -> Origin:
    """What `save` wrote.

    Raises:
      ValueError: there is no such file, or it is damaged.
    """
    path = pathlib.Path(workdir) / FILE
    try:
        content = json.loads(path.read_text())
        weights = content["weights"]
        if weights:
            recipe = weights["recipe"]
            seen = recipe["input"]
            seen |= {name: tuple(seen[name]) for name in ("mean", "std")}
            recipe = Recipe(**recipe | {"input": ImageInput(**seen)})
            weights = About(**weights | {"recipe": recipe})
        return Origin(tuple(content["mean"]), tuple(content["std"]), weights)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): train the run") from error
