"""Pretrained encoders, joined with learners on their features to one `Model`."""

from collections.abc import Callable, Mapping
from functools import partial, reduce
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from metainit.models import normalisation
from metainit.models.model import EncodeFn, FeaturesFn, InitFn, Model, check_choice
from metainit.models.normalisation import EPSILON, BatchNorm

USES = ("frozen", "meta", "adapted")
NONE = "none"  # as the first stage to learn: there is none
# `(stride, x, weight) -> x`, from map to map; `weight` is as in `Model.features`.
Block = Callable[[int, jax.Array, jax.Array | None], jax.Array]
# `(x, weight) -> x`, from map to map. It makes its leaves in a compact linen method.
Part = Callable[[jax.Array, jax.Array | None], jax.Array]


class Encoder(NamedTuple):
    """A network up to a cut, from images to a map of features."""

    init: InitFn  # of images float32 [n, height, width, 3]
    # `(parameters, images, weight, key, first=0, last=None) -> float32 [n, h, w, c]`,
    # with the arguments of `Model.features`. It runs only `stages[first:last]`, on the
    # output of the stages before `first`.
    maps: Callable[..., jax.Array]
    # The names of its parts up to the cut. The first part sees the images.
    stages: tuple[str, ...]
    stage_of: Callable[[tuple], str]  # gives the stage of a leaf's path
    norm: str = "frozen"  # one of `normalisation.PRETRAINED`


def from_linen(
    parts: Mapping[str, Part], cut: str, stage_of: Callable[[tuple], str], norm: str
) -> Encoder:
    """Chains the parts of a network, given by their stages' names, up to the cut.

    It raises ValueError for a cut or a policy that does not exist.
    """
    check_choice("norm", norm, normalisation.PRETRAINED)
    check_choice("cut", cut, tuple(parts))
    stages = tuple(parts)[: tuple(parts).index(cut) + 1]

    def module(names):
        return Scope(lambda x, w: reduce(lambda x, name: parts[name](x, w), names, x))

    def init(key, images):
        return module(stages).init(key, images, None)["params"]

    def maps(params, x, weight, key, first=0, last=None):
        return module(stages[first:last]).apply({"params": params}, x, weight)

    return Encoder(init, maps, stages, stage_of, norm)


class Scope(nn.Module):
    """A module that runs a function whose parameters have their own subtree."""

    function: Callable[..., jax.Array]

    @nn.compact
    def __call__(self, *inputs: Any) -> jax.Array:
        return self.function(*inputs)


class Kernel(nn.Module):
    """The kernel of a convolution, which also has its own place in the tree."""

    shape: tuple[int, ...]
    draw: nn.initializers.Initializer

    @nn.compact
    def __call__(self) -> jax.Array:
        return self.param("kernel", self.draw, self.shape)


def layers(
    norm: str, weight: jax.Array | None, epsilon: float = EPSILON
) -> Callable[..., jax.Array]:
    """Makes `(names, shape, linear, draw) -> x`: a normalised convolution in a `Scope`.

    `names` are the places of a kernel and of its normalisation. `draw` makes the kernel
    of a shape, and `linear` computes from the kernel what is normalised.
    """

    def layer(names, shape, linear, draw):
        kernel = Kernel(shape, draw, name=names[0])()
        return BatchNorm(norm, epsilon, name=names[1])(linear, kernel, weight)

    return layer


def stage(block: Block, count: int, stride: int, checkpoint: bool) -> Part:
    """Chains blocks, of which the first has the stride.

    With `checkpoint` each block's derivative computes its activations again.
    """
    scope = nn.remat(Scope) if checkpoint else Scope

    def blocks(x, weight):
        for index in range(count):
            function = partial(block, stride if index == 0 else 1)
            x = scope(function, name=str(index))(x, weight)
        return x

    return blocks


def composed(
    encoder: Encoder,
    learner: Model | None,
    use: str,
    adapt_from: str = "",
    learn_from: str = "",
) -> Model:
    """Builds a `Model` whose body is {"encoder": ..., "learner": ...}.

    Stages before the first that anything changes are frozen, and are the model's
    `encode`. In `in_task` a task computes once the stages that only training changes.
    The model has neither where an image's features depend on its batch.

    Args:
      learner: computes features from the map. With None the features are the map's
        average, and there is no "learner".
      use: what changes the encoder. With "frozen" nothing does, with "meta" training
        does, and with "adapted" inner steps do, too.
      adapt_from: with "adapted", the first stage that inner steps change; "" for all.
      learn_from: with "meta" and "adapted", the first stage that training changes. ""
        stands for all. With "none" training changes no stage, so that each task starts
        from the stages as they are.

    Raises:
      ValueError: for an unknown use or stage, for choices that contradict each other,
        or for a frozen encoder whose normalisation is not frozen.
    """
    _check(encoder, use, adapt_from, learn_from)
    # The numbers of the first stage that training changes, and that inner steps change.
    stages, end = encoder.stages, len(encoder.stages)
    learned = end if use == "frozen" or learn_from == NONE else _at(stages, learn_from)
    adapted = _at(stages, adapt_from) if use == "adapted" else end

    def init(key, images):
        encoder_key, learner_key = jax.random.split(key)
        params = {"encoder": encoder.init(encoder_key, images)}
        if learner is not None:
            maps = jax.eval_shape(encoder.maps, params["encoder"], images, None, None)
            params["learner"] = learner.init(learner_key, jnp.zeros(maps.shape))
        return params

    def encode(first: int, last: int) -> EncodeFn:
        def encode(params, x):
            maps = encoder.maps(params["encoder"], x, None, None, first, last)
            # Without a learner only the average is kept, [n, 1, 1, c].
            is_all = last == end and learner is None
            return jnp.mean(maps, (1, 2), keepdims=True) if is_all else maps

        return encode

    def features(first: int) -> FeaturesFn:
        def features(params, x, weight, key):
            maps = encoder.maps(params["encoder"], x, weight, key, first)
            if learner is None:
                return jnp.mean(maps, (1, 2))
            return learner.features(params["learner"], maps, weight, key)

        return features

    def learns(path, leaf):
        return path[0].key == "learner" or is_of(stages[learned:], path, leaf)

    def adapts(path, leaf):
        return path[0].key == "learner" or is_of(stages[adapted:], path, leaf)

    def is_of(some, path, leaf):
        is_learnable = not normalisation.is_statistics(path, leaf)
        return is_learnable and encoder.stage_of(path[1:]) in some

    of_learner = learner and learner.layer_of

    def layer_of(path):
        if path[0].key == "encoder":
            return stages.index(encoder.stage_of(path[1:]))
        return end + ((of_learner and of_learner(path[1:])) or 0)

    alone = encoder.norm == "frozen"
    frozen, once = (min(learned, adapted), adapted) if alone else (0, 0)
    policy, joint = normalisation.POLICIES[encoder.norm], encoder.norm == "support"
    model = Model(
        init,
        features(frozen),
        joint=joint or (learner is not None and learner.joint),
        policy=f"{policy}, learner: {learner.policy}" if learner else policy,
        adapts=adapts,
        learns=learns,
        layer_of=layer_of,
        alone=alone and (learner is None or learner.alone),
    )
    if frozen:
        in_front = encode(0, frozen)
        fixed = lambda *of: jax.lax.stop_gradient(in_front(*of))  # noqa: E731
        model = model._replace(encode=fixed)
    if frozen < once:
        behind = model._replace(features=features(once), encode=encode(frozen, once))
        model = model._replace(in_task=behind)
    return model


def _at(stages: tuple[str, ...], name: str) -> int:
    return stages.index(name) if name else 0


def _check(encoder: Encoder, use: str, adapt_from: str, learn_from: str) -> None:
    check_choice("encoder.use", use, USES)
    if adapt_from:  # the encoder has the stages up to the cut
        check_choice("encoder.adapt_from", adapt_from, encoder.stages)
    if learn_from:
        check_choice("encoder.learn_from", learn_from, (*encoder.stages, NONE))
    if adapt_from and use != "adapted":
        raise ValueError(
            f"encoder.adapt_from={adapt_from!r} is for encoder.use=adapted, not {use}"
        )
    if learn_from and use == "frozen":
        raise ValueError(
            f"encoder.learn_from={learn_from!r} is for encoder.use=meta or adapted, "
            "not frozen, which learns none of it"
        )
    if learn_from == NONE and use == "meta":
        raise ValueError(
            "encoder.learn_from='none' with encoder.use=meta changes nothing of the "
            "encoder: give use=frozen"
        )
    if use == "frozen" and encoder.norm != "frozen":
        raise ValueError(
            f"encoder.use=frozen needs encoder.norm=frozen, not {encoder.norm}"
        )
