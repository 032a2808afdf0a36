"""metainit predict: labels of images, by a classifier that metainit finetune saved.

It prints CSV, or a line of JSON for each row. A folder stands for all images below it.
An image that does not decode has an error in its row and no label, and the exit status
is 1.
"""

import csv
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from metainit.data import images
from metainit.data.folders import SUFFIXES
from metainit.experiments import classifier
from metainit.runtime.arguments import Parser

# Tells a file's label and its probability, or None and what is wrong with the file.
Tell = Callable[[str, str | None, str], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 1 where files failed.

    It raises ValueError where there is no classifier, or no image.
    """
    given = parser().parse_args(argv)
    learned, top = classifier.load(given.folder), given.top
    way, network = len(learned.class_names), learned.init.built_from
    if not 1 <= top <= way:
        raise ValueError(f"--top must be 1 to {way}, the number of classes, got {top}")
    files = [file for name in given.images for file in _files(name)]
    probabilities = classifier.predictor(learned, len(files))
    tell = _as_json if given.json else _as_csv()
    failed = 0
    for first in range(0, len(files), classifier.CHUNK):
        piece = files[first : first + classifier.CHUNK]
        encoded = [images.Encoded(0, pathlib.Path(file), file) for file in piece]
        decoded = images.decode_all(encoded, network.size, network.channels, skip=True)
        pixels = [image for _, image in decoded]
        readable = [image for image in pixels if image is not None]
        chances = iter(probabilities(np.stack(readable)) if readable else ())
        for file, image in zip(piece, pixels, strict=True):
            if image is None:
                failed += 1
                exists = os.path.exists(file)
                what = "does not decode as an image" if exists else "no such file"
                tell(file, None, what)
                continue
            of_file = next(chances)
            for label in np.argsort(-of_file, kind="stable")[:top]:
                tell(file, learned.class_names[label], f"{of_file[label]:.4f}")
        sys.stdout.flush()
    if failed:
        print(f"{failed} of {len(files)} files have no label", file=sys.stderr)
    return 1 if failed else 0


def parser() -> Parser:
    """The options of `metainit predict`."""
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


def _as_csv() -> Tell:
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("file", "label", "probability", "error"))

    def tell(file: str, label: str | None, value: str) -> None:
        told = ("", "", value) if label is None else (label, value, "")
        rows.writerow((file, *told))

    return tell


def _as_json(file: str, label: str | None, value: str) -> None:
    told: dict[str, str | float] = {"error": value}
    if label is not None:
        told = {"label": label, "probability": float(value)}
    print(json.dumps({"file": file, **told}))


def _files(name: str) -> Iterator[str]:
    """The file itself, or every image below a folder, sorted."""
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
