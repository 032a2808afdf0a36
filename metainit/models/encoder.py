"""Pretrained encoders, and what is learned on their features, as one `Model`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from metainit.models import normalisation
from metainit.models.model import FeaturesFn, InitFn, LeafMask, Model

USES = ("frozen", "meta", "adapted")


class Encoder(NamedTuple):
    """A network up to a cut, from images to a map of features.

    Attributes:
      init: `(key, images float32 [n, height, width, 3]) -> parameters`.
      maps: `(parameters, images, weight, key) -> float32 [n, h, w, c]` at the cut;
        weight and key as in `metainit.models.model.Model`.
      stages: names of its parts up to the cut, first the one that sees the images.
      stage_of: `(path of a leaf) -> name`, one of `stages`.
      norm: one of `normalisation.PRETRAINED`.
      is_statistics: mask of leaves that are never learned.
    """

    init: InitFn
    maps: FeaturesFn
    stages: tuple[str, ...]
    stage_of: Callable[[tuple], str]
    norm: str = "frozen"
    is_statistics: LeafMask = normalisation.is_statistics

    @property
    def joint(self) -> bool:
        """As in `Model`."""
        return self.norm == "support"

    @property
    def policy(self) -> str:
        """As in `Model`."""
        return normalisation.POLICIES[self.norm]


def from_linen(
    module: nn.Module,
    stages: tuple[str, ...],
    cut: str,
    stage_of: Callable[[tuple], str],
    norm: str,
) -> Encoder:
    """An `Encoder` of a linen module `(images, weight) -> map`.

    Args:
      module: of which parameters are the only variables.
      stages: names of the parts of the whole network.
      cut: the last one there is.
      stage_of, norm: as in `Encoder`.

    Raises:
      ValueError: for a cut or a policy that does not exist.
    """
    normalisation.check(norm, normalisation.PRETRAINED)
    if cut not in stages:
        raise ValueError(f"cut must be one of {', '.join(stages)}, got {cut!r}")

    def init(key, images):
        return module.init(key, images, None)["params"]

    def maps(params, images, weight, key):
        return module.apply({"params": params}, images, weight)

    return Encoder(init, maps, stages[: stages.index(cut) + 1], stage_of, norm)


class Kernel(nn.Module):
    """The kernel of a convolution, in a place of its own in the tree."""

    shape: tuple[int, ...]
    draw: nn.initializers.Initializer

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("kernel", self.draw, self.shape)


class Blocks(nn.Module):
    """Blocks named by their number, of which the first has the stride.

    Attributes:
      block: `(stride=, name=) -> module` from [n, h, w, c] and weight to such a map.
      count: of the blocks.
      stride: of the first.
    """

    block: Callable[..., nn.Module]
    count: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, weight: jax.Array | None) -> jax.Array:
        for index in range(self.count):
            stride = self.stride if index == 0 else 1
            x = self.block(stride=stride, name=str(index))(x, weight)
        return x


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
    _check(encoder, use, adapt_from)
    adapted = encoder.stages[encoder.stages.index(adapt_from or encoder.stages[0]) :]

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
        maps = encoder.maps(params["encoder"], images, weight, key)
        return on_map(params, maps, weight, key)

    def learns(path, leaf):
        if path[0].key == "learner":
            return True
        return use != "frozen" and not encoder.is_statistics(path[1:], leaf)

    def adapts(path, leaf):
        if path[0].key == "learner":
            return True
        stays = use != "adapted" or encoder.is_statistics(path[1:], leaf)
        return not stays and encoder.stage_of(path[1:]) in adapted

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
    alone = use == "meta" and encoder.norm == "frozen"
    return model._replace(in_task=once if alone else None)


def _check(encoder: Encoder, use: str, adapt_from: str) -> None:
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
    if use == "frozen" and encoder.norm != "frozen":
        raise ValueError(
            f"encoder.use=frozen needs encoder.norm=frozen, not {encoder.norm}: its "
            "features would depend on the other images of a batch"
        )
