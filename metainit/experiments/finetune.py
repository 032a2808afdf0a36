"""Runs `metainit finetune`: it saves the best classifier of your own images.

The folder of images has a folder for every class. A share of every class is held out
to judge the result by; if there is PATH/train, the images of PATH/test are. Heads on
the network's features, and adapting the network, are compared on the other images.
"""

import argparse
import contextlib
import csv
import io
import pathlib
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from metainit.config.fields import Network
from metainit.data import cache, folders
from metainit.data.batches import chunks
from metainit.data.images import opened
from metainit.data.loading import Source, rows
from metainit.evaluation import intervals, metrics
from metainit.experiments import classifier
from metainit.experiments.classifier import Classifier, together
from metainit.models import pretrained
from metainit.reporting import finetune_report, html, plain_text, tables
from metainit.reporting.finetune_report import Judged
from metainit.runtime import atomic, digest, progress, run_folder
from metainit.runtime.arguments import Parser
from metainit.runtime.cost import NAMES, RANDOM
from metainit.training import initialisation, stored
from metainit.training.initialisation import Initialisation
from metainit.transfer import fine_tuning, selection
from metainit.transfer.selection import ADAPTED, BEST, HEADS
from metainit.transfer.spec import Spec, Split, check

# The fields of a `Spec` that the command line may give.
SETTINGS = ("seed", "steps", "optimizer", "learning_rate")
DEFAULT = pretrained.WHEEL  # the initialisation for photographs
REPORT, HELD_OUT, TRAINING = "report.json", "held_out.csv", "training"
PAGE = "report.html"
JUDGING = "judging"  # the name of this stage on a terminal


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; raises ValueError or OSError for a mistake."""
    given = parser().parse_args(argv)
    _finetune(given)
    print(f"report: {pathlib.Path(given.out, PAGE)}")
    print(f"label others: {shlex.join(['metainit', 'predict', given.out])} IMAGES")
    return 0


def finetune(
    data: str | pathlib.Path, out: str | pathlib.Path | None = None, **options: Any
) -> Classifier:
    """Makes the best classifier of the images in a folder that has a folder a class.

    Args:
      data: the folder.
      out: a folder for the classifier and its report; by default none is kept.
      **options: as on the command line of `metainit finetune`, such as
        `init="runs/mine"`, `head="ridge"`, `test_share=0.5`.

    Raises:
      TypeError: for an unknown option.
      ValueError, OSError: for what cannot work, before anything long starts. A loss
        that is no longer finite is a ValueError, too.
    """
    options_of = parser()
    options_of.exit_on_error = False
    with contextlib.ExitStack() as stack:
        out = out or stack.enter_context(tempfile.TemporaryDirectory())
        line = [f"--data={data}", f"--out={out}"]
        known = vars(options_of.parse_args(line))
        if unknown := ", ".join(options.keys() - known.keys()):
            raise TypeError(f"finetune has no option {unknown}; there are {[*known]}")
        line += [f"--{name}={value}" for name, value in options.items()]
        try:
            given = options_of.parse_args(line)
        except argparse.ArgumentError as error:
            raise ValueError(str(error)) from None
        _finetune(given)
        return classifier.load(out)


def _finetune(given: argparse.Namespace) -> None:
    if not given.data:
        raise ValueError("give the folder of your images, with a folder a class")
    name = pathlib.Path(given.data.removeprefix("folder:")).resolve().name
    given.out = given.out or f"runs/{name}"
    out = pathlib.Path(given.out)
    with run_folder.held(out, "--out"):
        _finetune_into(out, given)


def _finetune_into(out: pathlib.Path, given: argparse.Namespace) -> None:
    path = given.data.removeprefix("folder:")
    if given.seed < 0:
        raise ValueError(f"--seed must be 0 or more, got {given.seed}")
    init = _initialisation(given)
    network = init.built_from
    shape = {"size": network.size, "channels": network.channels}
    images = folders.read_labelled(
        path, **shape, share=given.test_share, seed=given.seed, data_dir=given.data_dir
    )
    split = Split(path, Source(path, *images.train), Source(path, *images.test))
    _, train, test = split
    of_spec = {name: getattr(given, name) for name in SETTINGS}
    spec = Spec(**of_spec, head="given")
    check(spec, split)
    fine_tuning.check_params(init, train)
    fold = selection.folds(images.train, spec.seed)
    if given.head == ADAPTED and not selection.adapts(init, fold):
        raise ValueError(
            f"--head {ADAPTED}: nothing but a head changes in this network (--use "
            f"adapted changes an encoder), or a class has one image to learn from"
        )

    # If one of these changes, it is another fine-tuning. Folders may be renamed.
    settings = {
        **shape,
        **of_spec,
        "head": given.head,
        "held_out": images.rule,
        "images_sha256": digest.sha256(
            [(x.class_names, x.labels, x.hashes) for x in (train, test)]
        ),
        "init_sha256": digest.sha256(init.arrays),
    }
    run_folder.claim(out, settings, flag="--out")
    if (out / REPORT).exists():
        print(f"{out} is finished; another --out starts anew")
        with atomic.reading(out / REPORT, "delete it, and the same line makes it anew"):
            _tell(atomic.read_json(out / REPORT))
        return
    learned, judged = len(rows(train)), len(rows(test))
    from_where = _from_where(init, given.init)
    _say(
        f"{from_where}; {len(train.class_names)} classes, {learned:,} images to learn "
        f"from, {judged:,} held out ({images.rule})"
    )
    if unsuited := _unsuited(network, images.files):
        _say(f"warning: {unsuited}")
    hashes = images.train.hashes[rows(train)], images.test.hashes[rows(test)]
    stages = *selection.stages(init, train, fold, given.head), JUDGING
    maps = cache.root(given.data_dir) / "features"
    with progress.plan(stages):
        choice, learned_init, moments = selection.learn(
            init, split, spec, fold, given.head, out / TRAINING, maps
        )
        Classifier(learned_init, train.class_names, moments).save(out)
        _write_held_out(out / HELD_OUT, images)
        said = _judged(out, test, [str(file) for file in images.files])
    report = {
        "init": from_where,
        "data": given.data,
        **settings,
        **choice._asdict(),
        "classes": len(train.class_names),
        "images": learned,
        "held_out_images": judged,
        # Counts the held-out images with the very pixels of a training image.
        "held_out_also_learned": int(np.isin(*hashes[::-1]).sum()),
        "batch_norm": init.model.policy,
        **_measured(said),
    }
    command = shlex.join(["metainit", "predict", str(out), "NEW_IMAGES"])
    title = f"metainit: {given.data}"
    html.write(out, finetune_report.page(report, said, title, command))
    atomic.write_json(out / REPORT, report)
    _tell(report)


def parser() -> Parser:
    """Makes the parser of `metainit finetune`."""
    options = Parser(
        "metainit finetune",
        "Makes the best classifier of your own images that an initialisation gives,\n"
        "and says how good it is on images that it has not seen.",
        "metainit finetune my_images --out mine",
    )
    add = options.add_argument
    images = "a folder with a folder a class"
    add("data", nargs="?", default=argparse.SUPPRESS, metavar="IMAGES", help=images)
    init = "where to start: a run's folder, weights (a name of metainit list, a file,"
    add("--init", default=DEFAULT, help=f"{init} hf:...), or random; default {DEFAULT}")
    parts = (*stored.PARTS, RANDOM)
    which = "which initialisation of the run; default meta, or what is like it"
    add("--which", choices=parts, metavar="PART", help=f"{which}; {', '.join(parts)}")
    use = "what an encoder's weights do: stay frozen (default: one pass), or adapt"
    add("--use", choices=stored.USES, help=use)
    add("--data", metavar="IMAGES", help="the same folder, as an option")
    add("--out", help="folder of the classifier; default runs/ and the images' name")
    side = "side of the images in pixels; default as the network was trained, or 64"
    add("--size", type=int, metavar="PIXELS", help=side)
    head = "which head to save; adapted changes the network, too; default best"
    names = f"{head}; {', '.join(HEADS)}"
    add("--head", choices=HEADS, default=BEST, metavar="HEAD", help=names)
    steps = "steps of adapting, of 32 images each; default 500"
    add("--steps", type=int, default=500, metavar="N", help=steps)
    rate = "the rate of adapting; default 0.001"
    add("--learning_rate", type=float, default=0.001, metavar="RATE", help=rate)
    optimizer = "the optimizer of adapting; default adam"
    add("--optimizer", choices=("sgd", "adam"), default="adam", help=optimizer)
    share = "share of every class that is held out to judge by; default 0.2"
    add("--test_share", type=float, metavar="SHARE", help=share)
    seed = "decides what is held out, and the order of images; default 0"
    add("--seed", type=int, default=0, metavar="N", help=seed)
    root = "root of everything; default $METAINIT_DATA_DIR or ~/.cache/metainit"
    add("--data_dir", default="", metavar="FOLDER", help=root)
    return options


def _initialisation(given: argparse.Namespace) -> Initialisation:
    """Loads the network to start from, and makes it judge each image by itself."""
    source, which = given.init, given.which
    kind = stored.kind_of(source)
    if given.size is not None and given.size < 1:
        raise ValueError(f"--size must be 1 or more pixels, got {given.size}")
    if which is not None and kind != "run" and which != kind:
        raise ValueError(f"--which {which} needs a run as --init")
    if given.use is not None and kind != "weights":
        raise ValueError(f"--use {given.use} needs weights as --init; a run has it")
    use = given.use or stored.USES[0]
    init = stored.load(source, which, use, given.size, given.seed)
    return initialisation.alone(init)


def _from_where(init: Initialisation, source: str) -> str:
    if init.name in NAMES.values():
        return f"{init.name} of {source}"
    if (about := init.provenance) is None:
        return init.name
    recipe, sha256 = about.recipe, f"sha256 {about.sha256[:12]}"
    if recipe.name != pretrained.UNKNOWN.name:
        return f"{source} ({recipe.name} recipe, {sha256})"
    if recipe.imagenet:
        words = "how they were trained is not told by their package"
        return f"{source} (ImageNet weights, {sha256}; {words})"
    return f"{source} ({sha256}; how they were trained is not known)"


def _unsuited(network: Network, files: Sequence[pathlib.Path]) -> str:
    """Warns if the network sees far less than the images show; else it is ""."""
    sides, colour = [], False
    for file in files[:: max(1, len(files) // 20)]:
        with opened(file) as image:
            sides.append(min(image.size))
            thumbnail = np.asarray(image.convert("RGB").resize((16, 16)), int)
            colour |= bool(np.ptp(thumbnail, -1).mean() > 4)
    lost = network.channels == 1 and colour
    if not lost and np.median(sides) < 3 * network.size:
        return ""
    form = f"{network.size}x{network.size} in {'grey' if lost else 'colour'}"
    return (
        f"the network sees {form}, and these images have {np.median(sides):.0f} pixels "
        f"or more{' in colour' * colour}; for photographs give --init {DEFAULT}"
    )


def _judged(out: pathlib.Path, test: Source, files: Sequence[str]) -> Judged:
    """Judges the held-out images by the saved classifier, like `metainit predict`."""
    learned, judged = classifier.load(out), rows(test)
    images, total, chances = test.images[judged], len(judged), []
    predict = classifier.predictor(learned, total)
    with progress.Stage(JUDGING, total) as stage:
        for chunk, count in chunks(np.arange(total), together(learned, total)):
            chances.append(predict(images[chunk[:count]]))
            stage.advance(count)
    said = np.concatenate(chances), test.labels[judged]
    return Judged(*said, images, files, test.class_names)


def _measured(judged: Judged) -> dict[str, Any]:
    """Computes the scores of what a classifier said."""
    chances, labels = judged.chances, judged.labels
    hits, n = chances.argmax(-1) == labels, len(labels)
    low, high = intervals.wilson(float(hits.mean()), n)
    right = np.maximum(chances[np.arange(n), labels].astype(np.float64), 1e-12)
    names, counts = judged.class_names, np.bincount(labels).tolist()
    shares = (float(np.mean(hits[labels == label])) for label in range(len(names)))
    return {
        **metrics.scores(chances, labels),
        "judged": n,
        "low": low,
        "high": high,
        "loss": -float(np.log(right).mean()),
        "accuracy_of_class": dict(zip(names, shares, strict=True)),
        "judged_of_class": dict(zip(names, counts, strict=True)),
    }


def _write_held_out(path: pathlib.Path, images: folders.Labelled) -> None:
    of_test = images.test.labels[images.test.labels >= 0]
    text, labels = io.StringIO(), np.array(images.test.names)[of_test]
    lines = [("file", "label"), *zip(images.files, labels, strict=True)]
    csv.writer(text, lineterminator="\n").writerows(lines)
    atomic.write_text(path, text.getvalue())


def _tell(report: Mapping[str, Any]) -> None:
    if report["compared"]:
        _say(
            "accuracy on images to learn from, each judged by what had not learned "
            "from it:"
        )
    else:
        _say(f"{report['chosen']}: classes of one image leave none to compare heads by")
    for row in report["compared"]:
        mark = " <- saved" * (row["head"] == report["chosen"])
        print(f"  {row['head']:19}  {_in_words(row)}{mark}")
    _say(
        f"accuracy on held-out images of {report['classes']} classes: "
        f"{_in_words(report).lstrip()}, F1 {report['f1']:.3f}, calibration error "
        f"{report['calibration_error']:.3f}"
    )
    if warning := finetune_report.leaked(report):
        _say(f"warning: {warning}")


def _say(line: str) -> None:
    """Prints a sentence, wrapped to the columns of a terminal."""
    print(plain_text.render([tables.paragraph(line)]), flush=True)


def _in_words(row: Mapping[str, Any]) -> str:
    accuracy, low, high = (100 * row[name] for name in ("accuracy", "low", "high"))
    of, loss = f" of {row['judged']:,}", f"log loss {abs(row['loss']):.3f}"
    return f"{accuracy:5.1f} % [{low:.1f}, {high:.1f}]{of}, {loss}"
