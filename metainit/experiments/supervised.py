"""Trains a plain classifier to tell which of ten scripts a letter belongs to.

Some images of every letter are held out: every letter is known, but no image of the
test is. The scripts differ in size, so macro-F1 is reported beside accuracy.
"""

import dataclasses
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview

from metainit.config.fields import Data, Supervised
from metainit.data import loading
from metainit.data.batches import Order, hold_out
from metainit.data.loading import Source
from metainit.evaluation import intervals
from metainit.experiments import configs
from metainit.models import mlp
from metainit.models import preprocess as preprocess_module
from metainit.models.model import Model
from metainit.runtime import atomic, run_folder
from metainit.runtime.budget import seconds_each
from metainit.runtime.cost import RANDOM
from metainit.training import steps
from metainit.training.initialisation import Initialisation
from metainit.training.loop import Fitted, fit
from metainit.training.session import Intervals, Run
from metainit.transfer import held_out

FINISHED, RESULTS, REPORT = "finished.json", "results.jsonl", "report.md"
_NAMES = "LATIN CANADIAN GREEK CYRILLIC ARABIC GEORGIAN HEBREW ARMENIAN LAO OLD"
SCRIPTS = tuple(_NAMES.split())  # the last is Old Italic
TEST, VALIDATION = 0.2, 0.125  # shares: of a letter's images, and of the rest


def build_model(config: Supervised) -> Model:
    """Makes the perceptron that `config.model` describes."""
    return mlp.mlp(config.model.hidden, config.model.dropout, config.model.dropped)


def train(
    config: Supervised,
    workdir: pathlib.Path,
    *,
    dry_run: bool = False,
    command: str = "",
) -> str:
    """Trains and tests one classifier, as `metainit.experiments.meta_learning.train`.

    It tests the parameters of the epoch that is best on validation images.
    """
    settings, asked = dataclasses.asdict(config), [config.epochs, config.max_hours]
    rules = ("log_every", "max_hours", "data_dir"), ("epochs",)
    with configs.as_config_error():
        run_folder.claim(workdir, settings, *rules, write=False)
        if not dry_run and (text := _finished(workdir, asked)):
            print(text)
            return text
        letters = loading.whole(Data(data_dir=config.data_dir))  # glyphs
        source, validation, test = by_script(letters)
        rows, test_images = loading.rows(source), len(loading.rows(test))
        if config.batch > len(rows):
            words = f"is above the {len(rows)} training images"
            raise ValueError(f"batch={config.batch} {words}")
        run_folder.claim(workdir, settings, *rules, write=not dry_run)
    print(f"{len(rows)} images of {len(SCRIPTS)} scripts; {test_images} to test on")

    # The network and its training step.
    model, optimizer = build_model(config), optax.adam(config.learning_rate)
    preprocess = preprocess_module.fit([(source.images, rows)], shift=0, flip=False)
    init_key, step_key = jax.random.split(jax.random.key(config.seed))
    example = jnp.zeros((2, *source.images.shape[1:]))
    body = jax.jit(model.init)(init_key, example)
    state = steps.start(model, optimizer, body, example, len(SCRIPTS))
    print(parameter_overview.get_parameter_overview(state.params, include_stats=False))
    order = Order(rows, config.seed, config.batch)

    def batch(step: int) -> dict[str, np.ndarray]:
        chosen = order(step)
        return {"image": source.images[chosen], "label": source.labels[chosen]}

    update = steps.supervised(model, preprocess, optimizer)
    program = steps.compile_supervised(update, state, batch(0), step_key)
    epoch = len(rows) // config.batch
    run = Run(
        name="supervised",
        folder=workdir,
        update=program.update,
        batch=batch,
        state=state,
        steps=config.epochs * epoch,
        images=config.batch,
        every=Intervals(config.log_every, epoch, epoch),
        data=lambda step: ["glyphs"],
        rates=("learning_rate",),
    )
    (seconds,) = seconds_each(lambda: program.update(state, batch(0), step_key))
    print(
        f"compiled in {program.compile_seconds:.1f} s; a step takes {seconds:.5f} s: "
        f"{run.steps} steps, about {run.steps * seconds / 3600:.3f} hours"
    )
    if dry_run:
        return ""

    # Training, test and report.
    init = Initialisation(RANDOM, model, preprocess, body)
    moments = source.images[rows[: held_out.MOMENTS]]
    validate, measure = (
        held_out.measurer(init, state.params, moments, part)[0]
        for part in (validation, test)
    )
    limit = config.max_hours * 3600
    fitted = fit(run, step_key, lambda x: validate(x)["accuracy"], lambda: limit)
    begin = time.perf_counter()
    scores = measure(fitted.params)
    results = _rows(scores, test_images, time.perf_counter() - begin)
    results[-1]["epoch"] = fitted.cost.steps / epoch
    atomic.write_rows(workdir / RESULTS, results)
    text = _in_words(config, results, fitted) + f"\n    {command}\n" * bool(command)
    atomic.write_text(workdir / REPORT, text)
    atomic.write_json(workdir / FINISHED, asked)
    print(text)
    return text


def _finished(workdir: pathlib.Path, asked: list[float]) -> str:
    """Gives the report's text if all epochs and hours were spent, else ""."""
    path = workdir / FINISHED
    if not path.exists() or atomic.read_json(path) != asked:
        return ""
    with atomic.reading(workdir / REPORT, f"delete {path}, and the same line makes it"):
        text = (workdir / REPORT).read_text()
    return f"{workdir} is finished; more epochs go on\n\n{text}"


def by_script(letters: Source) -> tuple[Source, ...]:
    """Labels letters by their script, for training, validation and test.

    Each part has images of every letter of the ten scripts. Others have label -1.
    """
    scripts = [name.split()[0] for name in letters.class_names]
    labels = [SCRIPTS.index(x) if x in SCRIPTS else -1 for x in scripts]
    of_letter = np.array([*labels, -1], np.int32)  # a label of -1 stays -1
    others, test = hold_out(letters, 0, TEST)
    return tuple(
        Source("scripts", part.images, of_letter[part.labels], SCRIPTS)
        for part in (*hold_out(others, 0, VALIDATION), test)
    )


def _rows(scores: dict[str, float], images: int, seconds: float) -> list[dict]:
    """Makes the rows of results.jsonl: accuracy, macro-F1 and loss, and a summary."""
    about = {"init": RANDOM, "head": "softmax", "dataset": "glyphs", "n": images}
    about |= {"protocol": "10 scripts, held-out images"}
    names = "accuracy", "f1", "loss"
    rows = [about | {"metric": name, "value": scores[name]} for name in names]
    hits = np.arange(images) < round(scores["accuracy"] * images)
    _, rows[0]["low"], rows[0]["high"] = intervals.mean_interval(hits)
    summary = {
        "eval_loss": scores["loss"],
        "eval_accuracy": scores["accuracy"],
        "eval_runtime": seconds,
        "eval_samples_per_second": images / seconds,
        "eval_steps_per_second": 1 / seconds,
    }
    return [*rows, summary]


def _in_words(config: Supervised, rows: list[dict], fitted: Fitted) -> str:
    accuracy, f1, loss, _ = rows
    layers = "-".join(map(str, (784, *config.model.hidden, len(SCRIPTS))))
    text = (
        f"# Which of ten scripts: {layers}\n\n"
        f"Test accuracy {accuracy['value']:.2%} [{accuracy['low']:.2%}, "
        f"{accuracy['high']:.2%}], macro-F1 {f1['value']:.2%}, loss "
        f"{loss['value']:.3f} nats, on {loss['n']:,} held-out images; the interval, of "
        f"95 %, covers the draw of images.\n\n{config.epochs} epochs, seed "
        f"{config.seed}, {fitted.cost.device_seconds:.0f} s of device time; the other "
        "settings are in config.json.\n"
    )
    return text + f"\n{fitted.stopped}\n" * bool(fitted.stopped)
