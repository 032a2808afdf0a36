"""Transfer of given initialisations to a data set of one's own, without meta-training.

The comparison that ends a run of meta-learning (`metainit.transfer.comparison`), for
initialisations that exist: of runs, of files of weights, random. Of every class a share
is held out to be measured on; rates and penalties are chosen on a share of the rest.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from metainit.config.fields import ConfigError, TransferExperiment, own_size
from metainit.data import cache, folders, leakage, loading
from metainit.data.batches import hold_out
from metainit.data.loading import Roles, Source
from metainit.data.sealed import Sealed, Split
from metainit.models import preprocess as preprocess_module
from metainit.reporting import figures, html, tables, transfer_report
from metainit.reporting.tables import Code, Heading
from metainit.runtime import provenance, run_folder
from metainit.runtime.cost import NAMES, Cost
from metainit.training import frozen_features, initial_weights, initialisation
from metainit.training.initialisation import RANDOM, TRAINED, Initialisation
from metainit.transfer import comparison
from metainit.transfer import spec as transfer_spec
from metainit.transfer import start as transfer_start
from metainit.transfer.heads import Init


class _Given(NamedTuple):
    """One of `inits`.

    Attributes:
      init: the network and where it starts.
      cost: of making it.
      run: folder of the run that made it; "" for weights and random.
    """

    init: Initialisation
    cost: Cost
    run: str = ""


def train(
    config: TransferExperiment,
    workdir: str | pathlib.Path,
    *,
    dry_run: bool = False,
    command: str = "",
) -> str:
    """Compares the initialisations, or goes on with it; returns the report's text.

    Raises:
      ConfigError: for settings, data or initialisations that cannot work, before
        anything long starts.
    """
    workdir = pathlib.Path(workdir)
    try:
        inits = _initialisations(config)
        first = next(iter(inits.values())).init
        split, rule = _split(config, first)
        name = split.name
        validation = Split(name, *hold_out(split.train, config.seed, config.choose_on))
        spec = comparison.spec_of(config)
        for one in (split, validation):
            transfer_spec.check(spec, one.train, one.test)
        for init in (given.init for given in inits.values()):
            transfer_start.check_params(init.model, init.params, split.train, spec)
        if not dry_run:
            run_folder.claim(
                workdir, dataclasses.asdict(config), may_change=("transfer",)
            )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for called, given in inits.items():
        print(f"{called}: {given.init.name}, {given.cost.device_seconds:.0f} s to make")
    print(
        f"{name}: {len(split.train.class_names)} classes, "
        f"{len(loading.rows(split.train)):,} images to learn from, "
        f"{len(loading.rows(split.test)):,} held out ({rule})"
    )
    if dry_run:
        return ""
    transfer = comparison.compare(
        config,
        {
            called: _compared(config, given.init, given.cost, split)
            for called, given in inits.items()
        },
        [validation],
        Sealed([split]),
        workdir,
        chosen_on=f"{100 * config.choose_on:g} % of the images to learn from",
    )._replace(starts=_starts(inits))
    figures.transfer(workdir / "transfer.png", [transfer.runs])
    verdict = transfer_report.verdict(transfer, config.seed)
    said = (verdict, *_overlaps(config.data.name, inits))
    section = list(transfer_report.section(transfer, "transfer.png"))
    html.write(
        workdir,
        [
            *said,
            Heading(f"metainit: transfer to {name}", 1),
            *section,
            *transfer_report.account(transfer),
            *_of_encoders(inits),
            Heading("Run it again"),
            Code(command),
            f"On {transfer.device}; versions: {tables.words(provenance.versions())}.",
            Code(json.dumps(dataclasses.asdict(config), indent=2), "json"),
        ],
    )
    text = tables.terminal([*said, *section])
    print(f"{text}\nreport: {workdir / 'report.md'}")
    return text


def _initialisations(config: TransferExperiment) -> dict[str, _Given]:
    """Each by what the report calls it, with its folder where two runs have one."""
    found: list[tuple[str, _Given]] = []
    size = config.data.size or None
    for given in config.inits:
        if given == RANDOM:
            same = dataclasses.replace(found[0][1].init.config, seed=config.seed)
            init = initialisation.random(same, same.data.size, same.data.channels)
            called, one = RANDOM, _Given(init, Cost(0.0, 0, 0))
        elif initial_weights.is_weights(given) and not pathlib.Path(given).is_dir():
            init = initial_weights.load(given, config.use, size)
            called, one = given, _Given(init, Cost(0.0, 0, 0))
        else:
            run, which = _run_and_part(given)
            of_run = initialisation.read_config(run)
            which = which or initialisation.meta_learned(run)
            data = dataclasses.replace(of_run.data, size=size or of_run.data.size)
            init = initialisation.trained(
                dataclasses.replace(of_run, data=data),
                run,
                which,
                data.size,
                data.channels,
            )
            called = NAMES[which]
            one = _Given(init, initialisation.cost(run, which), str(pathlib.Path(run)))
        # All see the images of the first.
        size = size or init.config.data.size
        found.append((called, one))
    channels = {given.init.config.data.channels for _, given in found}
    if len(channels) > 1:
        raise ValueError(
            "inits take images in colour and in grey; give such as take one"
        )
    called_so = collections.Counter(called for called, _ in found)
    named: dict[str, _Given] = {}
    for called, one in found:
        if called_so[called] > 1 and one.run:
            called = f"{called} ({one.run})"
        if called in named:
            raise ValueError(f"inits has two of {called}; give one of them")
        named[called] = one
    return named


def _starts(inits: Mapping[str, _Given]) -> dict[str, str]:
    """What the initialisations of runs began with, where it is among them, by name."""
    found = {}
    for (called, one), (start, other) in itertools.product(inits.items(), repeat=2):
        if not one.run or other.run:
            continue
        if (sha256 := _sha256(one.init)) is not None:
            same = sha256 == _sha256(other.init)
        else:
            networks = [given.init.config.network for given in (one, other)]
            same = start == RANDOM and networks[0] == networks[1]
        if same:
            found[called] = start
    return found


def _sha256(init: Initialisation) -> str | None:
    """Of the file of pretrained weights in it, if any."""
    return init.seen.weights.sha256 if init.seen and init.seen.weights else None


def _overlaps(name: str, inits: Mapping[str, _Given]) -> Iterator[str]:
    """Sentences about what the initialisations have seen of the data set."""
    for called, (init, _, run) in inits.items():
        if init.seen is not None and init.seen.weights is not None:
            trained_on = init.seen.weights.recipe.data
            weights = f"the pretrained weights of {called}"
            yield from leakage.by_name(name, trained_on, weights)
        if not run:
            continue
        data = init.config.data
        seen = (data.train + data.validation) or (data.name,)
        if _plain(name) in map(_plain, seen):
            yield (
                f"Overlap: {called} was trained or chosen on classes of {name}; these "
                "are not unseen classes."
            )


def _of_encoders(inits: Mapping[str, _Given]) -> Iterator[str]:
    frozen = [n for n, given in inits.items() if given.init.model.encode is not None]
    if frozen:
        yield (
            f"Features of a frozen encoder ({', '.join(frozen)}) were made once for "
            "every image: their time is in no row."
        )


def _plain(name: str) -> str:
    """The name of a data set without what may be said in several ways."""
    name, _ = own_size(name, 0)
    kind, colon, path = name.removeprefix("tfds:").partition(":")
    if kind == "folder":
        path = str(pathlib.Path(path).expanduser().resolve())
    return kind + colon + path


def _run_and_part(given: str) -> tuple[str, str]:
    run, colon, part = given.rpartition(":")
    return (run, part) if colon and part in TRAINED else (given, "")


def _split(config: TransferExperiment, first: Initialisation) -> tuple[Split, str]:
    """The data set and, in words, what is held out of it."""
    data, share = config.data, config.transfer.held_out
    size, channels = data.size or first.config.data.size, first.config.data.channels
    kind, _, path = data.name.partition(":")
    if kind == "folder" and path:
        # A folder with parts of its own has its own share.
        own = None if share == folders.DEFAULT_SHARE else share
        read = folders.read_labelled(
            path, size, channels, own, config.seed, data.data_dir
        )
        train, test = (
            Source(data.name, part.images, part.labels, part.names, part.hashes)
            for part in (read.train, read.test)
        )
        return Split(data.name, train, test), read.rule
    whole = loading.whole(data, size, channels)
    sides = hold_out(whole, config.seed, share)
    return Split(whole.name, *sides), f"{share} of every class"


def _compared(
    config: TransferExperiment, init: Initialisation, cost: Cost, split: Split
) -> Init:
    prepared = preprocess_module.fit(loading.images_used((split.train,)), 0, False)
    prepared = prepared._replace(encode=init.model.encode)
    if init.seen is not None:
        prepared = prepared._replace(mean=init.seen.mean, std=init.seen.std)
    if init.model.encode is None:
        return Init(init.model, prepared, init.params, cost)
    example = np.zeros((2, *split.train.images.shape[1:]), np.float32)
    return Init(
        frozen_features.on_maps(init.model, example),
        prepared.of_features(),
        init.params,
        cost,
        _encoder(init, prepared, cache.root(config.data.data_dir) / "features"),
    )


def _encoder(
    init: Initialisation, prepared: Any, folder: pathlib.Path
) -> Callable[[Split], Split]:
    def view(split: Split) -> Split:
        roles = Roles((split.train,), (), (split.test,))
        maps = frozen_features.encode(roles, init.model, init.body, prepared, folder)
        return split._replace(train=maps.train[0], test=maps.test[0])

    return view
