"""Runs `metainit export`: it writes a run's initialisation for PyTorch and others.

The folder gets init.safetensors, a model card (README.md, from card.md) and, where step
sizes were learned, rates.safetensors. A finished run has them already, in RUN/export.
"""

import pathlib
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from metainit.config.fields import Experiment, own_size
from metainit.data.builders import catalog
from metainit.models import classification, registry
from metainit.models.pretrained import About
from metainit.reporting.tables import escaped
from metainit.runtime import atomic
from metainit.runtime.arguments import Parser
from metainit.runtime.cost import (
    EQUAL_FLOPS,
    FROM_PRETRAINED,
    JOINT,
    META,
    NAMES,
    WARM_RATES,
)
from metainit.training import stored
from metainit.training.initialisation import Initialisation
from metainit.training.method import described

FOLDER = "export"
INIT, RATES, CARD = "init.safetensors", "rates.safetensors", "README.md"

_TEMPLATE = pathlib.Path(__file__).with_name("card.md")
_PRETRAINED_FOR = {
    NAMES[JOINT]: "the device time of",
    NAMES[EQUAL_FLOPS]: "as many operations as",
}
_HEADS = {
    "zero": "zero",
    "prototype": "the class means c of the support's features: weights 2c, bias -|c|^2",
    "cosine": "s c / |c| of the class means c, bias 0, with s = exp(log_scale)",
    "ridge": "ridge regression of the labels, of penalty exp(log_penalty)",
    "learned": "as it is in the file",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; raises ValueError or OSError for a mistake."""
    given = parser().parse_args(argv)
    init, config = stored.load(given.run, given.which), stored.config_of(given.run)
    of_task = config.train_task.way or config.task.way
    way = of_task if given.way is None else given.way
    export(init, config, given.out, way, given.run)
    print(f"written to {given.out}; {CARD} there says what it is")
    return 0


def parser() -> Parser:
    """Makes the parser of `metainit export`."""
    options = Parser(
        "metainit export",
        "Writes a run's initialisation for PyTorch and others.",
        "metainit export runs/quickstart --out init --way 5",
    )
    add = options.add_argument
    add("run", metavar="RUN", help="folder of a run")
    add("--out", required=True, help="folder of the files")
    way = "rows of the classifier; default as a training task has classes"
    add("--way", type=int, metavar="N", help=way)
    which = "which initialisation of the run; default meta, or what is like it"
    names = f"{which}; {', '.join(stored.PARTS)}"
    add("--which", choices=stored.PARTS, metavar="PART", help=names)
    return options


def export(
    init: Initialisation,
    config: Experiment,
    out: str | pathlib.Path,
    way: int,
    run: str | pathlib.Path,
) -> None:
    """Writes the files of a run's initialisation, each whole or not at all.

    The classifier has `way` rows. The card has what `run` has measured so far. It
    raises ValueError for a network without names in PyTorch, or a head of another way.
    """
    network, head = init.built_from, init.head
    if unnamed := registry.without_names(network):
        raise ValueError(
            f"{unnamed[0]} has no names in PyTorch; there are some for "
            f"{', '.join(registry.NAMES)}, with model.added=none"
        )
    if way < 2:
        raise ValueError(f"way={way}: give 2 or more classes, as --way 5")
    if head is not None and len(head["bias"]) != way:
        raise ValueError(
            f"way={way}: the head was learned for {len(head['bias'])} classes; "
            "give that"
        )
    _, size = _trained_on(config)[0]
    # This network takes images, even if `init` takes the maps of its encoder.
    features = classification.feature_count(
        registry.build(network), init.body, jnp.zeros((1, size, size, network.channels))
    )
    if head is None:
        shapes = {"kernel": (features, way), "bias": way}
        head = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
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


def _trained_on(config: Experiment) -> list[tuple[str, int]]:
    """Lists the names and sizes of the data sets of meta-training."""
    data = config.data
    return [own_size(name, data.size) for name in data.train or (data.name,)]


def _card(
    init: Initialisation,
    config: Experiment,
    way: int,
    features: int,
    run: str | pathlib.Path,
) -> str:
    """Fills the card's template, and leaves out the sections that do not apply."""
    network, jointly = init.built_from, init.name in _PRETRAINED_FOR
    about = init.provenance and _in_words(init.provenance)
    absent = {
        "Joint pretraining": not jointly,
        "Meta-learning": jointly,
        "Learned step sizes": init.inner is None,
        "Its features": config.model.name != "conv4",
        "The inner loop it was learned for": jointly,
        "Weights it started from": about is None,
        "It started from random weights": about is not None,
    }
    sections = _TEMPLATE.read_text(encoding="utf-8").split("\n## ")
    kept = [text for text in sections if not absent.get(text.partition("\n")[0])]
    sides = sorted({side for _, side in _trained_on(config)})
    mean, std = (", ".join(f"{x:.6g}" for x in xs) for xs in init.preprocess[:2])
    task, inner = config.train_task, config.inner
    title, part = described(config)
    return "\n## ".join(kept).format(
        init=init,
        config=config,
        about=about,
        way=way,
        features=features,
        mean=mean,
        std=std,
        trained_on=escaped(", ".join(name for name, _ in _trained_on(config))),
        pretrained_for=_PRETRAINED_FOR.get(init.name),
        classes="all meta-train classes"
        if config.joint.heads == "one"
        else "each data set's classes",
        warm=f", the time of the first {config.warm_start} spent on a joint pretraining"
        * (init.name in (NAMES[FROM_PRETRAINED], NAMES[WARM_RATES])),
        method=title,
        names=", ".join(
            f"of {name} are {registry.NAMES[name].said}"
            for name in registry.parts(network).values()
        ),
        sides=" or ".join(f"{side}x{side}" for side in sides),
        colours="red, green, blue" if network.channels == 3 else "grey",
        tasks=f"{task.way}-way" if task.way else "every class",
        head=_HEADS[config.method.head],
        phased=f", a row for each phase of steps; they begin at steps {init.phases}"
        * (len(init.phases) > 1),
        learned_with="they were learned together with the weights"
        if init.name in (NAMES[META], NAMES[FROM_PRETRAINED])
        else "step sizes alone were learned, not the weights",
        scaled="of unit length, times exp(log_scale)"
        if config.model.unit_length
        else f"times {config.model.scale}",
        batch=f"{inner.batch} images" if inner.batch else "the whole support",
        adapts=part,
        results="\n".join(_results(run, init.name)) or "- none",
        data="\n".join(_data(config)),
    )


def _in_words(about: About) -> About:
    """Names what is unknown, and escapes all texts: a run may be a stranger's."""
    recipe = about.recipe._replace(
        name=escaped(about.recipe.name),
        licence=escaped(
            about.recipe.licence or "unknown: find out before you share this"
        ),
        data=escaped(about.recipe.data or "unknown"),
    )
    revision = f" at {about.revision}" if about.revision else ""
    return About(
        source=escaped(about.source + revision),
        revision=None,
        sha256=escaped(about.sha256),
        recipe=recipe,
    )


def _results(run: str | pathlib.Path, init: str) -> Iterator[str]:
    """Yields lines of accuracy and F1 of every head, as chosen on meta-validation."""
    path = pathlib.Path(run) / "results.jsonl"
    for row in atomic.read_rows(path) if path.exists() else ():
        chosen = row.get("init") == init and row.get("chosen")
        if chosen and row["metric"] in ("accuracy", "f1"):
            value, low, high = (f"{100 * row[x]:.1f}" for x in ("value", "low", "high"))
            where = "{metric} on {dataset}, {protocol}, {head} head, {step} steps"
            told = escaped(where.format(**row))
            yield f"- {told}: {value} % [{low}, {high}]"


def _data(config: Experiment) -> Iterator[str]:
    """Yields a line for each data set that was used in training, with its licence."""
    sources = [(name, "") for name, _ in _trained_on(config)]
    for name in config.data.validation:
        sources.append((own_size(name, 0)[0], " (to choose by)"))
    for name, role in sources:
        terms = catalog.terms_of(name)
        licence = terms.licence or "none stated that we know of"
        words = [
            f"{terms.title}{role}: licence: {licence}.",
            terms.terms or "Ask the makers before any use but research.",
            terms.homepage,
            f"({terms.citation})" if terms.citation else "",
        ]
        yield "- " + escaped(" ".join(filter(None, words)))
