"""Meta-test: every initialisation with every head, on the same episodes and grid."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from metainit import adaptation, closed_form, metrics
from metainit.adaptation import Scores, Setting
from metainit.episodes import EpisodeSpec, sample_batch
from metainit.models.model import Model
from metainit.preprocess import Preprocess
from metainit.results import Cost, Evaluation, Row
from metainit.sources import Source
from metainit.types import Episode

VALIDATION_SEED, TEST_SEED = 1, 2


def evaluate(
    config: ConfigDict,
    model: Model,
    preprocess: Preprocess,
    inits: Mapping[str, tuple[Any, Cost]],
    validation: tuple[Source, ...],
    test: tuple[Source, ...],
    run: adaptation.Evaluator,
    progress: Callable[[str], None] = print,
) -> Evaluation:
    """Chooses each row's setting on meta-validation, then measures it on meta-test.

    Args:
      config: of the experiment.
      model: the network body.
      preprocess: of images.
      inits: parameters ({"body": ...}, with "head" where one was learned) and cost by
        name.
      validation, test: sources of the two roles.
      run: `adaptation.evaluator(...)` at `config.evaluate.steps`.
      progress: told what is being measured.
    """
    begin = time.perf_counter()
    spec = EpisodeSpec(**config.task)
    counts = config.evaluate.validation_episodes, config.evaluate.episodes
    choosing = sample_batch(validation, spec, VALIDATION_SEED, 0, counts[0])[0]
    testing = sample_batch(test, spec, TEST_SEED, 0, counts[1])[0]
    embed = adaptation.embed(model, preprocess)
    rows = []
    for name, (params, cost) in inits.items():
        heads = ["prototype", "zero"] + ["learned"] * ("head" in params)
        for head in heads:
            progress(f"evaluating {name}: {head} head")
            setting, chosen, accuracy = _choose_setting(
                config, run, params, choosing, head
            )
            scores = run(params, testing, setting)
            described = {
                "optimizer": setting.optimizer,
                "learning_rate": setting.learning_rate,
            }
            steps = tuple(config.evaluate.steps)
            rows.append(
                _row(
                    name,
                    head,
                    described,
                    steps,
                    chosen,
                    accuracy,
                    scores,
                    testing,
                    cost,
                )
            )
        features = embed(params, choosing), embed(params, testing)
        for head, field, fit, grid in (
            (
                "nearest centroid",
                "scale",
                closed_form.nearest_centroid,
                config.evaluate.centroid_scales,
            ),
            (
                "logistic regression",
                "C",
                closed_form.logistic_regression,
                config.evaluate.inverse_penalties,
            ),
        ):
            progress(f"evaluating {name}: {head}")
            tried = [_closed_form(fit, features[0], choosing, x) for x in grid]
            best = min(  # by accuracy, then by loss
                range(len(grid)),
                key=lambda i: (-tried[i].accuracy.mean(), tried[i].loss.mean()),
            )
            scores = _closed_form(fit, features[1], testing, grid[best])
            accuracy = float(tried[best].accuracy.mean())
            rows.append(
                _row(
                    name,
                    head,
                    {field: grid[best]},
                    (0,),
                    0,
                    accuracy,
                    scores,
                    testing,
                    cost,
                )
            )
    device = jax.devices()[0]
    return Evaluation(
        rows=tuple(rows),
        dataset=", ".join(source.name for source in test),
        protocol=f"{spec.way}-way {spec.shot}-shot, {counts[1]} episodes",
        batch_norm=model.policy,
        grid={
            "SGD rates": list(config.evaluate.sgd_rates),
            "Adam rates": list(config.evaluate.adam_rates),
            "steps": list(config.evaluate.steps),
            "nearest centroid scales": list(config.evaluate.centroid_scales),
            "logistic regression C": list(config.evaluate.inverse_penalties),
            "chosen on": f"{counts[0]} meta-validation episodes",
        },
        device=f"{device.platform} ({device.device_kind}) x{jax.device_count()}",
        runtime=time.perf_counter() - begin,
        queries=spec.way * spec.queries,
        notes=(),
    )


def _choose_setting(
    config: ConfigDict, run: Any, params: Any, choosing: Episode, head: str
) -> tuple[Setting, int, float]:
    """The setting and number of steps that are best on meta-validation."""
    best = None
    tried = [("sgd", rate) for rate in config.evaluate.sgd_rates]
    tried += [("adam", rate) for rate in config.evaluate.adam_rates]
    for optimizer, rate in tried:
        setting = Setting(head, optimizer, rate)
        accuracy = run(params, choosing, setting).accuracy.mean(1)  # [steps]
        accuracy = np.where(np.isfinite(accuracy), accuracy, 0)
        step = int(np.argmax(accuracy))  # the fewest steps among equals
        if best is None or accuracy[step] > best[2]:
            best = setting, step, float(accuracy[step])
    assert best is not None
    return best


def _closed_form(
    fit: closed_form.Head,
    features: tuple[np.ndarray, np.ndarray],
    episodes: Episode,
    value: float,
) -> Scores:
    labels, targets = episodes.support["label"], episodes.query["label"]
    log_probabilities = np.stack(
        [
            fit(support, y, query, value)
            for support, y, query in zip(features[0], labels, features[1], strict=True)
        ]
    )  # [episodes, n, way]
    predictions = log_probabilities.argmax(-1)
    of_target = np.take_along_axis(log_probabilities, targets[..., None], -1)
    return Scores(
        loss=-of_target.mean((1, 2))[None],
        accuracy=(predictions == targets).mean(1)[None],
        predictions=predictions[None],
    )


def _row(
    init: str,
    head: str,
    setting: dict[str, Any],
    steps: tuple[int, ...],
    chosen: int,
    validation_accuracy: float,
    scores: Scores,
    testing: Episode,
    cost: Cost,
) -> Row:
    targets = np.broadcast_to(testing.query["label"], scores.predictions.shape)
    way = int(targets.max()) + 1
    return Row(
        init=init,
        head=head,
        setting=setting,
        steps=steps,
        chosen=chosen,
        validation_accuracy=validation_accuracy,
        accuracy=scores.accuracy,
        f1=metrics.macro_f1(targets, scores.predictions, way),
        loss=scores.loss,
        cost=cost,
    )
