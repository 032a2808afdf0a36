"""The network that a config describes."""

from typing import Any

from ml_collections import ConfigDict

from metainit.models import composed, conv4, mlp, precision, resnet
from metainit.models.encoder import Encoder
from metainit.models.model import Model


def build(config: ConfigDict) -> Model:
    """The body that `config.encoder`, `config.model` and `config.compute` describe.

    Raises:
      ValueError: for choices that do not exist or do not go together.
    """
    model: Model | None
    if config.encoder.name == "none":
        model = _learner(config.model)
        assert model is not None
    else:
        chosen = config.encoder
        model = composed.composed(
            encoder(chosen), _learner(config.model), chosen.use, chosen.adapt_from
        )
    return precision.in_bfloat16(model) if config.compute == "bfloat16" else model


def encoder(chosen: Any) -> Encoder:
    """The encoder of the `encoder` section.

    Raises:
      ValueError: for a choice that does not exist.
    """
    cut = {"cut": chosen.cut} if chosen.cut else {}
    return resnet.resnet(
        tuple(chosen.stage_sizes),
        chosen.width,
        chosen.norm,
        checkpoint=chosen.checkpoint,
        **cut,
    )


def _learner(m: Any) -> Model | None:
    if m.name == "linear":
        return None
    if m.name == "conv4":
        return conv4.conv4(m.filters, m.norm, m.downsample, m.output, m.scale)
    return mlp.mlp(m.hidden, m.dropout, m.dropped)
