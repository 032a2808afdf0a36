"""An encoder and what is learned on its features, as one `Model`."""

from typing import Any

import jax
import jax.numpy as jnp

from metainit.models.encoder import Encoder
from metainit.models.model import Model

USES = ("frozen", "meta", "adapted")


def composed(
    encoder: Encoder, learner: Model | None, use: str, adapt_from: str = ""
) -> Model:
    """A `Model` whose body is {"encoder": ..., "learner": ...}.

    Args:
      encoder: from images to a map of features.
      learner: from that map to features; None for the map's average, and no "learner".
      use: of the encoder's weights. "frozen": never changed, and computed once a task
        (`Model.encode`); "meta": changed by training, not by inner steps, and computed
        once a task (`Model.in_task`) where an image's features do not depend on its
        batch; "adapted": changed by both.
      adapt_from: with "adapted", the first of `encoder.stages` that inner steps change;
        "" for all.

    Raises:
      ValueError: an unknown use or stage, or a frozen encoder whose normalisation is
        not.
    """
    if use not in USES:
        raise ValueError(f"encoder.use must be one of {', '.join(USES)}, got {use!r}")
    if adapt_from and adapt_from not in encoder.stages:
        raise ValueError(
            f"encoder.adapt_from={adapt_from!r}; up to its cut the encoder has the "
            f"stages {', '.join(encoder.stages)}"
        )
    if adapt_from and use != "adapted":
        raise ValueError(
            f"encoder.adapt_from={adapt_from!r} is for encoder.use=adapted, not {use}"
        )
    alone = encoder.policy.startswith("frozen")
    if use == "frozen" and not alone:
        raise ValueError(
            f"encoder.use=frozen needs encoder.norm=frozen, not {encoder.policy}: its "
            "features would depend on the other images of a batch"
        )
    adapted = encoder.stages[encoder.stages.index(adapt_from) :] if adapt_from else None

    def init(key: jax.Array, images: jax.Array) -> Any:
        encoder_key, learner_key = jax.random.split(key)
        params = {"encoder": encoder.init(encoder_key, images)}
        if learner is not None:
            shape = jax.eval_shape(
                lambda p, x: encoder.maps(p, x, None, None), params["encoder"], images
            )
            params["learner"] = learner.init(learner_key, jnp.zeros(shape.shape))
        return params

    def on_map(params, maps, weight, key):
        if learner is None:
            return jnp.mean(maps, (1, 2))
        return learner.features(params["learner"], maps, weight, key)

    def encode(params, images):
        maps = encoder.maps(params["encoder"], images, None, None)
        # Without a learner the average is all that is kept of a task: [n, 1, 1, c].
        return maps if learner else jnp.mean(maps, (1, 2), keepdims=True)

    def features(params, images, weight, key):
        return on_map(
            params, encoder.maps(params["encoder"], images, weight, key), weight, key
        )

    def learns(path, leaf):
        if path[0].key == "learner":
            return True
        return use != "frozen" and not encoder.is_statistics(path[1:], leaf)

    def adapts(path, leaf):
        if path[0].key == "learner":
            return True
        if use != "adapted" or encoder.is_statistics(path[1:], leaf):
            return False
        return adapted is None or encoder.stage_of(path[1:]) in adapted

    policies = [encoder.policy] + ([learner.policy] if learner else [])
    model = Model(
        init,
        features,
        joint=encoder.joint or (learner is not None and learner.joint),
        policy=", learner: ".join(policies),
        adapts=adapts,
        learns=learns,
    )
    once = model._replace(features=on_map, encode=encode)
    if use == "frozen":
        return once._replace(encode=lambda *of: jax.lax.stop_gradient(encode(*of)))
    return model._replace(in_task=once if use == "meta" and alone else None)
