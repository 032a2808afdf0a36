"""Meta-test: every initialisation with every head, on the same episodes and grid."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from metainit.core.types import Episode
from metainit.data import samples
from metainit.data.loading import Roles
from metainit.data.samples import Sample
from metainit.evaluation import adaptation, closed_form, metrics
from metainit.evaluation.adaptation import Scores, Setting
from metainit.evaluation.results import Evaluation, Row
from metainit.models.model import Model
from metainit.models.preprocess import Preprocess
from metainit.runtime import devices, stop
from metainit.runtime.cost import Cost


class Measured(NamedTuple):
    """Query results, float [steps measured, episodes]: accuracy and F1 from 0 to 1."""

    loss: np.ndarray
    accuracy: np.ndarray
    f1: np.ndarray


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
      evaluator_of: way -> `adaptation.evaluator(...)`.
      progress: told what is being measured.

    Returns:
      The evaluation on all of meta-test; in its `parts` on each data set where there
      are several, and on each with held-out classes.
    """
    begin = time.perf_counter()
    count = config.evaluate.episodes
    choosing = samples.draw_validation(config, roles.validation)
    if config.evaluate.manifest:
        testing = samples.stored(config.evaluate.manifest, roles)
        count = len(testing[0].manifest.query)
    else:
        of_test = roles.test + roles.held_out
        testing = samples.draw(
            of_test, samples.spec_of(config), samples.TEST_SEED, count
        )
    embed = adaptation.embed(model, preprocess)
    found: list[tuple[dict[str, Any], list[Measured]]] = []  # row; results by data set
    for name, (params, cost) in inits.items():
        heads = ["prototype", "zero"] + ["learned"] * ("head" in params)
        for head in heads:
            stop.check()
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

            def fitted(value: float, of: Any, pairs: Any, fit: Any = fit) -> Any:
                return [
                    _measured(_closed_form(fit, pair, one.episodes, value), one)
                    for one, pair in zip(of, pairs, strict=True)
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
    protocol = f"{testing[0].manifest.rule}, {count} episodes"
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
            device=devices.in_use(),
            runtime=time.perf_counter() - begin,
            queries=round(np.mean([(x.manifest.query >= 0).sum(1) for x in testing])),
            episodes_sha256=_digest(testing[part]),
            manifests=tuple(one.manifest for one in testing[part]),
        )

    names = [one.manifest.dataset for one in testing]
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
    query = sample.episodes.query
    if "weight" not in query:
        f1 = metrics.macro_f1(query["label"], scores.predictions, sample.way)
    else:  # over the images and classes that there are
        there = query["weight"] > 0
        f1 = np.stack(
            [
                metrics.macro_f1(targets[kept], of_episode[:, kept], way)
                for targets, of_episode, kept, way in zip(
                    query["label"],
                    scores.predictions.swapaxes(0, 1),
                    there,
                    sample.manifest.ways,
                    strict=True,
                )
            ],
            axis=1,
        )
    return Measured(scores.loss, scores.accuracy, f1)


def _pool(of_each: Sequence[Measured]) -> Measured:
    return Measured(*(np.concatenate(x, axis=1) for x in zip(*of_each, strict=True)))


def _digest(of: Sequence[Sample]) -> str:
    """That of the episodes of a data set; of several, all of theirs."""
    return " ".join(sample.manifest.sha256 for sample in of)


def _closed_form(
    fit: closed_form.Head,
    features: tuple[np.ndarray, np.ndarray],
    episodes: Episode,
    value: float,
) -> Scores:
    labels, targets = episodes.support["label"], episodes.query["label"]
    # Filling has weight 0, and such a head would learn from it.
    learned, judged = (
        part["weight"] > 0 if "weight" in part else np.ones(part["label"].shape, bool)
        for part in episodes
    )
    predictions = np.zeros(targets.shape, int)
    loss, accuracy = np.zeros(len(targets)), np.zeros(len(targets))
    for number, (support, query) in enumerate(zip(*features, strict=True)):
        kept, rows = learned[number], judged[number]
        wanted = targets[number][rows]
        found = fit(support[kept], labels[number][kept], query[rows], value)  # [n, way]
        predictions[number][rows] = found.argmax(-1)
        loss[number] = -np.take_along_axis(found, wanted[:, None], -1).mean()
        accuracy[number] = (found.argmax(-1) == wanted).mean()
    return Scores(loss[None], accuracy[None], predictions[None])
