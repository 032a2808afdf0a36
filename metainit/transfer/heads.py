"""One head on one data set: what it can be tuned by, and its rows."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from metainit.config.fields import Transfer
from metainit.data import loading
from metainit.data.sealed import Split
from metainit.evaluation import closed_form
from metainit.runtime import digest
from metainit.training.initialisation import Initialisation
from metainit.transfer import closed_form as transfer_closed_form
from metainit.transfer import fine_tuning
from metainit.transfer.spec import HEADS, Spec, Stepped

Setting = dict[str, Any]
Row = dict[str, Any]


# From an initialisation and a split to what is learned of them, such as a network on
# the maps of a frozen encoder.
View = Callable[[Initialisation, Split], tuple[Initialisation, Split]]


def as_it_is(init: Initialisation, split: Split) -> tuple[Initialisation, Split]:
    """The `View` that changes nothing."""
    return init, split


FIT: dict[str, closed_form.Head] = {
    "nearest centroid": closed_form.nearest_centroid,
    "logistic regression": closed_form.logistic_regression,
}


def grid(settings: Transfer) -> dict[str, tuple[Setting, ...]]:
    """What each head is tried with, the same for every initialisation.

    Args:
      settings: `config.transfer`.
    """
    rates = tuple(
        {"optimizer": optimizer, "learning_rate": rate}
        for optimizer, rates_of in (
            ("sgd", settings.sgd_rates),
            ("adam", settings.adam_rates),
        )
        for rate in rates_of
    )
    values = {"scale": settings.centroid_scales, "C": settings.inverse_penalties}
    return {
        name: rates
        if isinstance(head := HEADS[name], Stepped)
        else tuple({head.field: value} for value in values[head.field])
        for name in settings.heads
    }


def learn(
    name: str,
    settings: Sequence[Setting],
    init: Initialisation,
    split: Split,
    spec: Spec,
    folder: pathlib.Path,
    about: Mapping[str, Any],
    view: View = as_it_is,
) -> list[list[Row]]:
    """Rows of one head on one data set for each setting; at once where they are there.

    Every setting has a folder below `folder`, named after what determines the result:
    an initialisation that was trained further, another image or another setting has
    another one.

    Args:
      name: one of `HEADS`.
      settings: of `grid`.
      init: the initialisation.
      split: the data set.
      spec: of a fine-tuning, but for head, optimiser and rate.
      folder: of all fine-tunings.
      about: of the rows: at least "role" and "init".
      view: of the initialisation and the data set.
    """
    head = HEADS[name]
    init = init._replace(head=None)  # the others' are compared
    about = {"dataset": split.name, **about, "head": name}
    places = [
        _place(folder, {**about, "setting": setting}, spec, split, init)
        for setting in settings
    ]
    seen, sides = view(init, split)
    if isinstance(head, Stepped):
        for setting, place in zip(settings, places, strict=True):
            whole = spec._replace(
                head=head.start, probe_steps=round(head.probe * spec.steps), **setting
            )
            if not _finished(place, spec.steps):
                fine_tuning.fine_tune(
                    seen,
                    sides.train,
                    sides.test,
                    whole,
                    place,
                    {**about, "setting": setting},
                )
            # Rows are all that is asked for later; states of many runs fill a disk.
            shutil.rmtree(place / "checkpoints", ignore_errors=True)
    elif not all(_finished(place, 0) for place in places):
        points = transfer_closed_form.measure(
            seen,
            sides.train,
            sides.test,
            spec,
            FIT[name],
            [setting[head.field] for setting in settings],
        )
        for setting, place, point in zip(settings, places, points, strict=True):
            place.mkdir(parents=True, exist_ok=True)
            described = {**about, "setting": setting, "batch_norm": init.model.policy}
            fine_tuning.write(place / fine_tuning.RESULTS, described, [point])
    return [list(read(place / fine_tuning.RESULTS)) for place in places]


def read(path: pathlib.Path) -> Iterator[Row]:
    """The rows of a file of JSON lines."""
    for line in path.read_text().splitlines():
        yield json.loads(line)


def _place(
    folder: pathlib.Path,
    about: Mapping[str, Any],
    spec: Spec,
    split: Split,
    init: Initialisation,
) -> pathlib.Path:
    images = [
        (side.images if side.hashes is None else side.hashes)[loading.rows(side)]
        for side in (split.train, split.test)
    ]
    labels = split.train.labels, split.test.labels
    settings = json.dumps([about, spec._asdict()])
    known = digest.sha256((settings, init.arrays, labels, images))
    said = (about["role"], about["dataset"], about["init"], about["head"])
    words = (*said, *about["setting"].values())
    name = re.sub(r"[^\w.]+", "-", " ".join(map(str, words)))[-80:].strip("-.")
    return folder / f"{name}-{known[:10]}"


def _finished(place: pathlib.Path, steps: int) -> bool:
    path = place / fine_tuning.RESULTS
    rows = list(read(path)) if path.exists() else []
    return bool(rows) and rows[-1]["step"] == steps
