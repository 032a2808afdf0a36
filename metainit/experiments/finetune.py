"""metainit finetune: adapts an initialisation to your own images, saves the classifier.

Below the folder of images every class has a folder. A share of every class is held out
to judge the result on, or what lies in PATH/test where there is PATH/train.
"""

import argparse
import csv
import io
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metainit.data import cache, folders, loading
from metainit.data.loading import Source
from metainit.evaluation import metrics
from metainit.experiments import classifier
from metainit.experiments.classifier import Classifier
from metainit.runtime import atomic, digest, run_folder
from metainit.runtime.cost import NAMES
from metainit.training import frozen_features, initialisation, stored
from metainit.training.initialisation import RANDOM, Initialisation
from metainit.transfer import fine_tuning, held_out
from metainit.transfer.spec import Spec, Split, check

# Fields of a `Spec` that a line may give.
SETTINGS = ("seed", "steps", "head", "optimizer", "learning_rate")
REPORT, HELD_OUT, TRAINING = "report.json", "held_out.csv", "training"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; what `finetune` raises is for the caller to tell."""
    finetune(_parser().parse_args(argv))
    return 0


def finetune(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fine-tunes, saves and measures what was saved; returns the report.

    It raises ValueError or OSError for what cannot work, before anything long starts,
    and ValueError for a loss that is no longer finite.
    """
    out = pathlib.Path(arguments.out)
    _check_writable(out)
    kind, _, path = arguments.data.partition(":")
    if kind != "folder" or not path:
        raise ValueError(f"--data must be folder:PATH, got {arguments.data!r}")
    if arguments.seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {arguments.seed}")
    init = _initialisation(arguments)
    network = init.built_from
    images = folders.read_labelled(
        path,
        network.size,
        network.channels,
        arguments.test_share,
        arguments.seed,
        arguments.data_dir,
    )
    train, test = Source(path, *images.train), Source(path, *images.test)
    split = Split(path, train, test)
    spec = Spec(**{name: getattr(arguments, name) for name in SETTINGS})
    check(spec, split)
    fine_tuning.check_params(init, train)

    # What makes this fine-tuning another one; names of folders do not.
    settings = {
        "size": network.size,
        "channels": network.channels,
        **{name: getattr(spec, name) for name in SETTINGS},
        "held_out": images.rule,
        "images_sha256": digest.sha256(
            [(x.names, x.labels, x.hashes) for x in (images.train, images.test)]
        ),
        "init_sha256": digest.sha256(init.arrays),
    }
    run_folder.claim(out, settings, flag="--out")
    if (out / REPORT).exists():
        print(f"{out} is finished; another --out starts anew")
        return _told(json.loads((out / REPORT).read_text()), out)
    from_where = _from_where(init, arguments.init)
    print(
        f"{from_where}; {len(train.class_names)} classes, {len(train.images):,} images "
        f"to learn from, {len(test.images):,} held out ({images.rule})"
    )
    init = initialisation.fitted(init, loading.images_used((train,)))
    learned, seen = init, split
    if init.model.encode and not (init.preprocess.shift or init.preprocess.flip):
        features = cache.root(arguments.data_dir) / "features"
        learned, sides = frozen_features.encode(init, (train, test), features)
        seen = Split(path, *sides)
    points, params = fine_tuning.fine_tune(learned, seen, spec, out / TRAINING)
    if not math.isfinite(points[-1].loss):
        raise ValueError(
            f"the loss is not finite after {spec.steps} steps; give a lower "
            f"--learning_rate than {spec.learning_rate}, and another --out"
        )
    moments = held_out.moment_images(train, spec)
    classifier.save(
        out, Classifier(init._replace(**params), train.class_names, moments)
    )
    _write_held_out(out / HELD_OUT, images)
    report = {
        "init": from_where,
        "data": arguments.data,
        **settings,
        "classes": len(train.class_names),
        "images": len(train.images),
        "held_out_images": len(test.images),
        # Whose very pixels were learned from.
        "held_out_also_learned": int(
            np.isin(images.test.hashes, images.train.hashes).sum()
        ),
        "batch_norm": init.model.policy,
        "device_seconds": points[-1].device_seconds,
        **_measured(out, test),
    }
    atomic.write_json(out / REPORT, report)
    return _told(report, out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="metainit finetune",
        description="Adapts an initialisation to your own images.",
    )
    add = parser.add_argument
    add("--init", required=True, help="run folder of launch.py, weights, or random")
    add(
        "--which",
        choices=(*stored.PARTS, RANDOM),
        help="what of the run; by default meta, or else meta_from_pretrained",
    )
    add(
        "--use",
        choices=stored.USES,
        help="of a pretrained encoder given as --init: frozen (the default, features "
        "are computed once) or adapted, which changes all of it",
    )
    add("--data", required=True, help="folder:PATH, a folder a class")
    add("--out", required=True, help="folder of the classifier")
    add("--size", type=int, help="side of the images in pixels; the init's, or 64")
    add("--channels", type=int, choices=(1, 3), help="the run's, or 3")
    add("--steps", type=int, default=500, help="of 32 images; default 500")
    add("--learning_rate", type=float, default=0.001, help="default 0.001")
    add("--optimizer", choices=("sgd", "adam"), default="adam")
    add("--head", choices=("prototype", "zero"), default="prototype")
    add("--test_share", type=float, help="of every class; default 0.2")
    add("--seed", type=int, default=0, help="of the split and the order of images")
    add(
        "--data_dir", default="", help="of decoded images, as of metainit.data.builders"
    )
    return parser


def _initialisation(arguments: argparse.Namespace) -> Initialisation:
    """The network to start from, which judges an image alone."""
    source, which = arguments.init, arguments.which
    kind = stored.kind_of(source)
    if arguments.size is not None and arguments.size < 1:
        raise ValueError(f"--size must be 1 or more pixels, got {arguments.size}")
    if which is not None and kind != "run" and which != kind:
        raise ValueError(f"--which {which} needs a run as --init")
    if arguments.use is not None and kind != "weights":
        raise ValueError(f"--use {arguments.use} needs weights as --init; a run has it")
    use = arguments.use or stored.USES[0]
    init = stored.load(
        source, which, use, arguments.size, arguments.channels, arguments.seed
    )
    channels = init.built_from.channels
    if arguments.channels not in (None, channels):
        raise ValueError(
            f"--channels={arguments.channels}: {source} takes images of {channels}"
        )
    return initialisation.alone(init)


def _from_where(init: Initialisation, source: str) -> str:
    if init.name in NAMES.values():
        return f"{init.name} of {source}"
    if (about := init.provenance) is None:
        return init.name
    return f"{source} ({about.recipe.name} recipe, sha256 {about.sha256[:12]})"


def _check_writable(out: pathlib.Path) -> None:
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out}: {there} is no folder that can be written to")


def _measured(out: pathlib.Path, test: Source) -> dict[str, Any]:
    """Scores of the classifier as saved, computed as `metainit predict` does."""
    learned = classifier.load(out)
    chances = classifier.predictor(learned, len(test.images))(test.images)
    labels = test.labels
    predicted, way = chances.argmax(1), len(test.class_names)
    return {
        "accuracy": float(np.mean(predicted == labels)),
        "class_accuracy": metrics.class_accuracy(labels, predicted, way),
        "f1": float(metrics.macro_f1(labels, predicted, way)),
        "calibration_error": metrics.calibration_error(chances, labels),
        "accuracy_of_class": {
            name: float(np.mean(predicted[labels == label] == label))
            for label, name in enumerate(test.class_names)
        },
    }


def _write_held_out(path: pathlib.Path, images: folders.Labelled) -> None:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("file", "label"))
    for file, label in zip(images.files, images.test.labels, strict=True):
        rows.writerow((file, images.test.names[label]))
    atomic.write_text(path, text.getvalue())


def _told(report: Mapping[str, Any], out: pathlib.Path) -> dict[str, Any]:
    print(
        f"accuracy {100 * report['accuracy']:.1f} %, F1 {report['f1']:.3f}, "
        f"calibration error {report['calibration_error']:.3f} on "
        f"{report['held_out_images']:,} held-out images of {report['classes']} classes"
    )
    if shared := report["held_out_also_learned"]:
        print(f"warning: {shared} of them have the pixels of an image learned from")
    print(f"metainit predict {out} IMAGES...")
    return dict(report)
