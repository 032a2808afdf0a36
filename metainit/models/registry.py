"""The network that a config describes."""

from typing import Any

import jax
import jax.numpy as jnp

from metainit.config import fields
from metainit.config.fields import Network
from metainit.models import (
    composed,
    conv4,
    efficientnet_lite0,
    efficientnet_names,
    mlp,
    precision,
    pretrained,
    resnet,
    resnet_names,
)
from metainit.models.encoder import Encoder
from metainit.models.model import Model
from metainit.models.pretrained import About


def build(network: Network) -> Model:
    """The body that `network.encoder`, `network.model` and `network.compute` describe.

    Raises:
      ValueError: for choices that do not exist or do not go together.
    """
    model: Model | None
    if network.encoder.name == "none":
        model = _learner(network.model)
        assert model is not None
    else:
        chosen = network.encoder
        model = composed.composed(
            encoder(chosen), _learner(network.model), chosen.use, chosen.adapt_from
        )
    return precision.in_bfloat16(model) if network.compute == "bfloat16" else model


def encoder(chosen: fields.Encoder) -> Encoder:
    """The encoder of the `encoder` section.

    Raises:
      ValueError: for a choice that does not exist.
    """
    cut: dict[str, Any] = {"cut": chosen.cut} if chosen.cut else {}
    if chosen.name == "efficientnet_lite0":
        return efficientnet_lite0.efficientnet_lite0(
            chosen.norm, checkpoint=chosen.checkpoint, **cut
        )
    return resnet.resnet(
        tuple(chosen.stage_sizes),
        chosen.width,
        chosen.norm,
        checkpoint=chosen.checkpoint,
        **cut,
    )


def load_weights(chosen: fields.Encoder, body: Any) -> tuple[Any, About]:
    """Puts the weights of the `encoder` section into a body.

    Args:
      chosen: the section, with `weights`.
      body: {"encoder": ..., "learner": ...}.

    Returns:
      The body with the file's arrays as float32, and where they are from.

    Raises:
      ValueError: weights that cannot be had, or of another network.
    """
    names = efficientnet_names if chosen.name == "efficientnet_lite0" else resnet_names
    weights = pretrained.load(chosen.weights)
    try:
        tree = names.from_torch(weights.flat, body["encoder"])
    except ValueError as error:
        raise ValueError(
            f"encoder.weights={chosen.weights} are not those of encoder.name="
            f"{chosen.name}: {error}"
        ) from None
    tree = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)
    return {**body, "encoder": tree}, weights.about


def _learner(m: fields.Model) -> Model | None:
    if m.name == "linear":
        return None
    if m.name == "conv4":
        return conv4.conv4(m.filters, m.norm, m.downsample, m.output, m.scale)
    return mlp.mlp(m.hidden, m.dropout, m.dropped)
