"""Initialisations that are stored in a run's folder, in a weight file or on the hub.

A file that metainit exported describes its network. Other files, such as ImageNet
weights, are recognised by the names of their arrays.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import safetensors

from metainit.config import parsing
from metainit.config.fields import Data, Experiment, Network
from metainit.core import leaves
from metainit.core.types import MetaParams
from metainit.models import pretrained, registry
from metainit.models.preprocess import Preprocess
from metainit.models.pretrained import About, ImageInput, Recipe
from metainit.runtime import arguments, atomic, untrusted
from metainit.runtime.checkpoint import BEST, LAST, Checkpoints
from metainit.runtime.cost import (
    FROM_PRETRAINED,
    META,
    NAMES,
    OURS,
    RANDOM,
    RATES,
    WARM_RATES,
    WARM_START,
    Cost,
)
from metainit.training import method as methods
from metainit.training.initialisation import Initialisation, body_shapes, random

PARTS = tuple(NAMES)  # folders of a run
USES = ("frozen", "adapted")  # uses of an encoder that metainit did not export
ORIGIN = "origin.json"
_DESCRIPTION = "metainit"  # the key in a file's metadata for its network

# Random weights without a run are of this config.
_CONV4 = Experiment(data=Data(size=64, channels=3))


def load(
    source: str,
    part: str | None = None,
    use: str = USES[0],
    size: int | None = None,
    seed: int = 0,
) -> Initialisation:
    """Loads an initialisation from a run or from weights, or draws random weights.

    Args:
      source: folder of a run; weights as of `metainit.models.pretrained.load`, such
        as "omniglot"; or "random", which is Conv-4.
      part: one of a run's `PARTS`, or "random" for its network before training; None
        for the first of "meta", "meta_from_pretrained", "rates" that the run has.
      use: one of `USES`, for an encoder in weights that metainit did not export.
      size: the size of the images; None for that of the run or weights.
      seed: the seed of random weights without a run.

    Raises:
      ValueError: the source or part is not there, or its network is not known here.
    """
    kind = kind_of(source)
    if kind == "weights":
        return _of_weights(source, use, size)
    config = _CONV4 if kind == RANDOM else config_of(source)
    network = parsing.replaced(config.network, {"size": size or config.data.size})
    if RANDOM in (kind, part):
        init = random(network, seed if kind == RANDOM else config.seed)
        augmented = init.preprocess._replace(**dataclasses.asdict(config.augment))
        return init._replace(preprocess=augmented)
    ours = (name for name in PARTS if NAMES[name] in OURS)
    existing = [name for name in ours if os.path.isdir(f"{source}/{name}")]
    part = part or (existing or PARTS)[0]
    return _of_run(source, part, config, network)


def kind_of(source: str) -> str:
    """Tells what `load` takes a source for: "random", "weights" or "run"."""
    if source == RANDOM:
        return RANDOM
    if source in (pretrained.WHEEL, *pretrained.SHIPPED):
        return "weights"  # also where a folder has this name; ./NAME is the folder
    is_weights = source.endswith(pretrained.SUFFIXES) or pretrained.on_hub(source)
    return "weights" if is_weights and not os.path.isdir(source) else "run"


def config_of(run: str | os.PathLike[str]) -> Experiment:
    """Reads the config of a run's folder; raises ValueError for any other folder."""
    run = pathlib.Path(run)
    if not run.is_dir():
        hub = f", or hf:{run} of the hub" * (str(run).count("/") == 1)
        raise ValueError(
            f"init: there is no folder {run}; give a run's{hub}{_near(run)}"
        )
    try:
        values = untrusted.read_json(run / "config.json")
        if values.get("kind") == "supervised":
            raise ValueError("it is of a plain classifier, not of meta-learning")
        config = parsing.parse(values, Experiment)
        registry.build(config.network)
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"init: {run} is no folder of a run ({error})") from error
    return config


def _near(run: pathlib.Path) -> str:
    """Suggests what was meant: a run beside it or below runs/, or a known name."""
    folders = {run.parent, pathlib.Path("runs")}
    runs = [path.parent for x in folders for path in x.glob("*/config.json")]
    named = RANDOM, pretrained.WHEEL, *pretrained.SHIPPED
    return arguments.nearest(str(run), [*map(str, sorted(runs)), *named])


def save_origin(workdir: str | os.PathLike[str], start: Initialisation) -> None:
    """Stores in a run's folder which weights it started from and how it sees images.

    It raises ValueError where the run began with other weights.
    """
    path, now, weights = pathlib.Path(workdir) / ORIGIN, start.provenance, None
    before = _origin(workdir)["weights"] if path.exists() else None
    if before and now and before.sha256 != now.sha256:
        raise ValueError(
            f"encoder.weights={now.source} is another file (sha256 {now.sha256}) than "
            f"when {workdir} began ({before.sha256}); give that or another --workdir"
        )
    if now:
        recipe = now.recipe._asdict() | {"input": now.recipe.input._asdict()}
        weights = now._asdict() | {"recipe": recipe}
    seen = {"mean": start.preprocess.mean, "std": start.preprocess.std}
    made = {"weights": weights, "device": jax.devices()[0].device_kind}
    atomic.write_json(path, seen | made)


def _origin(run: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads what `save_origin` stored."""
    path = pathlib.Path(run) / ORIGIN
    try:
        content = untrusted.read_json(path)
        if weights := content["weights"]:
            seen = weights["recipe"]["input"]
            sees = ImageInput(
                mean=_colour(seen["mean"]),
                std=_colour(seen["std"]),
                side=int(seen["side"]),
                crop=float(seen["crop"]),
            )
            recipe = Recipe(**weights["recipe"] | {"input": sees})
            content["weights"] = About(**weights | {"recipe": recipe})
        return content | {
            name: tuple(map(float, content[name])) for name in ("mean", "std")
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({error}): train the run") from error


def _colour(values: Sequence[Any]) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


def _of_run(
    run: str, part: str, config: Experiment, network: Network
) -> Initialisation:
    """Loads a part of a run, with its best parameters by meta-validation."""
    best = Checkpoints(f"{run}/{part}/{BEST}").restore()
    if best is None:
        known = [name for name in PARTS if os.path.isdir(f"{run}/{name}/{BEST}")]
        words = f"it has {', '.join(known) or 'none'}"
        raise ValueError(f"init: {run} has no best checkpoint of {part!r}; {words}")
    saved = {
        name.removeprefix(".params"): leaf
        for name, leaf in best.state.items()
        if name.startswith(".params")
    }
    model, body = registry.build(network), body_shapes(network)
    wanted: Any = {"body": body}
    of_task = part in (META, FROM_PRETRAINED)
    rates_learned = config.method.step_sizes != "fixed" and of_task
    if part in (RATES, WARM_RATES):
        wanted = MetaParams(wanted, methods.log_step_sizes(config.method, model, body))
    elif config.method.head == "learned" and of_task:
        at = ".model" * rates_learned + "['head']['{}']"
        head = {name: saved.get(at.format(name)) for name in ("kernel", "bias")}
        wanted["head"] = head
    else:  # leave out the head of joint pretraining, which is of other classes
        in_model = {name for name in saved if name.startswith("['head']")}
        saved = {name: leaf for name, leaf in saved.items() if name not in in_model}
    if rates_learned:
        wanted = methods.with_step_sizes(config.method, model, wanted)
    params = leaves.filled(
        wanted,
        saved,
        f"init: {pathlib.Path(run) / part} with {network.size}x{network.size}x"
        f"{network.channels} images is of another network, size or channels",
    )
    params, inner = params if isinstance(params, MetaParams) else (params, None)
    origin, augment = _origin(run), dataclasses.asdict(config.augment)
    encode = model.encode
    return Initialisation(
        name=NAMES[part],
        model=model,
        preprocess=Preprocess(origin["mean"], origin["std"], **augment, encode=encode),
        body=params["body"],
        cost=_cost(pathlib.Path(run), part, origin["device"]),
        head=params.get("head"),
        inner=inner,
        phases=config.method.phases,
        provenance=origin["weights"],
        network=network,
    )


def _cost(run: pathlib.Path, part: str, device: str) -> Cost:
    """Gives the device time that a part of a run took, a warm start included."""
    began_warm = part in (FROM_PRETRAINED, WARM_RATES)
    parts, seconds = [part] + [WARM_START] * began_warm, 0.0
    for folder in (run / name / LAST for name in parts):
        if (last := Checkpoints(folder).restore()) is None:
            again = "give the run's own line again"
            raise ValueError(f"init: {folder} has no checkpoint; {again}")
        seconds += last.extra["device_seconds"]
    return Cost(seconds, 0, 0, device=device)


def describe(init: Initialisation, size: int) -> dict[str, str]:
    """Makes the metadata of an exported file, from which its network is built again."""
    network = dataclasses.replace(init.built_from, size=size)
    seen = {"mean": init.preprocess.mean, "std": init.preprocess.std}
    return {_DESCRIPTION: json.dumps(dataclasses.asdict(network) | seen)}


def _of_weights(source: str, use: str, size: int | None) -> Initialisation:
    flat, about = pretrained.load(source)
    with atomic.reading(f"init: {source}: what it says of its network"):
        values = _description(source)
    if values is None:
        encoder = registry.recognised(flat)
        if encoder is None:
            raise ValueError(
                f"init: {source} is of no network known here: a ResNet by names of "
                "torchvision, EfficientNet-Lite0, or what metainit export wrote"
            )
        about = registry.expected_by(encoder["name"], about)
        mean, std, side = about.recipe.input[:3]
        values = {"encoder": encoder | {"use": use}, "model": {"name": "linear"}}
        values |= {"size": side, "channels": 3, "compute": "float32"}
    else:
        mean, std = values.pop("mean"), values.pop("std")
    try:
        network = parsing.parse(values | ({"size": size} if size else {}), Network)
        model = registry.build(network)
        body = registry.from_torch(network, flat, body_shapes(network))
    except (ValueError, TypeError) as error:
        raise ValueError(f"init: {source}: {error}") from error
    return Initialisation(
        name=source,
        model=model,
        preprocess=Preprocess(mean, std, encode=model.encode),
        body=jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), body),
        provenance=about,
        network=network,
    )


def _description(source: str) -> dict[str, Any] | None:
    path = pretrained.SHIPPED.get(source, pathlib.Path(source))
    if not path.suffix == pretrained.SUFFIXES[0]:
        return None
    with safetensors.safe_open(path, "np") as file:
        said = (file.metadata() or {}).get(_DESCRIPTION)
    if not said:
        return None
    values = json.loads(said)
    colours = ((float(x) for x in values[name]) for name in ("mean", "std"))
    return values | dict(zip(("mean", "std"), map(tuple, colours), strict=True))
