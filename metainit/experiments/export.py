"""metainit export: a run's initialisation as files for everybody, PyTorch's users too.

The folder gets init.safetensors, a model card (README.md) and, where step sizes were
learned, rates.safetensors. A finished run has them already, in RUN/export.
"""

import argparse
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from metainit.config.fields import Experiment, own_size
from metainit.data.builders import catalog
from metainit.models import classification, registry, torch_snippet
from metainit.models.pretrained import About
from metainit.runtime import atomic
from metainit.runtime.cost import EQUAL_FLOPS, JOINT, NAMES
from metainit.training import stored
from metainit.training.initialisation import Initialisation

FOLDER = "export"
INIT, RATES, CARD = "init.safetensors", "rates.safetensors", "README.md"

_JOINTLY = {
    NAMES[JOINT]: "the device time of",
    NAMES[EQUAL_FLOPS]: "as many operations as",
}
_ALGORITHMS = {"maml": "MAML", "anil": "ANIL", "reptile": "Reptile"}
_HEADS = {
    "zero": "zero",
    "prototype": "the class means c of the support's features: weights 2c, bias -|c|^2",
    "learned": "as it is in the file",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status, 2 for a mistake."""
    parser = argparse.ArgumentParser(
        prog="metainit export",
        description="Writes a run's initialisation for PyTorch and others.",
    )
    add = parser.add_argument
    add("run", help="folder of launch.py")
    add("--out", required=True, help="folder of the files")
    add("--way", type=int, help="rows of the classifier; by default of a training task")
    add(
        "--which",
        choices=stored.PARTS,
        help="what of the run; by default meta, or else meta_from_pretrained",
    )
    given = parser.parse_args(argv)
    try:
        init = stored.load(given.run, given.which)
        config = stored.config_of(given.run)
        way = given.way
        if way is None:
            way = config.train_task.way or config.task.way
        export(init, config, given.out, way, given.run)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"written to {given.out}; {CARD} there says what it is")
    return 0


def export(
    init: Initialisation,
    config: Experiment,
    out: str | pathlib.Path,
    way: int,
    run: str | pathlib.Path,
) -> None:
    """Writes the files of a run's initialisation, each whole or not at all.

    The classifier has `way` rows; the card has what `run` measured by now. A network
    without names in PyTorch, or a head learned for another way, is a ValueError.
    """
    network, head = init.built_from, init.head
    if unnamed := registry.without_names(network):
        raise ValueError(
            f"model.name={unnamed[0]} has no names in PyTorch; there are some for "
            f"{', '.join(registry.NAMES)}"
        )
    if way < 2:
        raise ValueError(f"way={way}: give 2 or more classes, as --way 5")
    if head is not None and len(head["bias"]) != way:
        raise ValueError(
            f"way={way}: the head was learned for {len(head['bias'])} classes; "
            "give that"
        )
    _, size = own_size(_trained_on(config)[0], network.size)
    # Of images, also where the initialisation is on the maps of its encoder.
    features = classification.feature_count(
        registry.build(network), init.body, jnp.zeros((1, size, size, network.channels))
    )
    if head is None:
        head = {"kernel": np.zeros((features, way), np.float32)}
        head["bias"] = head["kernel"][0]
    arrays = registry.to_torch(network, init.body, head)
    files = {INIT: safetensors.numpy.save(arrays, stored.describe(init, size))}
    if init.inner is not None:
        rate = np.float32(config.inner.learning_rate)
        sizes = jax.tree.map(lambda log: rate * np.exp(log), init.inner)
        rates = registry.to_torch(network, sizes["body"], sizes["head"])
        files[RATES] = safetensors.numpy.save(rates)
    files[CARD] = _card(init, config, way, features, run).encode()
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        atomic.write_bytes(folder / name, content)


def _trained_on(config: Experiment) -> tuple[str, ...]:
    return config.data.train or (config.data.name,)


def _card(
    init: Initialisation,
    config: Experiment,
    way: int,
    features: int,
    run: str | pathlib.Path,
) -> str:
    names = ", ".join(
        f"of {name} are {registry.NAMES[name].said}"
        for name in registry.parts(init.built_from).values()
    )
    files = {
        f"`{INIT}`": f"parameters; of the names {names}. The classifier has {way} rows "
        f"of\n  {features}."
    }
    inner = {"none": "one classifier over all classes"}
    code = ""
    if init.name not in _JOINTLY:
        inner = _inner(config)
        code = torch_snippet.of_run(config, way) if init.inner is None else ""
    if init.inner is not None:
        files[f"`{RATES}`"] = "learned step sizes, by the parameters' registry."
        inner["optimizer"] += f" before learning; {RATES} has what was learned"
    trained_on = ", ".join(own_size(name, 0)[0] for name in _trained_on(config))
    sections = {
        f"# {init.name}: {trained_on}": _method(init, config),
        "## Files": _items(files),
        "## What it sees": _items(_sees(init, config)),
        "## The inner loop it was learned for": _items(inner),
        "## In PyTorch": f"```python\n{code}```" if code else "",
        "## Results": _items(_results(run, init.name)),
        "## Data it was learned from": "\n".join(_data(config)),
        "## Weights it started from": _items(_base(init.provenance))
        if init.provenance
        else "- random ones",
    }
    return "\n".join(f"{title}\n\n{text}\n" for title, text in sections.items() if text)


def _items(values: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in values.items()) or "- none"


def _method(init: Initialisation, config: Experiment) -> str:
    chosen = f"(seed {config.seed}). It is the best by meta-validation."
    if init.name in _JOINTLY:
        return (
            "Joint supervised pretraining, one classifier over all meta-train classes, "
            f"for {_JOINTLY[init.name]} meta-learning {chosen}"
        )
    method = config.method
    name = _ALGORITHMS.get(method.algorithm, method.algorithm)
    if method.algorithm != "reptile":
        order = "first" if method.gradient == "first_order" else "second"
        name += f", {order} order"
    if init.inner is not None:
        name += ", step sizes alone; the weights are those it started from"
    return (
        f"{name}: {config.iterations} meta-iterations of {config.meta_batch} tasks, "
        f"outer Adam at {config.outer.learning_rate} {chosen}"
    )


def _sees(init: Initialisation, config: Experiment) -> dict[str, str]:
    sizes = {own_size(name, config.data.size)[1] for name in _trained_on(config)}
    sides = " or ".join(f"{size}x{size}" for size in sorted(sizes))
    channels = "red, green, blue" if config.data.channels == 3 else "grey"
    mean, std = (_rounded(x) for x in (init.preprocess.mean, init.preprocess.std))
    sees = {
        "images": f"{sides} pixels, {channels}, x / 255 - {mean}, divided by {std}",
        "normalisation": init.model.policy,
        "computed in": config.compute,
    }
    if (model := config.model).name == "conv4":
        sees["features"] = f"{model.output} of the last block, times {model.scale}"
        sees["blocks"] = f"halve the image by {model.downsample}"
    return sees


def _inner(config: Experiment) -> dict[str, str]:
    task, inner, encoder = config.train_task, config.inner, config.encoder
    adapts = "everything"
    if config.method.algorithm == "anil":
        adapts = "the head"
    elif encoder.name != "none" and encoder.use != "adapted":
        adapts = "all but the encoder" if config.model.name == "conv4" else "the head"
    elif encoder.adapt_from:
        adapts = f"the head, and the encoder from {encoder.adapt_from} up"
    elif encoder.name != "none":
        adapts = "everything but running statistics"
    return {
        "task": f"{f'{task.way}-way' if task.way else 'every class'} {task.shot}-shot, "
        f"{task.queries} queries a class",
        "head starts at": _HEADS[config.method.head],
        "optimizer": f"{ {'sgd': 'SGD', 'adam': 'Adam'}[inner.optimizer] } at "
        f"{inner.learning_rate}",
        "steps": str(inner.steps),
        "batch": f"{inner.batch} images" if inner.batch else "the whole support",
        "adapts": adapts,
    }


def _results(run: str | pathlib.Path, init: str) -> dict[str, str]:
    """Accuracy and F1 of every head, as chosen on meta-validation."""
    path, results = pathlib.Path(run) / "results.jsonl", {}
    for text in path.read_text().splitlines() if path.exists() else ():
        row = json.loads(text)
        if row.get("init") != init or not row.get("chosen"):
            continue
        if row["metric"] in ("accuracy", "f1"):
            value, low, high = (100 * row[name] for name in ("value", "low", "high"))
            where = f"{row['metric']} on {row['dataset']}, {row['protocol']}"
            head = f"{row['head']} head, {row['step']} steps"
            results[f"{where}, {head}"] = f"{value:.1f} % [{low:.1f}, {high:.1f}]"
    return results


def _data(config: Experiment) -> Iterator[str]:
    """A line for each data set that was learned from, with its licence."""
    roles = ("", _trained_on(config)), (" (to choose by)", config.data.validation)
    for role, sources in roles:
        for name in sources:
            terms = catalog.terms_of(own_size(name, 0)[0])
            words = [
                f"- {terms.title}{role}: licence: "
                f"{terms.licence or 'none stated that we know of'}.",
                terms.terms or "Ask the makers before any use but research.",
                terms.homepage,
                f"({terms.citation})" if terms.citation else "",
            ]
            yield " ".join(filter(None, words))


def _base(about: About) -> dict[str, str]:
    recipe, expects = about.recipe, about.recipe.input
    return {
        "source": about.source + (f" at {about.revision}" if about.revision else ""),
        "SHA-256": about.sha256,
        "recipe": recipe.name,
        "licence": recipe.licence or "unknown: find out before you share this",
        "trained on": recipe.data or "unknown",
        "images": f"x / 255 - {_rounded(expects.mean)}, divided by "
        f"{_rounded(expects.std)}; {expects.side} pixels square from the centre "
        f"{expects.crop:.3g} of the short side",
    }


def _rounded(values: Sequence[float]) -> str:
    return f"({', '.join(f'{value:.6g}' for value in values)})"
