"""Plain supervised learning: which of ten scripts does a letter belong to?

A ten-class task of 28x28 images like digit recognition, made of the glyphs: the ten
scripts with the most letters, 45,000 images. Of every letter's images some are held
out, so that every letter is known and no image is. The classes are as uneven as the
scripts (Latin has a third of the letters), so macro-F1 is reported beside accuracy.
"""

import dataclasses
import functools
import json
import pathlib
import time
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview

from metainit.config.fields import ConfigError, Data, Supervised
from metainit.data import loading, scripts
from metainit.data.loading import Source
from metainit.evaluation import intervals, metrics
from metainit.models import classification, mlp
from metainit.models import preprocess as preprocess_module
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import atomic, run_folder
from metainit.runtime.budget import Program, compile_step, seconds_each
from metainit.training import steps
from metainit.training.loop import Intervals, Run, fit

FINISHED, RESULTS, REPORT = "finished.json", "results.jsonl", "report.md"


class Scores(NamedTuple):
    """Of one part of the images.

    Attributes:
      accuracy: 0 to 1.
      low, high: its 95 % interval over images.
      f1: macro-F1 over the ten scripts.
      loss: mean cross-entropy in nats.
      images: how many.
    """

    accuracy: float
    low: float
    high: float
    f1: float
    loss: float
    images: int


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
    """Trains and tests one classifier; arguments and errors as
    `metainit.experiments.meta_learning.train`.

    The parameters tested are those of the epoch that is best on validation images.
    """
    workdir = pathlib.Path(workdir)
    model = model or build_model(config)
    data = Data(data_dir=config.data_dir)  # the glyphs
    try:
        parts = scripts.images(loading.load(data))
        if config.batch > (most := len(parts.train[0].images)):
            raise ValueError(
                f"batch={config.batch} is above the {most} training images"
            )
        if not dry_run:
            run_folder.claim(
                workdir,
                dataclasses.asdict(config),
                may_change=("log_every", "max_hours", "data_dir"),
                only_up=("epochs",),
            )
    except ValueError as error:
        raise ConfigError(str(error)) from error
    finished = workdir / FINISHED
    if not dry_run and finished.exists():
        done = json.loads(finished.read_text())
        if done == {"epochs": config.epochs, "max_hours": config.max_hours}:
            text = (workdir / REPORT).read_text()
            print(f"{workdir} is finished; more --config.epochs go on\n\n{text}")
            return text
    for name, (part,) in zip(("train", "validation", "test"), parts[:3], strict=True):
        print(f"{name}: {len(part.images)} images of {len(scripts.NAMES)} scripts")

    # The network and its training step.
    preprocess = preprocess_module.fit(
        loading.images_used(parts.train), shift=0, flip=False
    )
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    example = jnp.zeros((2, *parts.train[0].images.shape[1:]))
    body = jax.jit(model.init)(init_key, example)
    optimizer = optax.adam(config.learning_rate)
    state = steps.start(model, optimizer, body, example, len(scripts.NAMES))
    print(parameter_overview.get_parameter_overview(state.params, include_stats=False))
    batches = batches_of(parts.train[0], config.batch, config.seed)
    step = steps.supervised(model, preprocess, optimizer)
    program = compile_step(step, state, batches(0), step_key)
    epoch = len(parts.train[0].images) // config.batch
    (seconds,) = seconds_each(lambda: program.update(state, batches(0), step_key))
    print(_plan(program, seconds, config.epochs * epoch))
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
        steps=config.epochs * epoch,
        images=config.batch,
        every=Intervals(config.log_every, epoch, epoch),
        data=lambda step: ["glyphs"],
        rates=("learning_rate",),
    )
    fitted = fit(
        run,
        step_key,
        lambda params: measure(params, parts.validation[0]).accuracy,
        lambda: config.max_hours * 3600,
    )

    # Test and report.
    begin = time.perf_counter()
    scores = measure(fitted.params, parts.test[0])
    lines = _results(scores, time.perf_counter() - begin, fitted.cost.steps / epoch)
    atomic.write_text(workdir / RESULTS, "".join(json.dumps(x) + "\n" for x in lines))
    text = _report(config, scores, fitted.cost.device_seconds, fitted.stopped, command)
    atomic.write_text(workdir / REPORT, text)
    finished_by = {"epochs": config.epochs, "max_hours": config.max_hours}
    atomic.write_text(finished, json.dumps(finished_by) + "\n")
    print(text)
    return text


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


def measurer(model: Model, preprocess: Preprocess) -> Any:
    """`(params, source) -> Scores`, with dropout off."""
    of_batch = classification.features(model)

    @jax.jit
    def run(params, batch):
        batch = preprocess.for_evaluation(params, batch, jax.random.key(0))
        logits = classification.logits(params, of_batch(params, batch, None))
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses, jnp.argmax(logits, -1)

    def measure(params: Any, source: Source) -> Scores:
        batch = {"image": source.images, "label": source.labels}
        losses, predictions = jax.tree.map(np.asarray, run(params, batch))
        hits = (predictions == source.labels).astype(float)
        f1 = metrics.macro_f1(source.labels, predictions, len(scripts.NAMES))
        interval = intervals.mean_interval(hits)
        return Scores(*interval, float(f1), float(losses.mean()), len(hits))

    return measure


def _plan(program: Program, seconds: float, steps: int) -> str:
    return (
        f"compiled in {program.compile_seconds:.1f} s; a step takes {seconds:.5f} s: "
        f"{steps} steps, about {steps * seconds / 3600:.3f} hours"
    )


def _results(scores: Scores, seconds: float, epoch: float) -> list[dict[str, Any]]:
    about = {
        "init": "random",
        "head": "softmax",
        "dataset": "glyphs",
        "protocol": "10 scripts, held-out images",
        "n": scores.images,
    }
    interval = {"low": scores.low, "high": scores.high}
    summary = {
        "eval_loss": scores.loss,
        "eval_accuracy": scores.accuracy,
        "eval_runtime": seconds,
        "eval_samples_per_second": scores.images / seconds,
        "eval_steps_per_second": 1 / seconds,
        "epoch": epoch,
    }
    return [
        {**about, "metric": "accuracy", "value": scores.accuracy, **interval},
        {**about, "metric": "f1", "value": scores.f1},
        {**about, "metric": "loss", "value": scores.loss},
        summary,
    ]


def _report(
    config: Supervised, scores: Scores, seconds: float, note: str, command: str
) -> str:
    m = config.model
    layers = "-".join(map(str, (784, *m.hidden, len(scripts.NAMES))))
    dropout = (
        f"dropout {m.dropout} after the first {m.dropped} hidden layers"
        if m.dropped
        else "no dropout"
    )
    lines = [
        f"# Which of ten scripts: {layers}",
        "",
        f"Test accuracy {scores.accuracy:.2%} [{scores.low:.2%}, {scores.high:.2%}], "
        f"macro-F1 {scores.f1:.2%}, loss {scores.loss:.3f} nats, on {scores.images:,} "
        "held-out images; the interval, of 95 %, covers the draw of images.",
        "",
        f"{dropout}, Adam {config.learning_rate}, {config.epochs} epochs of batches of "
        f"{config.batch}, seed {config.seed}; {seconds:.0f} s of device time.",
    ]
    lines += ["", note] * bool(note) + ["", f"    {command}"] * bool(command)
    return "\n".join(lines) + "\n"
