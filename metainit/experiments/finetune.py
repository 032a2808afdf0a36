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


def finetune(given: argparse.Namespace) -> None:
    """Fine-tunes, saves, measures what was saved, and reports that.

    It raises ValueError or OSError for what cannot work, before anything long starts,
    and ValueError for a loss that is no longer finite.
    """
    out = pathlib.Path(given.out)
    _check_writable(out)
    kind, _, path = given.data.partition(":")
    if kind != "folder" or not path:
        raise ValueError(f"--data must be folder:PATH, got {given.data!r}")
    if given.seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {given.seed}")
    init = _initialisation(given)
    network = init.built_from
    shape = {"size": network.size, "channels": network.channels}
    images = folders.read_labelled(
        path, **shape, share=given.test_share, seed=given.seed, data_dir=given.data_dir
    )
    train, test = Source(path, *images.train), Source(path, *images.test)
    split = Split(path, train, test)
    of_spec = {name: getattr(given, name) for name in SETTINGS}
    spec = Spec(**of_spec)
    check(spec, split)
    fine_tuning.check_params(init, train)

    # What makes this fine-tuning another one; names of folders do not.
    settings = {
        **shape,
        **of_spec,
        "held_out": images.rule,
        "images_sha256": digest.sha256(
            [(x.class_names, x.labels, x.hashes) for x in (train, test)]
        ),
        "init_sha256": digest.sha256(init.arrays),
    }
    run_folder.claim(out, settings, flag="--out")
    if (out / REPORT).exists():
        print(f"{out} is finished; another --out starts anew")
        _tell(json.loads((out / REPORT).read_text()), out)
        return
    from_where = _from_where(init, given.init)
    print(
        f"{from_where}; {len(train.class_names)} classes, {len(train.images):,} images "
        f"to learn from, {len(test.images):,} held out ({images.rule})"
    )
    shared = np.isin(images.test.hashes, images.train.hashes)
    seconds = _learn(init, split, spec, out, given.data_dir)
    _write_held_out(out / HELD_OUT, images)
    report = {
        "init": from_where,
        "data": given.data,
        **settings,
        "classes": len(train.class_names),
        "images": len(train.images),
        "held_out_images": len(test.images),
        # Whose very pixels were learned from.
        "held_out_also_learned": int(shared.sum()),
        "batch_norm": init.model.policy,
        "device_seconds": seconds,
        **_measured(out, test),
    }
    atomic.write_json(out / REPORT, report)
    _tell(report, out)


def _parser() -> argparse.ArgumentParser:
    about = "Adapts an initialisation to your own images."
    parser = argparse.ArgumentParser("metainit finetune", description=about)
    add = parser.add_argument
    add("--init", required=True, help="run folder of launch.py, weights, or random")
    parts = (*stored.PARTS, RANDOM)
    add("--which", choices=parts, help="of the run; default meta, or what is like it")
    use = "of an encoder's weights: frozen (default: one pass) or adapted"
    add("--use", choices=stored.USES, help=use)
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
    add("--data_dir", default="", help="of decoded images, as of metainit datasets")
    return parser


def _initialisation(given: argparse.Namespace) -> Initialisation:
    """The network to start from, which judges an image alone."""
    source, which = given.init, given.which
    kind = stored.kind_of(source)
    if given.size is not None and given.size < 1:
        raise ValueError(f"--size must be 1 or more pixels, got {given.size}")
    if which is not None and kind != "run" and which != kind:
        raise ValueError(f"--which {which} needs a run as --init")
    if given.use is not None and kind != "weights":
        raise ValueError(f"--use {given.use} needs weights as --init; a run has it")
    use = given.use or stored.USES[0]
    init = stored.load(source, which, use, given.size, given.channels, given.seed)
    channels = init.built_from.channels
    if given.channels not in (None, channels):
        raise ValueError(
            f"--channels={given.channels}: {source} takes images of {channels}"
        )
    return initialisation.alone(init)


def _from_where(init: Initialisation, source: str) -> str:
    if init.name in NAMES.values():
        return f"{init.name} of {source}"
    if (about := init.provenance) is None:
        return init.name
    return f"{source} ({about.recipe.name} recipe, sha256 {about.sha256[:12]})"


def _learn(
    init: Initialisation, split: Split, spec: Spec, out: pathlib.Path, data_dir: str
) -> float:
    """Fine-tunes and saves the classifier; returns the device seconds that it took."""
    name, train, test = split
    init = learned = initialisation.fitted(init, loading.images_used((train,)))
    if init.model.encode and not (init.preprocess.shift or init.preprocess.flip):
        features = cache.root(data_dir) / "features"
        learned, maps = frozen_features.encode(init, (train, test), features)
        split = Split(name, *maps)
    points, params = fine_tuning.fine_tune(learned, split, spec, out / TRAINING)
    if not math.isfinite(points[-1].loss):
        raise ValueError(
            f"the loss is not finite after {spec.steps} steps; give a lower "
            f"--learning_rate than {spec.learning_rate}, and another --out"
        )
    init, moments = init._replace(**params), held_out.moment_images(train, spec)
    classifier.save(out, Classifier(init, train.class_names, moments))
    return points[-1].device_seconds


def _check_writable(out: pathlib.Path) -> None:
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out}: {there} is no folder that can be written to")


def _measured(out: pathlib.Path, test: Source) -> dict[str, Any]:
    """Scores of the classifier as saved, computed as `metainit predict` does."""
    learned = classifier.load(out)
    chances = classifier.predictor(learned, len(test.images))(test.images)
    hits = chances.argmax(-1) == test.labels
    of_class = {
        name: float(np.mean(hits[test.labels == label]))
        for label, name in enumerate(test.class_names)
    }
    return metrics.scores(chances, test.labels) | {"accuracy_of_class": of_class}


def _write_held_out(path: pathlib.Path, images: folders.Labelled) -> None:
    text, labels = io.StringIO(), np.array(images.test.names)[images.test.labels]
    rows = [("file", "label"), *zip(images.files, labels, strict=True)]
    csv.writer(text, lineterminator="\n").writerows(rows)
    atomic.write_text(path, text.getvalue())


def _tell(report: Mapping[str, Any], out: pathlib.Path) -> None:
    print(
        f"accuracy {100 * report['accuracy']:.1f} %, F1 {report['f1']:.3f}, "
        f"calibration error {report['calibration_error']:.3f} on "
        f"{report['held_out_images']:,} held-out images of {report['classes']} classes"
    )
    if shared := report["held_out_also_learned"]:
        print(f"warning: {shared} of them have the pixels of an image learned from")
    print(f"metainit predict {out} IMAGES...")
