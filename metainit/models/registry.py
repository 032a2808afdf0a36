"""The networks that a config can name: how each is built, and stored in files."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metainit.config import fields
from metainit.config.fields import Network
from metainit.models import pretrained, torch_names
from metainit.models.added import with_added
from metainit.models.conv4 import conv4
from metainit.models.efficientnet_lite0 import efficientnet_lite0
from metainit.models.encoder import Encoder, composed
from metainit.models.mlp import mlp
from metainit.models.model import Model
from metainit.models.pretrained import About, ImageInput
from metainit.models.resnet import resnet, resnet12
from metainit.models.torch_names import Names
from metainit.models.wrappers import in_bfloat16, unit_length, without


class EncoderEntry(NamedTuple):
    """How an encoder that a config names is built and stored."""

    build: Callable[[fields.Encoder], Encoder]
    # The names of its parameters in files. Without them the encoder begins from random
    # weights, and cannot be exported.
    names: Names | None = None
    input: ImageInput = pretrained.IMAGENET  # used if the weights' is unknown
    # `({name: array} of a file) -> fields of the `encoder` section` that build the
    # file's network. It gives None for a file of another network.
    matches: Callable[[Mapping[str, np.ndarray]], dict[str, Any] | None] | None = None


def _is_resnet(flat: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    blocks = [re.fullmatch(r"layer(\d)\.\d+\.conv3\.weight", name) for name in flat]
    stages = [block[1] for block in blocks if block]
    sizes = tuple(stages.count(stage) for stage in "1234")
    if "conv1.weight" not in flat or not all(sizes):
        return None
    return {"stage_sizes": sizes, "width": len(flat["conv1.weight"])}


ENCODERS = {
    "efficientnet_lite0": EncoderEntry(
        lambda e: efficientnet_lite0(e.norm, e.cut, checkpoint=e.checkpoint),
        torch_names.LITE0,
        pretrained.LITE0,
        lambda flat: {} if "_conv_stem.weight" in flat else None,
    ),
    "resnet": EncoderEntry(
        lambda e: resnet(
            e.stage_sizes, e.width, e.norm, e.cut, checkpoint=e.checkpoint
        ),
        torch_names.RESNET,
        pretrained.IMAGENET,
        _is_resnet,
    ),
}
LEARNERS: dict[str, Callable[[fields.Model], Model | None]] = {
    "conv4": lambda m: conv4(
        m.filters,
        m.norm,
        m.downsample,
        m.output,
        1.0 if m.unit_length else m.scale,
    ),
    "resnet12": lambda m: resnet12(
        m.filters, m.norm, 1.0 if m.unit_length else m.scale
    ),
    "mlp": lambda m: mlp(m.hidden, m.dropout, m.dropped),
    "linear": lambda m: None,  # a head on the encoder's features
}
# The names in files of the networks that have such names.
NAMES: dict[str, Names] = {
    "conv4": torch_names.CONV4,
    "resnet12": torch_names.RESNET12,
} | {name: entry.names for name, entry in ENCODERS.items() if entry.names}
_CLASSIFIER = re.compile(r"_?fc\.(weight|bias)")


def build(network: Network) -> Model:
    """Builds the body of a network; raises ValueError for choices that do not fit."""
    section, model = network.encoder, LEARNERS[network.model.name](network.model)
    if section.name != "none":
        encoder = ENCODERS[section.name].build(section)
        model = composed(
            encoder, model, section.use, section.adapt_from, section.learn_from
        )
    assert model is not None
    if network.compute == "bfloat16":
        model = in_bfloat16(model)
    if network.model.added != "none":  # after the cast, to be folded in float32
        model = with_added(model, network.model.added)
    if network.model.unit_length:
        model = unit_length(model, network.model.scale)
    return model


def load_weights(
    section: fields.Encoder, body: Any, fetch: bool = True
) -> tuple[Any, About]:
    """Puts the section's weights, in float32, into a body {"encoder", "learner"}.

    Without `fetch` the body stays as it is if only the hub has the weights. An empty
    `sha256` tells so.

    Raises:
      ValueError: for weights that cannot be had, or are of another network.
    """
    if section.name not in NAMES:
        raise ValueError(
            f"encoder.weights={section.weights}: encoder.name={section.name} has no "
            "names in files of weights; give encoder.weights=''"
        )
    if not fetch and (about := pretrained.unfetched(section.weights)):
        return body, expected_by(section.name, about)
    flat, about = pretrained.load(section.weights)
    try:
        tree = NAMES[section.name].from_torch(flat, body["encoder"])
    except ValueError as error:
        raise ValueError(f"encoder.weights={section.weights}: {error}") from None
    tree = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
    return {**body, "encoder": tree}, expected_by(section.name, about)


def recognised(flat: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    """Finds fields of the `encoder` section that fit a file's arrays, or None."""
    for name, entry in ENCODERS.items():
        if entry.matches and (values := entry.matches(flat)) is not None:
            return {"name": name} | values
    return None


def expected_by(name: str, about: About) -> About:
    """Fills in the encoder's usual input where nothing is known of the weights."""
    if about.recipe != pretrained.UNKNOWN:
        return about
    recipe = pretrained.UNKNOWN._replace(input=ENCODERS[name].input)
    return about._replace(recipe=recipe)


def parts(network: Network) -> dict[str, str]:
    """Gives the network's parts with parameters, by their place in the body's tree."""
    places = ("encoder", network.encoder.name), ("learner", network.model.name)
    return {x: name for x, name in places if name not in ("none", "linear")}


def without_names(network: Network) -> list[str]:
    """Lists the config fields whose parameters have no names in PyTorch's files."""
    fields = {"encoder": "encoder.name", "learner": "model.name"}
    named, added = parts(network).items(), network.model.added
    return [
        *(f"{fields[place]}={name}" for place, name in named if name not in NAMES),
        *([] if added == "none" else [f"model.added={added}"]),
    ]


def to_torch(network: Network, body: Any, head: Any = None) -> dict[str, np.ndarray]:
    """Gives arrays of a body, or a part, and a head by name, in torch's layout.

    Where there are both an encoder and a learner, a name begins with its place.
    """
    named, scalars, arrays = parts(network), build(network).scalars, {}
    for place, name in named.items():
        whole = network.encoder.name == "none"
        tree = dict(without(scalars, body) if whole else body.get(place, {}))
        if head is not None and place == list(named)[-1]:
            tree["fc"] = head
        for key, array in NAMES[name].to_torch(tree).items():
            arrays[f"{place}.{key}" if len(named) > 1 else key] = array
    # A tree of step sizes lacks the scalars, which inner steps do not change.
    learned = {x: body[x] for x in scalars if body.get(x) is not None}
    return arrays | {x: np.asarray(value) for x, value in learned.items()}


def from_torch(network: Network, arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """Turns a file's arrays into a body like `like`, leaving out a classifier.

    Raises:
      ValueError: it names what is missing, unexpected or of another shape.
    """
    scalars = build(network).scalars
    if missing := [x for x in scalars if x not in arrays]:
        raise ValueError(f"missing: {', '.join(missing)}, of features of unit length")
    named, body = parts(network), {x: np.asarray(arrays[x]) for x in scalars}
    for place, name in named.items():
        prefix = f"{place}." if len(named) > 1 else ""
        of_place = {
            key.removeprefix(prefix): array
            for key, array in arrays.items()
            if key.startswith(prefix)
            and key not in body
            and not _CLASSIFIER.fullmatch(key, len(prefix))
        }
        if network.encoder.name == "none":
            body |= NAMES[name].from_torch(of_place, without(scalars, like))
        else:
            body[place] = NAMES[name].from_torch(of_place, like[place])
    return body
