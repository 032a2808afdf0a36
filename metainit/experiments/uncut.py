"""Measures the whole pretrained encoder, as its makers meant it, at meta-test.

It shows what one gets without any training here. No stage is cut off, images have the
size that it was trained with, and a linear head takes its average features.
"""

from typing import Any, NamedTuple

import numpy as np

from metainit.config import fields, parsing
from metainit.config.fields import Experiment, Network
from metainit.data import cache, episode_set, loading
from metainit.data.episode_set import Samples
from metainit.data.loading import Roles, Source
from metainit.evaluation import adaptation
from metainit.evaluation.few_shot import Entrants
from metainit.models import registry
from metainit.models.preprocess import Preprocess
from metainit.training import frozen_features
from metainit.training.initialisation import Initialisation, body_shapes, drawn
from metainit.training.method import make_method

NAME, FIELD = "pretrained weights, uncut", "evaluate.uncut"


class Whole(NamedTuple):
    """The whole encoder, and its features of every image, which are computed once.

    Attributes:
      init: the encoder, or None if there is none to measure.
      roles: the features, of all roles but meta-train.
      seconds: what computing them would take, in a dry run.
    """

    init: Initialisation | None = None
    roles: Roles = Roles((), (), ())
    seconds: float = 0.0


def prepare(
    config: Experiment, start: Initialisation, roles: Roles, dry_run: bool
) -> Whole:
    """Computes the features of `roles`, or in a dry run the seconds of doing so.

    There is nothing to do without pretrained weights, or if `start` is the whole
    encoder already. It raises ValueError for weights of a part of the encoder.
    """
    if (network := _network(config, start)) is None:
        return Whole()
    model, shapes = registry.build(network), body_shapes(network)
    # Features of unit length have the factor that training starts from.
    others = {name: start.body[name] for name in shapes.keys() - {"encoder"}}
    like = others | {"encoder": shapes["encoder"]}
    try:
        body, about = registry.load_weights(network.encoder, like, not dry_run)
    except ValueError as error:
        raise ValueError(
            f"{FIELD}=True needs all of the encoder ({error}); set it to False"
        ) from None
    if not about.sha256:  # not fetched
        body = others | drawn({"encoder": shapes["encoder"]})
    mean, std = about.recipe.input[:2]
    seen = Preprocess(mean, std, encode=model.encode)
    init = Initialisation(NAME, model, seen, body, provenance=about, network=network)
    judged = roles._replace(train=())
    if dry_run:
        shape = (network.size, network.size, network.channels)
        sources = [_blank(source, shape) for source in sum(judged, ())]
        init, maps, seconds = frozen_features.stand_ins(init, sources, FIELD)
    else:
        sources, seconds = _read(config, network.size, judged), 0.0
        folder = cache.root(config.data.data_dir) / "features"
        init, maps = frozen_features.encode(init, sources, folder, FIELD)
    rest = iter(maps)
    by_role = (tuple(next(rest) for _ in of_role) for of_role in judged)
    return Whole(init, Roles(*by_role), seconds)


def entrants(whole: Whole, config: Experiment, samples: Samples) -> list[Entrants]:
    """Enters the encoder on the episodes of all others, if it is to be measured.

    Steps change the head alone.
    """
    if (init := whole.init) is None:
        return []
    of_head = parsing.replaced(config, {"method.algorithm": "anil"})
    method = make_method(of_head, init.model, init.preprocess)
    asked = config.evaluate
    evaluator_of = adaptation.evaluators(method, asked.steps)
    same = episode_set.redrawn(samples, whole.roles)
    return [Entrants(asked, {NAME: init}, same, evaluator_of)]


def _network(config: Experiment, start: Initialisation) -> Network | None:
    """Makes the network of the whole encoder, or None if it is not to be measured."""
    asked = config.evaluate.uncut and config.evaluate.episodes
    if not asked or start.network is None or start.provenance is None:
        return None
    uses: dict[str, Any] = {"use": "frozen", "adapt_from": "", "learn_from": ""}
    uses |= {"cached": False, "checkpoint": False}
    frozen = {f"encoder.{name}": value for name, value in uses.items()}
    # Modules added to stages that adapt have no place in a frozen encoder.
    given = parsing.replaced(config.network, frozen | {"model.added": "none"})
    size = start.provenance.recipe.input.side
    changes = {"encoder.cut": "", "encoder.norm": "frozen", "size": size}
    whole = parsing.replaced(given, changes | {"model.name": "linear"})
    return None if whole == given else whole


def _blank(source: Source, shape: tuple[int, ...]) -> Source:
    images = np.broadcast_to(np.uint8(0), (len(source.labels), *shape))
    return source._replace(images=images)


def _read(config: Experiment, size: int, roles: Roles) -> list[Source]:
    """Reads the images of `roles` at another size, and leaves out what `roles` do."""
    changes: dict[str, Any] = {"size": size}
    for role in ("train", "validation", "test"):
        names = getattr(config.data, role)
        changes[role] = tuple(fields.own_size(name, size)[0] for name in names)
    read = loading.load(parsing.replaced(config.data, changes))
    pairs = zip(sum(read._replace(train=()), ()), sum(roles, ()), strict=True)
    return [large._replace(labels=source.labels) for large, source in pairs]


def notes(whole: Whole, config: Experiment) -> list[str]:
    """Gives a sentence for the report if the encoder is measured."""
    if (init := whole.init) is None:
        return []
    return [
        f"{NAME}: its images have {init.built_from.size} pixels a side, those of the "
        f"others {config.data.size}, and it has {init.model.policy}. Its features were "
        "made once for every image; their time is in no row."
    ]
