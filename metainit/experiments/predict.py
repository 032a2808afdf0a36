"""metainit predict: labels of images, by a classifier that metainit finetune saved.

It prints CSV. A folder stands for all images below it. An image that does not decode
gets a row that says so, and the exit status is 1.
"""

import argparse
import csv
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence

import numpy as np

from metainit.data import images
from metainit.data.folders import SUFFIXES
from metainit.experiments import classifier


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 1 where files failed.

    It raises ValueError where there is no classifier, or no image.
    """
    about = "Labels of images as CSV."
    parser = argparse.ArgumentParser("metainit predict", description=about)
    add = parser.add_argument
    add("folder", metavar="DIR", help="the --out of metainit finetune")
    add("images", metavar="IMAGES", nargs="+", help="image files, or folders of them")
    add("--top", type=int, default=1, help="rows an image, the likeliest first")
    given = parser.parse_args(argv)
    learned, top = classifier.load(given.folder), given.top
    way, network = len(learned.class_names), learned.init.built_from
    if not 1 <= top <= way:
        raise ValueError(f"--top must be 1 to {way}, the number of classes, got {top}")
    files = [file for name in given.images for file in _files(name)]
    probabilities = classifier.predictor(learned, len(files))
    rows = csv.writer(sys.stdout, lineterminator="\n")
    rows.writerow(("file", "label", "probability"))
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
                rows.writerow((file, f"error: {what}", ""))
                continue
            of_file = next(chances)
            for label in np.argsort(-of_file, kind="stable")[:top]:
                name, chance = learned.class_names[label], of_file[label]
                rows.writerow((file, name, f"{chance:.4f}"))
        sys.stdout.flush()
    if failed:
        print(f"{failed} of {len(files)} files have no label", file=sys.stderr)
    return 1 if failed else 0


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
