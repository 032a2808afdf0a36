"""Runs `metainit predict`: it labels images by a classifier that finetune saved.

It prints CSV, or a line of JSON for each row. A folder stands for all images below it.
An image that does not decode has an error in its row and no label, and the exit status
is 1.
"""

import csv
import io
import itertools
import json
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from metainit.data import images
from metainit.data.folders import SUFFIXES
from metainit.experiments import classifier
from metainit.experiments.classifier import Classifier
from metainit.runtime import progress, stop
from metainit.runtime.arguments import Parser

COLUMNS = ("file", "label", "probability", "error")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 1 where files failed.

    It raises ValueError where there is no classifier, or no image.
    """
    given = parser().parse_args(argv)
    learned, top = classifier.load(given.folder), given.top
    way = len(learned.class_names)
    if not 1 <= top <= way:
        raise ValueError(f"--top must be 1 to {way}, the number of classes, got {top}")
    files = [file for name in given.images for file in _files(name)]
    written = json.dumps if given.json else _csv
    failed = 0
    with progress.Stage("labelling", len(files)) as stage:
        if not given.json:
            progress.say(",".join(COLUMNS))
        for file, chances in zip(files, _judged(learned, files), strict=True):
            if chances is None:
                failed += 1
                exists = os.path.exists(file)
                what = "does not decode as an image" if exists else "no such file"
                progress.say(written({"file": file, "error": what}))
            else:
                for label in np.argsort(-chances, kind="stable")[:top]:
                    row = {"file": file, "label": learned.class_names[label]}
                    chance = round(float(chances[label]), 4)
                    progress.say(written(row | {"probability": chance}))
            stage.advance()
    if failed:
        print(f"{failed} of {len(files)} files have no label", file=sys.stderr)
    return 1 if failed else 0


def _judged(learned: Classifier, files: list[str]) -> Iterator[np.ndarray | None]:
    """Yields class probabilities of each file, or None where it does not decode.

    Files are decoded while those before them are computed.
    """
    network, size = learned.init.built_from, classifier.together(learned, len(files))
    probabilities = classifier.predictor(learned, len(files))
    encoded = [images.Encoded(0, pathlib.Path(file), file) for file in files]
    decoded = images.decode_all(encoded, network.size, network.channels, skip=True)
    for first in range(0, len(files), size):
        stop.check()
        rows = itertools.islice(decoded, len(files[first : first + size]))
        pixels = [image for _, image in rows]
        readable = [image for image in pixels if image is not None]
        chances = iter(probabilities(np.stack(readable)) if readable else ())
        for image in pixels:
            yield None if image is None else next(chances)


def parser() -> Parser:
    """Makes the parser of `metainit predict`."""
    options = Parser(
        "metainit predict",
        "Labels images by a classifier that metainit finetune saved.",
        "metainit predict mine new_images --top 3 > labels.csv",
    )
    add = options.add_argument
    add("folder", metavar="DIR", help="the --out of metainit finetune")
    add("images", metavar="IMAGES", nargs="+", help="image files, or folders of them")
    add("--top", type=int, default=1, metavar="N", help="rows an image; default 1")
    form = options.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="rows as CSV, the default")
    form.add_argument("--json", action="store_true", help="a line of JSON for each row")
    return options


def _csv(row: Mapping[str, str | float]) -> str:
    text = io.StringIO()
    values = (row.get(name, "") for name in COLUMNS)
    of_row = (f"{x:.4f}" if isinstance(x, float) else x for x in values)
    csv.writer(text, lineterminator="").writerow(of_row)
    return text.getvalue()


def _files(name: str) -> Iterator[str]:
    """Yields the file itself, or every image below a folder, sorted."""
    if not os.path.isdir(name):
        yield name
        return
    below = sorted(
        os.path.join(folder, file)
        for folder, _, files in os.walk(name)
        for file in files
        if not file.startswith(".") and pathlib.Path(file).suffix.lower() in SUFFIXES
    )
    if not below:
        raise ValueError(f"{name} has no images, whose names end in {sorted(SUFFIXES)}")
    yield from below
