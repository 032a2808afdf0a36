"""Meta-test: every initialisation with every head, on the same episodes and grid."""

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from metainit.config.fields import Experiment
from metainit.data.episode_set import Sample, Samples
from metainit.evaluation import adaptation, closed_form, metrics
from metainit.evaluation.adaptation import Setting
from metainit.evaluation.results import Evaluation, Measurements, Row
from metainit.runtime import devices, stop
from metainit.training.initialisation import Initialisation

EvaluatorOf = Callable[[int], adaptation.Evaluator]  # by the classes of an episode
# `(measurements=...) -> Row`, and the measurements on each sample of meta-test.
_Measured = tuple[Callable[..., Row], list[Measurements]]


class _Head(NamedTuple):
    """A head, its grid, and `(setting, part of all samples) -> their measurements`."""

    name: str
    settings: list[dict[str, Any]]
    steps: tuple[int, ...]
    measure: Callable[[Any, slice], list[Measurements]]


def evaluate(
    config: Experiment,
    inits: Mapping[str, Initialisation],
    samples: Samples,
    evaluator_of: EvaluatorOf,
) -> Evaluation:
    """Chooses each row's setting on meta-validation, then measures it on meta-test.

    All initialisations are of one network; `evaluator_of` is way ->
    `adaptation.evaluator(...)`. In `parts` of the evaluation on all of meta-test is one
    on each data set where there are several, and on each with held-out classes.
    """
    begin = time.perf_counter()
    first = next(iter(inits.values()))
    embed = adaptation.embed(first.model, first.preprocess)
    testing = samples.test + samples.held_out
    every, validation = samples.validation + testing, len(samples.validation)
    measured: list[_Measured] = []
    for name, init in inits.items():
        init = init._replace(name=name)
        heads = _heads(config, init, every, evaluator_of, embed)
        measured += [_chosen(init, head, validation) for head in heads]
    protocol = f"{testing[0].manifest.rule}, {len(testing[0].manifest.query)} episodes"

    def evaluation(part: slice, more: str = "", held_out: bool = False) -> Evaluation:
        rows = [row(measurements=_pool(by_sample[part])) for row, by_sample in measured]
        return Evaluation(
            rows=tuple(rows),
            dataset=", ".join(sample.manifest.dataset for sample in testing[part]),
            protocol=protocol + more,
            batch_norm=first.model.policy,
            grid=_grid(config, samples),
            device=devices.in_use(),
            runtime=time.perf_counter() - begin,
            queries=round(np.mean([(x.manifest.query >= 0).sum(1) for x in testing])),
            episodes_sha256=" ".join(x.manifest.sha256 for x in testing[part]),
            held_out=held_out,
        )

    unseen = len(samples.test)
    several = unseen > 1
    parts = [evaluation(slice(i, i + 1)) for i in range(unseen) if several]
    parts += [
        evaluation(slice(i, i + 1), ", held-out classes of meta-train", held_out=True)
        for i in range(unseen, len(testing))
    ]
    whole = evaluation(slice(unseen), " of each" if several else "")
    way = max(sample.way for sample in testing)
    adapting = (row for row in whole.rows if row.steps[0] == 0 < row.steps[-1])
    told = (saturated(x.init, x.head, x.measurements, way) for x in adapting)
    return whole._replace(parts=tuple(parts), notes=tuple(filter(None, told)))


def joined(first: Evaluation, second: Evaluation) -> Evaluation:
    """Puts rows on the same episodes into one evaluation, that of the first.

    It raises ValueError where the episodes are others.
    """
    if first.episodes_sha256 != second.episodes_sha256:
        raise ValueError(f"{first.name} and {second.name} are not of the same episodes")
    return first._replace(
        rows=first.rows + second.rows,
        runtime=first.runtime + second.runtime,
        notes=first.notes + second.notes,
        parts=tuple(map(joined, first.parts, second.parts)),
    )


def saturated(init: str, head: str, measured: Measurements, way: int) -> str:
    """Says where a head begins worse than a guess, so that steps can hardly learn.

    "" where it does not. The measurements' first step is before any.
    """
    loss, guess = float(measured["loss"][0].mean()), math.log(way)
    if loss <= 1.05 * guess:
        return ""
    return (
        f"{init}, {head} head: before any step its loss is {loss:.1f} nats, and "
        f"{guess:.1f} is a guess. Its scores are far too large for steps to change "
        "much: lower model.scale, or give model.unit_length=True with model.scale=3."
    )


def _grid(config: Experiment, samples: Samples) -> dict[str, object]:
    """Tells what every initialisation meets on meta-validation, in words."""
    count = sum(len(sample.manifest.query) for sample in samples.validation)
    return {
        "SGD rates": list(config.evaluate.sgd_rates),
        "Adam rates": list(config.evaluate.adam_rates),
        "steps": list(config.evaluate.steps),
        "nearest centroid and ridge scales": list(config.evaluate.centroid_scales),
        "logistic regression C": list(config.evaluate.inverse_penalties),
        "ridge penalties": list(config.evaluate.ridge_penalties),
        "chosen on": f"{count} meta-validation episodes",
    }


def _chosen(init: Initialisation, head: _Head, validation: int) -> _Measured:
    """Chooses a head's setting and steps on the first samples, measures on the rest."""
    stop.check()
    print(f"evaluating {init.name}: {head.name}")
    part = slice(validation)
    tried = [_pool(head.measure(setting, part)) for setting in head.settings]
    means = np.stack([x["accuracy"].mean(1) for x in tried])  # [settings, steps]
    accuracy = np.where(np.isfinite(means), means, 0)
    # Among equals the smallest loss in closed form, else the first with fewest steps.
    best, chosen = min(
        np.argwhere(accuracy == accuracy.max()),
        key=lambda place: tried[place[0]]["loss"].mean() if head.steps == (0,) else 0,
    )
    row = functools.partial(
        Row,
        init=init.name,
        head=head.name,
        setting=head.settings[best],
        steps=head.steps,
        chosen=int(chosen),
        validation_accuracy=float(accuracy[best, chosen]),
        cost=init.cost,
        trials=len(head.settings),
    )
    return row, head.measure(head.settings[best], slice(validation, None))


def _heads(
    config: Experiment,
    init: Initialisation,
    every: Sequence[Sample],
    evaluator_of: EvaluatorOf,
    embed: adaptation.Embed,
) -> Iterator[_Head]:
    """Yields heads that adapt, and then those in closed form."""
    grid, of_training = config.evaluate, config.method.head
    names: tuple[str, ...] = ("prototype", "zero", of_training, "learned")
    rates = [("sgd", rate) for rate in grid.sgd_rates]
    rates += [("adam", rate) for rate in grid.adam_rates]
    settings = [dict(zip(Setting._fields[1:], rate, strict=True)) for rate in rates]
    for name in dict.fromkeys(names):
        if name == "learned" and init.head is None:
            continue

        def adapt(setting: Any, part: slice, name: str = name) -> list[Measurements]:
            of_head = Setting(name, **setting)
            return [evaluator_of(x.way)(init, x.episodes, of_head) for x in every[part]]

        yield _Head(name, settings, tuple(grid.steps), adapt)
    features = [embed(init, sample.episodes) for sample in every]
    for name, settings in closed_form.grid(grid).items():

        def fit(setting: Any, part: slice, name: str = name) -> list[Measurements]:
            pairs = zip(features[part], every[part], strict=True)
            head = functools.partial(_fitted, closed_form.HEADS[name], setting)
            return list(itertools.starmap(head, pairs))

        yield _Head(name, settings, (0,), fit)


def _fitted(
    fit: closed_form.Head,
    setting: Mapping[str, float],
    features: tuple[np.ndarray, np.ndarray],
    sample: Sample,
) -> Measurements:
    """Measures a head that is fitted to each episode of a sample."""
    labels, targets = sample.manifest.support_labels, sample.manifest.query_labels
    # Filling is no image, and such a head would learn from it.
    learned, judged = sample.manifest.support >= 0, sample.manifest.query >= 0
    logits = np.full((*targets.shape, sample.way), -np.inf)
    loss, accuracy = np.zeros((2, 1, len(targets)))
    for number, (support, query) in enumerate(zip(*features, strict=True)):
        kept, rows = learned[number], judged[number]
        wanted = targets[number, rows]
        task = support[kept], labels[number, kept], query[rows]
        fitted = fit(*task, *setting.values())
        logits[number, rows, : fitted.shape[-1]] = fitted
        loss[0, number] = -np.take_along_axis(fitted, wanted[:, None], -1).mean()
        accuracy[0, number] = (fitted.argmax(-1) == wanted).mean()
    answers = metrics.Answers(loss, accuracy, logits[None], sample.episodes.query)
    return metrics.measure(answers)


def _pool(samples: Sequence[Measurements]) -> Measurements:
    """Joins measurements of several samples' episodes."""
    return {name: np.concatenate([x[name] for x in samples], 1) for name in samples[0]}


def validated(
    evaluator_of: EvaluatorOf,
    init: Initialisation,
    choosing: Sequence[Sample],
    setting: Setting,
) -> Measurements:
    """Measures an initialisation on all episodes that choices are made by."""
    return _pool([evaluator_of(x.way)(init, x.episodes, setting) for x in choosing])
