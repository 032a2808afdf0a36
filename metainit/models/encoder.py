"""Pretrained encoders, and what is learned on their features, as one `Model`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from metainit.models import normalisation
from metainit.models.model import FeaturesFn, InitFn, LeafMask, Model, check_choice
from metainit.models.normalisation import EPSILON, BatchNorm

USES = ("frozen", "meta", "adapted")
# `(stride, x, weight) -> x`, of maps; `weight` is as of `Model.features`.
Block = Callable[[int, jax.Array, jax.Array | None], jax.Array]


class Encoder(NamedTuple):
    """A network up to a cut, from images to a map of features."""

    init: InitFn  # of images float32 [n, height, width, 3]
    # `(parameters, images, weight, key) -> float32 [n, h, w, c]` at the cut, as
    # `Model.features`.
    maps: FeaturesFn
    # Names of its parts up to the cut, first the one that sees the images.
    stages: tuple[str, ...]
    stage_of: Callable[[tuple], str]  # of a leaf's path
    norm: str = "frozen"  # one of `normalisation.PRETRAINED`


def from_linen(
    module: nn.Module,
    stages: tuple[str, ...],
    cut: str,
    stage_of: Callable[[tuple], str],
    norm: str,
) -> Encoder:
    """Wraps a linen module `(images, weight) -> map` with no variables but parameters.

    `stages` are those of the whole network, `cut` is the last that the module has. It
    raises ValueError for a cut or a policy that does not exist.
    """
    check_choice("norm", norm, normalisation.PRETRAINED)
    check_choice("cut", cut, stages)

    def init(key, images):
        return module.init(key, images, None)["params"]

    def maps(params, images, weight, key):
        return module.apply({"params": params}, images, weight)

    return Encoder(init, maps, stages[: stages.index(cut) + 1], stage_of, norm)


class Scope(nn.Module):
    """A place of its own in the parameter tree for what a function makes there."""

    function: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, *inputs: Any) -> jax.Array:
        return self.function(*inputs)


class Kernel(nn.Module):
    """The kernel of a convolution, in a place of its own too."""

    shape: tuple[int, ...]
    draw: nn.initializers.Initializer

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("kernel", self.draw, self.shape)


def layers(
    norm: str, weight: jax.Array | None, epsilon: float = EPSILON
) -> Callable[..., jax.Array]:
    """Makes `(names, shape, linear, draw) -> x`: a normalised convolution in a `Scope`.

    `names` are the places of a kernel and of its normalisation; `linear` takes the
    kernel, that `draw` makes of a shape, to what is normalised.
    """

    def layer(names, shape, linear, draw):
        kernel = Kernel(shape, draw, name=names[0])()
        return BatchNorm(norm, epsilon, name=names[1])(linear, kernel, weight)

    return layer


def stage(
    block: Block, count: int, stride: int, checkpoint: bool
) -> Callable[[jax.Array, jax.Array | None], jax.Array]:
    """Chains blocks, of which the first has the stride.

    With `checkpoint` each one's activations are computed again for its derivative.
    """
    scope = nn.remat(Scope) if checkpoint else Scope

    def blocks(x, weight):
        for index in range(count):
            function = partial(block, stride if index == 0 else 1)
            x = scope(function, name=str(index))(x, weight)
        return x

    return blocks


def composed(
    encoder: Encoder, learner: Model | None, use: str, adapt_from: str = ""
) -> Model:
    """Builds a `Model` whose body is {"encoder": ..., "learner": ...}.

    Args:
      learner: from the map to features; None for the map's average, and no "learner".
      use: "frozen": the encoder is never changed, and computed once a task; "meta":
        changed by training, not by inner steps, and computed once a task where an
        image's features do not depend on its batch; "adapted": changed by both.
      adapt_from: with "adapted", the first stage that inner steps change; "" for all.

    Raises:
      ValueError: an unknown use or stage, or a frozen encoder whose normalisation is
        not.
    """
    _check(encoder, use, adapt_from)

    def init(key, images):
        encoder_key, learner_key = jax.random.split(key)
        params = {"encoder": encoder.init(encoder_key, images)}
        if learner is not None:
            maps = jax.eval_shape(maps_of, params, images)
            params["learner"] = learner.init(learner_key, jnp.zeros(maps.shape))
        return params

    def maps_of(params, images, weight=None, key=None):
        return encoder.maps(params["encoder"], images, weight, key)

    def on_map(params, maps, weight, key):
        if learner is None:
            return jnp.mean(maps, (1, 2))
        return learner.features(params["learner"], maps, weight, key)

    def encode(params, images):
        maps = maps_of(params, images)
        # Without a learner the average is all that is kept of a task: [n, 1, 1, c].
        return maps if learner else jnp.mean(maps, (1, 2), keepdims=True)

    def features(params, images, weight, key):
        return on_map(params, maps_of(params, images, weight, key), weight, key)

    learns, adapts = _masks(encoder, use, adapt_from)
    policy, joint = normalisation.POLICIES[encoder.norm], encoder.norm == "support"
    model = Model(
        init,
        features,
        joint=joint or (learner is not None and learner.joint),
        policy=f"{policy}, learner: {learner.policy}" if learner else policy,
        adapts=adapts,
        learns=learns,
    )
    once = model._replace(features=on_map, encode=encode)
    if use == "frozen":
        return once._replace(encode=lambda *of: jax.lax.stop_gradient(encode(*of)))
    alone = use == "meta" and encoder.norm == "frozen"
    return model._replace(in_task=once if alone else None)


def _masks(encoder: Encoder, use: str, adapt_from: str) -> tuple[LeafMask, LeafMask]:
    """Masks the leaves that training changes, and those that inner steps change."""
    first = encoder.stages.index(adapt_from or encoder.stages[0])
    adapted = encoder.stages[first:] if use == "adapted" else ()

    def learns(path, leaf):
        learned = use != "frozen" and not normalisation.is_statistics(path, leaf)
        return path[0].key == "learner" or learned

    def adapts(path, leaf):
        if path[0].key == "learner":
            return True
        return learns(path, leaf) and encoder.stage_of(path[1:]) in adapted

    return learns, adapts


def _check(encoder: Encoder, use: str, adapt_from: str) -> None:
    check_choice("encoder.use", use, USES)
    if adapt_from:  # the stages are those up to the cut
        check_choice("encoder.adapt_from", adapt_from, encoder.stages)
    if adapt_from and use != "adapted":
        raise ValueError(
            f"encoder.adapt_from={adapt_from!r} is for encoder.use=adapted, not {use}"
        )
    if use == "frozen" and encoder.norm != "frozen":
        raise ValueError(
            f"encoder.use=frozen needs encoder.norm=frozen, not {encoder.norm}"
        )
