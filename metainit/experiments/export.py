"""metainit export: a run's initialisation as files for everybody, PyTorch's users too.

The folder gets init.safetensors, a model card (README.md) and, where step sizes were
learned, rates.safetensors. A finished run has them already, in RUN/export.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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

_CARD = f"""\
# {{title}}

{{method}}

## Files

- `{INIT}`: parameters; of the names {{names}}. The classifier has {{way}} rows of
  {{features}}.
{{rates}}
## What it sees

{{sees}}

## The inner loop it was learned for

{{inner}}

{{snippet}}## Results

{{results}}

## Data it was learned from

{{data}}

## Weights it started from

{{base}}
"""
_RATES = f"- `{RATES}`: learned step sizes, by the parameters' registry.\n"
_SNIPPET = "## In PyTorch\n\n```python\n{code}```\n\n"
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
        export(init, config, given.out, way, read_results(given.run))
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
    results: Iterable[Mapping[str, Any]] = (),
) -> None:
    """Writes the files of a run's initialisation, each whole or not at all.

    Args:
      config: of the run, for the card.
      way: rows of the classifier.
      results: lines of the run's `results.jsonl`, for the card.

    Raises:
      ValueError: the network has no names in PyTorch, or the head was learned for
        another way.
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
    files[CARD] = _card(init, config, way, features, results).encode()
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        atomic.write_bytes(folder / name, content)


def read_results(run: str | pathlib.Path) -> list[dict[str, Any]]:
    """Reads the lines of a run's `results.jsonl`; [] where it has none (yet)."""
    path = pathlib.Path(run) / "results.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _trained_on(config: Experiment) -> tuple[str, ...]:
    return config.data.train or (config.data.name,)


def _card(
    init: Initialisation,
    config: Experiment,
    way: int,
    features: int,
    results: Iterable[Mapping[str, Any]],
) -> str:
    learned = init.inner is not None
    inner = {"none": "one classifier over all classes"}
    code = ""
    if init.name not in _JOINTLY:
        inner = _inner(config)
        code = "" if learned else torch_snippet.of_run(config, way)
    if learned:
        inner["optimizer"] += f" before learning; {RATES} has what was learned"
    trained_on = ", ".join(own_size(name, 0)[0] for name in _trained_on(config))
    return _CARD.format(
        title=f"{init.name}: {trained_on}",
        method=_method(init, config),
        names=", ".join(
            f"of {name} are {registry.NAMES[name].said}"
            for name in registry.parts(init.built_from).values()
        ),
        way=way,
        features=features,
        rates=_RATES if learned else "",
        sees=_items(_sees(init, config)),
        inner=_items(inner),
        snippet=_SNIPPET.format(code=code) if code else "",
        results=_items(dict(_numbers(results, init.name))),
        data="\n".join(_data(config)),
        base=_items(_base(init.provenance)) if init.provenance else "- random ones",
    )


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


def _numbers(
    results: Iterable[Mapping[str, Any]], init: str
) -> Iterator[tuple[str, str]]:
    """Accuracy and F1 of every head, as chosen on meta-validation."""
    for line in results:
        if line.get("init") != init or not line.get("chosen"):
            continue
        if line["metric"] in ("accuracy", "f1"):
            value, low, high = (100 * line[name] for name in ("value", "low", "high"))
            yield (
                f"{line['metric']} on {line['dataset']}, {line['protocol']}, "
                f"{line['head']} head, {line['step']} steps",
                f"{value:.1f} % [{low:.1f}, {high:.1f}]",
            )


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
    recipe = about.recipe
    expects = recipe.input
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
