"""Meta-test: every initialisation with every head, on the same episodes and grid."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from metainit.config.fields import Experiment
from metainit.data.episode_set import Sample, Samples
from metainit.evaluation import adaptation, closed_form, metrics
from metainit.evaluation.adaptation import Setting
from metainit.evaluation.results import Evaluation, Measurements, Row
from metainit.runtime import devices, stop
from metainit.training.initialisation import Initialisation


def evaluate(
    config: Experiment,
    inits: Mapping[str, Initialisation],
    samples: Samples,
    evaluator_of: Callable[[int], adaptation.Evaluator],
    progress: Callable[[str], None] = print,
) -> Evaluation:
    """Chooses each row's setting on meta-validation, then measures it on meta-test.

    Args:
      config: of the experiment.
      inits: by name, all of one network.
      samples: episodes of meta-validation and meta-test.
      evaluator_of: way -> `adaptation.evaluator(...)`.
      progress: told what is being measured.

    Returns:
      The evaluation on all of meta-test; in its `parts` on each data set where there
      are several, and on each with held-out classes.
    """
    begin = time.perf_counter()
    choosing, testing = samples.validation, samples.test + samples.held_out
    model = next(iter(inits.values())).model
    embed = adaptation.embed(model, next(iter(inits.values())).preprocess)
    found: list[tuple[dict[str, Any], list[Measurements]]] = []  # row; by data set
    for name, init in inits.items():
        heads = ["prototype", "zero"] + ["learned"] * (init.head is not None)
        for head in heads:
            stop.check()
            progress(f"evaluating {name}: {head} head")
            setting, chosen, accuracy = _choose_setting(
                config, evaluator_of, init, choosing, head
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
                "cost": init.cost,
            }
            measured = [
                evaluator_of(one.way)(init, one.episodes, setting) for one in testing
            ]
            found.append((row, measured))
        features = [embed(init, one.episodes) for one in (*choosing, *testing)]
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
                    _closed_form(fit, pair, one, value)
                    for one, pair in zip(of, pairs, strict=True)
                ]

            tried = [
                _pool(fitted(value, choosing, features[: len(choosing)]))
                for value in grid
            ]
            best = min(  # by accuracy, then by loss
                range(len(grid)),
                key=lambda i: (-tried[i]["accuracy"].mean(), tried[i]["loss"].mean()),
            )
            accuracy = float(tried[best]["accuracy"].mean())
            row = {
                "init": name,
                "head": head,
                "setting": {field: grid[best]},
                "steps": (0,),
                "chosen": 0,
                "validation_accuracy": accuracy,
                "cost": init.cost,
            }
            measured = fitted(grid[best], testing, features[len(choosing) :])
            found.append((row, measured))

    choices = sum(len(one.episodes.support["label"]) for one in choosing)
    count = len(testing[0].manifest.query)
    protocol = f"{testing[0].manifest.rule}, {count} episodes"
    several = len(samples.test) > 1

    def evaluation(
        dataset: str, protocol: str, part: slice, held_out: bool = False
    ) -> Evaluation:
        return Evaluation(
            rows=tuple(
                Row(**row, measurements=_pool(measured[part]))
                for row, measured in found
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
            held_out=held_out,
        )

    names = [one.manifest.dataset for one in testing]
    parts = [
        evaluation(
            name,
            protocol + ", held-out classes of meta-train" * (i >= len(samples.test)),
            slice(i, i + 1),
            held_out=i >= len(samples.test),
        )
        for i, name in enumerate(names)
        if several or i >= len(samples.test)
    ]
    of_each = " of each" if several else ""
    of_test = slice(len(samples.test))
    whole = evaluation(", ".join(names[of_test]), protocol + of_each, of_test)
    return whole._replace(parts=tuple(parts))


def validation_accuracy(
    evaluator_of: Callable[[int], adaptation.Evaluator],
    init: Initialisation,
    choosing: Sequence[Sample],
    setting: Setting,
) -> np.ndarray:
    """Mean accuracy over all episodes, float [steps measured]."""
    return np.concatenate(
        [
            evaluator_of(one.way)(init, one.episodes, setting)["accuracy"]
            for one in choosing
        ],
        axis=1,
    ).mean(1)


def _choose_setting(
    config: Experiment,
    evaluator_of: Any,
    init: Initialisation,
    choosing: Any,
    head: str,
) -> tuple[Setting, int, float]:
    """The setting and number of steps that are best on meta-validation."""
    best = None
    tried = [("sgd", rate) for rate in config.evaluate.sgd_rates]
    tried += [("adam", rate) for rate in config.evaluate.adam_rates]
    for optimizer, rate in tried:
        setting = Setting(head, optimizer, rate)
        accuracy = validation_accuracy(evaluator_of, init, choosing, setting)
        accuracy = np.where(np.isfinite(accuracy), accuracy, 0)
        step = int(np.argmax(accuracy))  # the fewest steps among equals
        if best is None or accuracy[step] > best[2]:
            best = setting, step, float(accuracy[step])
    assert best is not None
    return best


def _pool(of_each: Sequence[Measurements]) -> Measurements:
    return {name: np.concatenate([x[name] for x in of_each], 1) for name in of_each[0]}


def _digest(of: Sequence[Sample]) -> str:
    """That of the episodes of a data set; of several, all of theirs."""
    return " ".join(sample.manifest.sha256 for sample in of)


def _closed_form(
    fit: closed_form.Head,
    features: tuple[np.ndarray, np.ndarray],
    sample: Sample,
    value: float,
) -> Measurements:
    episodes = sample.episodes
    labels, targets = episodes.support["label"], episodes.query["label"]
    # Filling has weight 0, and such a head would learn from it.
    learned, judged = (
        part["weight"] > 0 if "weight" in part else np.ones(part["label"].shape, bool)
        for part in episodes
    )
    logits = np.full((*targets.shape, sample.way), -np.inf)
    loss, accuracy = np.zeros(len(targets)), np.zeros(len(targets))
    for number, (support, query) in enumerate(zip(*features, strict=True)):
        kept, rows = learned[number], judged[number]
        wanted = targets[number][rows]
        found = fit(support[kept], labels[number][kept], query[rows], value)  # [n, way]
        logits[number, rows, : found.shape[-1]] = found
        loss[number] = -np.take_along_axis(found, wanted[:, None], -1).mean()
        accuracy[number] = (found.argmax(-1) == wanted).mean()
    return metrics.measure(loss[None], accuracy[None], logits[None], episodes.query)
