"""Compares initialisations by fine-tuning them on a data set, without meta-training.

A share of every class is held out to measure on. Settings are chosen on another share.
"""

import collections
import dataclasses
import functools
import pathlib
import shlex
from collections.abc import Iterator, Mapping, Sequence

from metainit.config.fields import Data, TransferExperiment, own_size
from metainit.data import cache, folders, leakage, loading
from metainit.data.batches import hold_out
from metainit.data.loading import Source
from metainit.experiments import configs
from metainit.models import pretrained
from metainit.reporting import figures, html, plain_text, tables, transfer_report
from metainit.runtime import provenance, run_folder
from metainit.runtime.cost import NAMES, RANDOM
from metainit.training import frozen_features, initialisation, stored
from metainit.training.initialisation import Initialisation
from metainit.transfer import comparison, fine_tuning
from metainit.transfer.comparison import Sealed
from metainit.transfer.spec import Split, check


def train(
    config: TransferExperiment,
    workdir: pathlib.Path,
    *,
    dry_run: bool = False,
    command: str = "",
) -> str:
    """Compares the initialisations, or goes on with that; returns the report's text.

    It raises ConfigError for what cannot work, before anything long starts.
    """
    settings = dataclasses.asdict(config)
    with configs.as_config_error():
        inits = _initialisations(config)
        split, rule = _split(config, next(iter(inits.values())))
        name = split.name
        validation = Split(name, *hold_out(split.train, config.seed, config.choose_on))
        for sides in (split, validation):
            check(comparison.spec_of(config.transfer, config.seed), sides)
        for init in inits.values():
            fine_tuning.check_params(init, split.train)
        if not dry_run:
            run_folder.claim(workdir, settings, may_change=("transfer",))
    for label, init in inits.items():
        print(f"{label}: {init.cost.device_seconds:.0f} s to make")
    print(
        f"{name}: {len(split.train.class_names)} classes, "
        f"{len(loading.rows(split.train)):,} images to learn from, "
        f"{len(loading.rows(split.test)):,} held out ({rule})"
    )
    if dry_run:
        return ""
    transfer = comparison.compare(
        config.transfer,
        config.seed,
        {label: _fitted(init, split) for label, init in inits.items()},
        [validation],
        Sealed([split]),
        workdir,
        chosen_on=f"{100 * config.choose_on:g} % of the images to learn from",
        view=functools.partial(_on_maps, cache.root(config.data.data_dir) / "features"),
    )
    figures.transfer(workdir / "transfer.png", [transfer.runs])
    verdict = tables.paragraph(transfer_report.best_against_next(transfer, config.seed))
    overlaps = _overlaps(config.data.name, config.inits, inits)
    warnings = [*map(tables.paragraph, overlaps)]
    section = list(transfer_report.section(transfer, "transfer.png"))
    account = transfer_report.account(transfer)
    title = tables.heading(f"metainit: transfer to {name}", 1)
    page = [verdict, *warnings, title, *section, account]
    page += map(tables.paragraph, _of_encoders(inits))
    about = f"On {transfer.device}: {tables.words(provenance.versions())}."
    end = tables.again(command, about, settings)
    html.write(workdir, [*page, *end])
    text = plain_text.render([*section, *warnings])
    sources = dict(zip(inits, config.inits, strict=True))
    use = _use(config, sources[transfer_report.best(transfer)[0].init])
    where = str(workdir / "report.html")
    text += "\n\n" + plain_text.ending(verdict, where, {"use it": use})
    print(text)
    return text


def _use(config: TransferExperiment, source: str) -> str:
    """Writes the command that makes a classifier of the data from an initialisation."""
    kind, _, path = config.data.name.partition(":")
    run, part = _run_and_part(source)
    which = [] if part is None else ["--which", part]
    images = path if kind == "folder" and path else "MY_IMAGES"
    return shlex.join(["metainit", "finetune", images, "--init", run, *which])


def _initialisations(config: TransferExperiment) -> dict[str, Initialisation]:
    """Loads each by its name in the report; equal names get their folders."""
    inits: list[Initialisation] = []
    size = config.data.size or None
    for source in config.inits:
        if source == RANDOM:
            init = initialisation.random(inits[0].built_from, config.seed)
        else:
            run, part = _run_and_part(source)
            init = initialisation.alone(stored.load(run, part, config.use, size))
        # All networks see images of the first one's size.
        size = size or init.built_from.size
        inits.append(init)
    if len({init.built_from.channels for init in inits}) > 1:
        raise ValueError("inits take images in colour and in grey; give one kind")
    names = collections.Counter(init.name for init in inits)
    named: dict[str, Initialisation] = {}
    for source, init in zip(config.inits, inits, strict=True):
        name = init.name
        if names[name] > 1 and name in NAMES.values():
            name = f"{name} ({pathlib.Path(_run_and_part(source)[0])})"
        if name in named:
            raise ValueError(f"inits has two of {name}; give one of them")
        named[name] = init
    return named


def _overlaps(
    name: str, sources: Sequence[str], inits: Mapping[str, Initialisation]
) -> Iterator[str]:
    """Yields sentences about what the initialisations have seen of the data set."""
    for source, (label, init) in zip(sources, inits.items(), strict=True):
        if init.provenance is not None:
            weights = f"the pretrained weights of {label}"
            yield from leakage.by_name(name, init.provenance.recipe.imagenet, weights)
        seen: tuple[str, ...] = (source,) if source in pretrained.SHIPPED else ()
        if init.name in NAMES.values():  # of a run
            data = stored.config_of(_run_and_part(source)[0]).data
            seen = (data.train + data.validation) or (data.name,)
        if _plain(name) in map(_plain, seen):
            yield (
                f"Overlap: {label} was trained or chosen on classes of {name}; these "
                "are not unseen classes."
            )


def _of_encoders(inits: Mapping[str, Initialisation]) -> Iterator[str]:
    if frozen := [name for name, init in inits.items() if init.model.encode]:
        yield (
            f"Features of a frozen encoder ({', '.join(frozen)}) were made once for "
            "every image: their time is in no row."
        )


def _plain(name: str) -> str:
    """Gives the name of a data set in one form, of the several that it may have."""
    name, _ = own_size(name, 0)
    kind, colon, path = name.removeprefix("tfds:").partition(":")
    if kind == "folder":
        path = str(pathlib.Path(path).expanduser().resolve())
    return kind + colon + path


def _run_and_part(source: str) -> tuple[str, str | None]:
    run, colon, part = source.rpartition(":")
    return (run, part) if colon and part in stored.PARTS else (source, None)


def _split(config: TransferExperiment, first: Initialisation) -> tuple[Split, str]:
    """Splits the data set, and says in words what is held out of it."""
    data, share = config.data, config.transfer.held_out
    size, channels = data.size or first.built_from.size, first.built_from.channels
    kind, _, path = data.name.partition(":")
    if kind == "folder" and path:
        # By default, a folder may come with a split of its own.
        own = None if share == folders.DEFAULT_SHARE else share
        labelled = folders.read_labelled(
            path, size, channels, own, config.seed, data.data_dir
        )
        train, test = (Source(data.name, *part) for part in labelled[:2])
        return Split(data.name, train, test), labelled.rule
    settings = dataclasses.asdict(data) | {"size": size, "channels": channels}
    whole = loading.whole(Data(**settings))
    sides = hold_out(whole, config.seed, share)
    return Split(whole.name, *sides), f"{share} of every class"


def _fitted(init: Initialisation, split: Split) -> Initialisation:
    plain = init.preprocess._replace(shift=0, flip=False)
    sets = loading.images_used((split.train,))
    return initialisation.fitted(init._replace(preprocess=plain), sets)


def _on_maps(
    folder: pathlib.Path, init: Initialisation, split: Split
) -> tuple[Initialisation, Split]:
    """Replaces images by the maps of a frozen encoder, which it makes once."""
    if init.model.encode is None:
        return init, split
    init, sides = frozen_features.encode(init, split[1:], folder)
    return init, Split(split.name, *sides)
