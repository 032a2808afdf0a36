"""Meta-test: every initialisation with every head, on the same episodes and grid."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

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
    measured: list[_Measured] = []
    for name, init in inits.items():
        init = init._replace(name=name)
        measured += _adapted(config, init, samples, evaluator_of)
        measured += _in_closed_form(config, init, samples, embed)
    testing = samples.test + samples.held_out
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
    return whole._replace(parts=tuple(parts))


def _grid(config: Experiment, samples: Samples) -> dict[str, object]:
    """Tells what every initialisation meets on meta-validation, in words."""
    count = sum(len(sample.manifest.query) for sample in samples.validation)
    return {
        "SGD rates": list(config.evaluate.sgd_rates),
        "Adam rates": list(config.evaluate.adam_rates),
        "steps": list(config.evaluate.steps),
        "nearest centroid scales": list(config.evaluate.centroid_scales),
        "logistic regression C": list(config.evaluate.inverse_penalties),
        "chosen on": f"{count} meta-validation episodes",
    }


def _adapted(
    config: Experiment,
    init: Initialisation,
    samples: Samples,
    evaluator_of: EvaluatorOf,
) -> Iterator[_Measured]:
    """Yields heads that adapt, at what does best on meta-validation."""
    rates = [("sgd", rate) for rate in config.evaluate.sgd_rates]
    rates += [("adam", rate) for rate in config.evaluate.adam_rates]
    for head in ["prototype", "zero"] + ["learned"] * (init.head is not None):
        stop.check()
        print(f"evaluating {init.name}: {head} head")
        tried = [
            validation_accuracy(evaluator_of, init, samples.validation, setting)
            for setting in (Setting(head, *rate) for rate in rates)
        ]
        accuracy = np.where(np.isfinite(tried), tried, 0)  # [rates, steps]
        # The first rate among equals, with the fewest steps.
        best, chosen = np.unravel_index(accuracy.argmax(), accuracy.shape)
        optimizer, rate = rates[best]
        setting = Setting(head, optimizer, rate)
        row = functools.partial(
            Row,
            init=init.name,
            head=head,
            setting={"optimizer": optimizer, "learning_rate": rate},
            steps=tuple(config.evaluate.steps),
            chosen=int(chosen),
            validation_accuracy=float(accuracy[best, chosen]),
            cost=init.cost,
        )
        by_sample = [
            evaluator_of(sample.way)(init, sample.episodes, setting)
            for sample in samples.test + samples.held_out
        ]
        yield row, by_sample


def _in_closed_form(
    config: Experiment,
    init: Initialisation,
    samples: Samples,
    embed: adaptation.Embed,
) -> Iterator[_Measured]:
    """Yields heads in closed form, with what does best on meta-validation."""
    every = samples.validation + samples.test + samples.held_out
    features = [embed(init, sample.episodes) for sample in every]
    grids = (
        ("scale", closed_form.nearest_centroid, config.evaluate.centroid_scales),
        ("C", closed_form.logistic_regression, config.evaluate.inverse_penalties),
    )
    for field, fit, grid in grids:
        head = fit.__name__.replace("_", " ")
        print(f"evaluating {init.name}: {head}")

        def measured(value: float, part: slice, fit: closed_form.Head = fit) -> list:
            pairs = zip(features[part], every[part], strict=True)
            return [_fitted(fit, *pair, value) for pair in pairs]

        validation = slice(len(samples.validation))
        tried = [_pool(measured(value, validation)) for value in grid]
        best = min(  # by accuracy, then by loss
            range(len(grid)),
            key=lambda i: (-tried[i]["accuracy"].mean(), tried[i]["loss"].mean()),
        )
        row = functools.partial(
            Row,
            init=init.name,
            head=head,
            setting={field: grid[best]},
            steps=(0,),
            chosen=0,
            validation_accuracy=float(tried[best]["accuracy"].mean()),
            cost=init.cost,
        )
        yield row, measured(grid[best], slice(len(samples.validation), None))


def _fitted(
    fit: closed_form.Head,
    features: tuple[np.ndarray, np.ndarray],
    sample: Sample,
    value: float,
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
        fitted = fit(support[kept], labels[number, kept], query[rows], value)
        logits[number, rows, : fitted.shape[-1]] = fitted
        loss[0, number] = -np.take_along_axis(fitted, wanted[:, None], -1).mean()
        accuracy[0, number] = (fitted.argmax(-1) == wanted).mean()
    answers = metrics.Answers(loss, accuracy, logits[None], sample.episodes.query)
    return metrics.measure(answers)


def _pool(samples: Sequence[Measurements]) -> Measurements:
    """Joins measurements of several samples' episodes."""
    return {name: np.concatenate([x[name] for x in samples], 1) for name in samples[0]}


def validation_accuracy(
    evaluator_of: EvaluatorOf,
    init: Initialisation,
    choosing: Sequence[Sample],
    setting: Setting,
) -> np.ndarray:
    """Averages accuracy over all episodes, float [steps measured]."""
    measured = [evaluator_of(x.way)(init, x.episodes, setting) for x in choosing]
    return _pool(measured)["accuracy"].mean(1)
