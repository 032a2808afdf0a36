"""Plain supervised learning: which of ten scripts does a letter belong to?

Of every letter's images some are held out, so that every letter is known and no image
is. The scripts are uneven, so macro-F1 is reported beside accuracy.
"""

import dataclasses
import functools
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview

from metainit.config.fields import ConfigError, Data, Supervised
from metainit.data import loading
from metainit.data.loading import Roles, Source, class_index
from metainit.evaluation import intervals, metrics
from metainit.models import classification, mlp
from metainit.models import preprocess as preprocess_module
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import atomic, run_folder
from metainit.runtime.budget import compile_step, seconds_each
from metainit.training import steps
from metainit.training.loop import Intervals, Run, fit

FINISHED, RESULTS, REPORT = "finished.json", "results.jsonl", "report.md"
SCRIPTS = tuple(
    "LATIN CANADIAN GREEK CYRILLIC ARABIC GEORGIAN HEBREW ARMENIAN LAO OLD".split()
)  # the last is Old Italic
VALIDATION, TEST = 2, 4  # images of each letter that are held out


def build_model(config: Supervised) -> Model:
    """The perceptron that `config.model` describes."""
    return mlp.mlp(config.model.hidden, config.model.dropout, config.model.dropped)


def train(
    config: Supervised,
    workdir: str | pathlib.Path,
    *,
    model: Model | None = None,
    dry_run: bool = False,
    command: str = "",
) -> str:
    """Trains and tests one classifier, as `metainit.experiments.meta_learning.train`.

    The parameters tested are those of the epoch that is best on validation images.
    """
    workdir, settings = pathlib.Path(workdir), dataclasses.asdict(config)
    model = model or build_model(config)
    may_change, only_up = ("log_every", "max_hours", "data_dir"), ("epochs",)
    finished = {"epochs": config.epochs, "max_hours": config.max_hours}
    path = workdir / FINISHED
    try:
        if not dry_run:
            run_folder.claim(workdir, settings, may_change, only_up, write=False)
            if path.exists() and json.loads(path.read_text()) == finished:
                text = (workdir / REPORT).read_text()
                print(f"{workdir} is finished; more --config.epochs go on\n\n{text}")
                return text
        parts = by_script(loading.load(Data(data_dir=config.data_dir)))  # glyphs
        train_images, validation, test = parts.values()
        if config.batch > (most := len(train_images.images)):
            raise ValueError(
                f"batch={config.batch} is above the {most} training images"
            )
        if not dry_run:
            run_folder.claim(workdir, settings, may_change, only_up)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for role, source in parts.items():
        print(f"{role}: {len(source.images)} images of {len(SCRIPTS)} scripts")

    # The network and its training step.
    preprocess = preprocess_module.fit(
        loading.images_used([train_images]), shift=0, flip=False
    )
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    example = jnp.zeros((2, *train_images.images.shape[1:]))
    body = jax.jit(model.init)(init_key, example)
    optimizer = optax.adam(config.learning_rate)
    state = steps.start(model, optimizer, body, example, len(SCRIPTS))
    print(parameter_overview.get_parameter_overview(state.params, include_stats=False))
    batches = batches_of(train_images, config.batch, config.seed)
    step = steps.supervised(model, preprocess, optimizer)
    program = compile_step(step, state, batches(0), step_key)
    epoch = len(train_images.images) // config.batch
    count = config.epochs * epoch
    (seconds,) = seconds_each(lambda: program.update(state, batches(0), step_key))
    print(
        f"compiled in {program.compile_seconds:.1f} s; a step takes {seconds:.5f} s: "
        f"{count} steps, about {count * seconds / 3600:.3f} hours"
    )
    if dry_run:
        return ""

    # Training.
    measure = measurer(model, preprocess)
    run = Run(
        name="supervised",
        folder=workdir,
        update=program.update,
        batch=batches,
        state=state,
        steps=count,
        images=config.batch,
        every=Intervals(config.log_every, epoch, epoch),
        data=lambda step: ["glyphs"],
        rates=("learning_rate",),
    )
    fitted = fit(
        run,
        step_key,
        lambda params: measure(params, validation)["accuracy"],
        lambda: config.max_hours * 3600,
    )

    # Test and report.
    begin = time.perf_counter()
    scores = measure(fitted.params, test)
    rows = _rows(scores, len(test.images), time.perf_counter() - begin)
    rows[-1]["epoch"] = fitted.cost.steps / epoch
    atomic.write_rows(workdir / RESULTS, rows)
    layers = "-".join(map(str, (784, *config.model.hidden, len(SCRIPTS))))
    text = (
        f"# Which of ten scripts: {layers}\n\n"
        f"Test accuracy {scores['accuracy']:.2%} [{scores['low']:.2%}, "
        f"{scores['high']:.2%}], macro-F1 {scores['f1']:.2%}, loss "
        f"{scores['loss']:.3f} nats, on {len(test.images):,} held-out images; the "
        "interval, of 95 %, covers the draw of images.\n\n"
        f"Dropout {config.model.dropout} after the first {config.model.dropped} hidden "
        f"layers, Adam {config.learning_rate}, {config.epochs} epochs of batches of "
        f"{config.batch}, seed {config.seed}; {fitted.cost.device_seconds:.0f} s of "
        "device time.\n"
    )
    text += f"\n{fitted.stopped}\n" * bool(fitted.stopped)
    text += f"\n    {command}\n" * bool(command)
    atomic.write_text(workdir / REPORT, text)
    atomic.write_json(path, finished)
    print(text)
    return text


def by_script(roles: Roles) -> dict[str, Source]:
    """Turns letters of all roles into images of their script, some of each held out.

    Train, validation and test have images of every letter, in this order.
    """
    parts: list[list[tuple[np.ndarray, np.ndarray]]] = [[], [], []]
    for (source,) in (roles.train, roles.validation, roles.test):
        for name, rows in zip(source.class_names, class_index(source), strict=True):
            script = name.split()[0]
            if script not in SCRIPTS:
                continue
            cuts = np.split(rows, [-VALIDATION - TEST, -TEST])
            for part, chosen in zip(parts, cuts, strict=True):
                labels = np.full(len(chosen), SCRIPTS.index(script), np.int32)
                part.append((source.images[chosen], labels))
    sources = {}
    for role, part in zip(("train", "validation", "test"), parts, strict=True):
        images, labels = map(np.concatenate, zip(*part, strict=True))
        sources[role] = Source("glyphs by script", images, labels, SCRIPTS)
    return sources


def batches_of(source: Source, size: int, seed: int) -> Any:
    """`(step) -> {"image": uint8 [size, h, w, c], "label": int32 [size]}`.

    A pure function of the step: every epoch has its own order, and leaves out the last
    images that fill no batch.
    """
    epoch = len(source.images) // size

    @functools.lru_cache(maxsize=1)
    def order(number: int) -> np.ndarray:
        return np.random.default_rng((seed, number)).permutation(len(source.images))

    def batch(step: int) -> Any:
        first = step % epoch * size
        rows = order(step // epoch)[first : first + size]
        return {"image": source.images[rows], "label": source.labels[rows]}

    return batch


def measurer(
    model: Model, preprocess: Preprocess
) -> Callable[[Any, Source], dict[str, float]]:
    """`(params, source) -> {"accuracy", "low", "high", "f1", "loss"}`, without dropout.

    Accuracy with its 95 % interval over images, macro-F1, mean cross-entropy in nats.
    """
    of_batch = classification.features(model)

    @jax.jit
    def run(params, batch):
        batch = preprocess.for_evaluation(params, batch, jax.random.key(0))
        logits = classification.logits(params, of_batch(params, batch, None))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses, jnp.argmax(logits, -1)

    def measure(params: Any, source: Source) -> dict[str, float]:
        batch = {"image": source.images, "label": source.labels}
        losses, predictions = jax.tree.map(np.asarray, run(params, batch))
        hits = (predictions == source.labels).astype(float)
        scores = dict(
            zip(("accuracy", "low", "high"), intervals.mean_interval(hits), strict=True)
        )
        f1 = metrics.macro_f1(source.labels, predictions, len(SCRIPTS))
        return scores | {"f1": float(f1), "loss": float(losses.mean())}

    return measure


def _rows(scores: dict[str, float], images: int, seconds: float) -> list[dict]:
    """Rows of results.jsonl: one a metric, and the summary."""
    about = {
        "init": "random",
        "head": "softmax",
        "dataset": "glyphs",
        "protocol": "10 scripts, held-out images",
        "n": images,
    }
    rows: list[dict[str, Any]] = [
        {**about, "metric": name, "value": scores[name]}
        for name in ("accuracy", "f1", "loss")
    ]
    rows[0] |= {"low": scores["low"], "high": scores["high"]}
    summary = {
        "eval_loss": scores["loss"],
        "eval_accuracy": scores["accuracy"],
        "eval_runtime": seconds,
        "eval_samples_per_second": images / seconds,
        "eval_steps_per_second": 1 / seconds,
    }
    return [*rows, summary]
