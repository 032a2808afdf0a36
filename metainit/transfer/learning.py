"""Learns a whole data set with each setting of a head, and writes what that gave."""

import json
import math
import pathlib
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import jax

from metainit.config.fields import Transfer
from metainit.data import loading
from metainit.models.head import ClassifyFn
from metainit.models.heads import CLASSIFIERS, STEPPED
from metainit.runtime import atomic, devices, digest, flops, progress
from metainit.runtime.checkpoint import LAST
from metainit.training.initialisation import Initialisation
from metainit.transfer import fine_tuning, held_out
from metainit.transfer.fine_tuning import RESULTS, Point
from metainit.transfer.results import Record
from metainit.transfer.spec import Spec, Split, check, rows_used

Setting = dict[str, Any]

# Changes what is learned, such as from images to the maps of a frozen encoder.
View = Callable[[Initialisation, Split], tuple[Initialisation, Split]]


def grid(settings: Transfer) -> dict[str, list[Setting]]:
    """Lists the settings to try with each head, the same for every initialisation.

    A setting leaves out what is a default of `Spec`.
    """
    rates = [{"optimizer": "sgd", "learning_rate": x} for x in settings.sgd_rates]
    rates += [{"optimizer": "adam", "learning_rate": x} for x in settings.adam_rates]

    def stepped(decays: Sequence[float]) -> list[Setting]:
        return [
            rate
            | ({"schedule": schedule} if schedule != "constant" else {})
            | ({"layer_decay": decay} if decay < 1 else {})
            for rate, schedule, decay in product(rates, settings.schedules, decays)
        ]

    def tried(head: str) -> list[Setting]:
        if head in CLASSIFIERS:
            return CLASSIFIERS[head].grid(settings)
        # Where the head alone learns, no layer of the body changes.
        alone = STEPPED[head].probe == 1
        return stepped((1.0,) if alone else settings.layer_decays)

    return {head: tried(head) for head in settings.heads}


def learn(
    spec: Spec,
    name: str,
    settings: Sequence[Setting],
    init: Initialisation,
    split: Split,
    about: Mapping[str, Any],
    folder: pathlib.Path,
    view: View | None = None,
) -> list[list[Record]]:
    """Learns one data set with each setting of a head, or reads an earlier result.

    Every setting has a folder below `folder`, whose name depends on all that determines
    the result. An initialisation that was trained further, another image or another
    setting has another folder. `about` holds at least "role" and "init".
    """
    init = init._replace(head=None)  # heads that start anew are compared
    descriptions = [
        {"dataset": split.name, **about, "head": name, "setting": setting}
        for setting in settings
    ]
    places = [_place(folder, x, spec, split, init) for x in descriptions]
    learned, sides = view(init, split) if view else (init, split)
    if name in STEPPED:
        start, probe = STEPPED[name]
        spec = spec._replace(head=start, probe_steps=round(probe * spec.steps))
        for place, description in zip(places, descriptions, strict=True):
            tuned = spec._replace(**description["setting"])
            if _finished(place, spec.steps):
                progress.advance()
            else:
                progress.tell_next(fine_tuning.name_of(description))
                fine_tuning.fine_tune(learned, sides, tuned, place, description)
            # Only the records are read later, and many states would fill a disk.
            shutil.rmtree(place / LAST, ignore_errors=True)
    elif all(_finished(place, 0) for place in places):
        progress.advance(len(places))
    else:
        values = [tuple(setting.values()) for setting in settings]
        points = fitted(learned, sides, spec, CLASSIFIERS[name].classify, values)
        described = zip(places, descriptions, points, strict=True)
        for place, description, point in described:
            progress.tell_next(fine_tuning.name_of(description))
            progress.advance()
            place.mkdir(parents=True, exist_ok=True)
            policy = {"batch_norm": init.model.policy}
            record = description | policy | point._asdict()
            atomic.write_rows(place / RESULTS, [record])
    return [atomic.read_rows(place / RESULTS) for place in places]


def fitted(
    init: Initialisation,
    split: Split,
    spec: Spec,
    classify: ClassifyFn,
    values: Sequence[tuple[float, ...]],
) -> Iterator[Point]:
    """Fits a head to the features of a body that stays, once with each setting.

    Training images are not augmented. Every point is at step 0, after one pass over
    them. Its device seconds are those of the fit, which the host makes, and an equal
    share of those of the features. Operations are shared in the same way.
    """
    _, train, test = split
    check(spec, split)
    chosen, judged = rows_used(train, spec), loading.rows(test)
    moments, body = held_out.moment_images(train, spec), {"body": init.body}
    features = held_out.features(init.model, init.preprocess)
    of_rows, compile_seconds = held_out.compile_chunks(features, body, moments, train)
    images, weight, *_ = next(held_out.chunks(train, chosen))
    counted = flops.of_function(jax.jit(features), body, moments, images, weight)
    begin = time.perf_counter()
    support = of_rows(body, train, chosen)
    embedded = time.perf_counter()
    embedding = (embedded - begin) * devices.mesh().size
    query = of_rows(body, test, judged)
    evaluation_seconds = time.perf_counter() - embedded
    for setting in values:
        fitting = time.perf_counter()
        log_probabilities = classify(support, train.labels[chosen], query, *setting)
        seconds = time.perf_counter() - fitting
        yield Point(
            step=0,
            epoch=1.0,
            images=len(chosen),
            device_seconds=embedding / len(values) + seconds,
            compile_seconds=compile_seconds,
            evaluation_seconds=evaluation_seconds,
            **held_out.scores(log_probabilities, test.labels[judged]),
            flops=counted * math.ceil(len(chosen) / held_out.CHUNK) / len(values),
        )


def _place(
    folder: pathlib.Path,
    about: Mapping[str, Any],
    spec: Spec,
    split: Split,
    init: Initialisation,
) -> pathlib.Path:
    """Names a folder by what is learned, and by a digest of all that determines it."""
    images = [
        (side.images if side.hashes is None else side.hashes)[loading.rows(side)]
        for side in (split.train, split.test)
    ]
    labels = split.train.labels, split.test.labels
    settings = json.dumps([about, spec._asdict()])
    sha256 = digest.sha256((settings, init.arrays, labels, images))
    names = (about[x] for x in ("role", "dataset", "init", "head"))
    words = (*names, *about["setting"].values())
    name = re.sub(r"[^\w.]+", "-", " ".join(map(str, words)))[-80:].strip("-.")
    return folder / f"{name}-{sha256[:10]}"


def _finished(place: pathlib.Path, steps: int) -> bool:
    path = place / RESULTS
    rows = atomic.read_rows(path) if path.exists() else []
    return bool(rows) and rows[-1]["step"] == steps
