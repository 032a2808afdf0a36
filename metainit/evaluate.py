"""Meta-test: every initialisation with every head, on the same episodes and grid."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from metainit import adaptation, closed_form, metrics
from metainit.adaptation import Scores, Setting
from metainit.episodes import EpisodeSpec, sample_batch
from metainit.models.model import Model
from metainit.preprocess import Preprocess
from metainit.results import Cost, Evaluation, Row
from metainit.sources import Roles, Source
from metainit.types import Episode

VALIDATION_SEED, TEST_SEED = 1, 2


class Sample(NamedTuple):
    """Episodes of one data set, all of one shape.

    Attributes:
      name: of the data set.
      way: classes of an episode.
      episodes: with a leading axis.
    """

    name: str
    way: int
    episodes: Episode


class Measured(NamedTuple):
    """Query results, float [steps measured, episodes]: accuracy and F1 from 0 to 1."""

    loss: np.ndarray
    accuracy: np.ndarray
    f1: np.ndarray


def draw(
    sources: tuple[Source, ...], spec: EpisodeSpec, seed: int, count: int
) -> tuple[Sample, ...]:
    """`count` episodes of each source, always the same ones."""
    return tuple(
        Sample(
            source.name,
            spec.way or len(source.class_names),
            sample_batch((source,), spec, seed, 0, count)[0],
        )
        for source in sources
    )


def draw_validation(
    config: ConfigDict, sources: tuple[Source, ...]
) -> tuple[Sample, ...]:
    """The episodes that everything is chosen on: as many of each source."""
    each = -(-config.evaluate.validation_episodes // len(sources))
    return draw(sources, EpisodeSpec(**config.task), VALIDATION_SEED, each)


def evaluate(
    config: ConfigDict,
    model: Model,
    preprocess: Preprocess,
    inits: Mapping[str, tuple[Any, Cost]],
    roles: Roles,
    evaluator_of: Callable[[int], adaptation.Evaluator],
    progress: Callable[[str], None] = print,
) -> Evaluation:
    """Chooses each row's setting on meta-validation, then measures it on meta-test.

    Args:
      config: of the experiment.
      model: the network body.
      preprocess: of images.
      inits: parameters ({"body": ...}, with "head" where one was learned) and cost by
        name.
      roles: sources of meta-validation and meta-test, and those held out.
      evaluator_of: way -> `adaptation.evaluator(...)` at `config.evaluate.steps`.
      progress: told what is being measured.

    Returns:
      The evaluation on all of meta-test; in its `parts` on each data set where there
      are several, and on each with held-out classes.
    """
    begin = time.perf_counter()
    spec = EpisodeSpec(**config.task)
    count = config.evaluate.episodes
    choosing = draw_validation(config, roles.validation)
    testing = draw(roles.test + roles.held_out, spec, TEST_SEED, count)
    embed = adaptation.embed(model, preprocess)
    found: list[tuple[dict[str, Any], list[Measured]]] = []  # row; results by data set
    for name, (params, cost) in inits.items():
        heads = ["prototype", "zero"] + ["learned"] * ("head" in params)
        for head in heads:
            progress(f"evaluating {name}: {head} head")
            setting, chosen, accuracy = _choose_setting(
                config, evaluator_of, params, choosing, head
            )
            described = {
                "optimizer": setting.optimizer,
                "learning_rate": setting.learning_rate,
            }
            row = {
                "init": name,
                "head": head,
                "setting": described,
                "steps": tuple(config.evaluate.steps),
                "chosen": chosen,
                "validation_accuracy": accuracy,
                "cost": cost,
            }
            measured = [
                _measured(evaluator_of(one.way)(params, one.episodes, setting), one)
                for one in testing
            ]
            found.append((row, measured))
        features = [embed(params, one.episodes) for one in (*choosing, *testing)]
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

            def fitted(value: float, samples: Any, pairs: Any, fit: Any = fit) -> Any:
                return [
                    _measured(_closed_form(fit, pair, one.episodes, value), one)
                    for one, pair in zip(samples, pairs, strict=True)
                ]

            tried = [
                _pool(fitted(value, choosing, features[: len(choosing)]))
                for value in grid
            ]
            best = min(  # by accuracy, then by loss
                range(len(grid)),
                key=lambda i: (-tried[i].accuracy.mean(), tried[i].loss.mean()),
            )
            accuracy = float(tried[best].accuracy.mean())
            row = {
                "init": name,
                "head": head,
                "setting": {field: grid[best]},
                "steps": (0,),
                "chosen": 0,
                "validation_accuracy": accuracy,
                "cost": cost,
            }
            measured = fitted(grid[best], testing, features[len(choosing) :])
            found.append((row, measured))

    choices = sum(len(one.episodes.support["label"]) for one in choosing)
    device = jax.devices()[0]
    way = f"{spec.way}-way" if spec.way else "all-way"
    protocol = f"{way} {spec.shot}-shot, {count} episodes"
    several = len(roles.test) > 1

    def evaluation(dataset: str, protocol: str, part: slice) -> Evaluation:
        return Evaluation(
            rows=tuple(
                Row(**row, **_pool(measured[part])._asdict()) for row, measured in found
            ),
            dataset=dataset,
            protocol=protocol,
            batch_norm=model.policy,
            grid={
                "SGD rates": list(config.evaluate.sgd_rates),
                "Adam rates": list(config.evaluate.adam_rates),
                "steps": list(config.evaluate.steps),
                "nearest centroid scales": list(config.evaluate.centroid_scales),
                "logistic regression C": list(config.evaluate.inverse_penalties),
                "chosen on": f"{choices} meta-validation episodes",
            },
            device=f"{device.platform} ({device.device_kind}) x{jax.device_count()}",
            runtime=time.perf_counter() - begin,
            queries=testing[0].way * spec.queries,
            episodes_sha256=_digest(testing[part]),
        )

    names = [one.name for one in testing]
    parts = [
        evaluation(
            name,
            protocol
            + (", held-out classes of meta-train" if i >= len(roles.test) else ""),
            slice(i, i + 1),
        )
        for i, name in enumerate(names)
        if several or i >= len(roles.test)
    ]
    of_each = " of each" if several else ""
    whole = evaluation(
        ", ".join(names[: len(roles.test)]), protocol + of_each, slice(len(roles.test))
    )
    return whole._replace(parts=tuple(parts))


def validation_accuracy(
    evaluator_of: Callable[[int], adaptation.Evaluator],
    params: Any,
    choosing: Sequence[Sample],
    setting: Setting,
) -> np.ndarray:
    """Mean accuracy over all episodes, float [steps measured]."""
    return np.concatenate(
        [
            evaluator_of(one.way)(params, one.episodes, setting).accuracy
            for one in choosing
        ],
        axis=1,
    ).mean(1)


def _choose_setting(
    config: ConfigDict, evaluator_of: Any, params: Any, choosing: Any, head: str
) -> tuple[Setting, int, float]:
    """The setting and number of steps that are best on meta-validation."""
    best = None
    tried = [("sgd", rate) for rate in config.evaluate.sgd_rates]
    tried += [("adam", rate) for rate in config.evaluate.adam_rates]
    for optimizer, rate in tried:
        setting = Setting(head, optimizer, rate)
        accuracy = validation_accuracy(evaluator_of, params, choosing, setting)
        accuracy = np.where(np.isfinite(accuracy), accuracy, 0)
        step = int(np.argmax(accuracy))  # the fewest steps among equals
        if best is None or accuracy[step] > best[2]:
            best = setting, step, float(accuracy[step])
    assert best is not None
    return best


def _measured(scores: Scores, sample: Sample) -> Measured:
    targets = sample.episodes.query["label"]
    targets = np.broadcast_to(targets, scores.predictions.shape)
    f1 = metrics.macro_f1(targets, scores.predictions, sample.way)
    return Measured(scores.loss, scores.accuracy, f1)


def _pool(of_each: Sequence[Measured]) -> Measured:
    return Measured(*(np.concatenate(x, axis=1) for x in zip(*of_each, strict=True)))


def _digest(samples: Sequence[Sample]) -> str:
    """SHA-256 of all images and labels."""
    digest = hashlib.sha256()
    for sample in samples:
        for leaf in jax.tree.leaves(sample.episodes):
            digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


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
