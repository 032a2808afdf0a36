"""Meta-test: every initialisation with every head, on the same episodes and grid."""

import functools
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from metainit.config.fields import Evaluate
from metainit.data import episode_set
from metainit.data.episode_set import Sample, Samples
from metainit.evaluation import adaptation, halving, metrics
from metainit.evaluation.metrics import Answers
from metainit.evaluation.results import Evaluation, Measurements, Row
from metainit.models.heads import CLASSIFIERS
from metainit.models.heads.base import ClassifyFn
from metainit.runtime import devices, progress, stop
from metainit.training.initialisation import Initialisation
from metainit.training.method import Setting

EvaluatorOf = Callable[[int], adaptation.Evaluator]  # by the classes of an episode


class _Head(NamedTuple):
    """A head and its grid.

    Attributes:
      see: `(init, sample) -> sample`, what it sees of images; heads that follow each
        other and have the same share what it gives.
      measure: `(init, setting, seen sample, seen=metrics.measure)`, what is seen of its
        answers, as of `adaptation.Evaluator.adapt`.
    """

    name: str
    settings: list[dict[str, Any]]
    steps: tuple[int, ...]
    see: Callable[[Initialisation, Sample], Sample]
    measure: Callable[..., Any]


class Entrants(NamedTuple):
    """Initialisations of one network, and the episodes that they are measured on.

    `evaluator_of` is way -> `adaptation.evaluator(...)` of that network.
    """

    asked: Evaluate
    inits: Mapping[str, Initialisation]
    samples: Samples
    evaluator_of: EvaluatorOf


class Choice(NamedTuple):
    """A head of an initialisation as it will be measured on meta-test."""

    row: Row  # as measured on meta-validation
    init: Initialisation
    head: _Head
    seconds: float  # that an episode took


class Chosen(NamedTuple):
    """What was chosen for all entrants, and the seconds that it took."""

    entrants: Entrants
    choices: Sequence[Choice]
    seconds: float

    @property
    def episode_seconds(self) -> float:
        """Seconds of an episode of meta-test, adapted to by all rows."""
        of_head: dict[str, list[float]] = {}
        for choice in self.choices:
            of_head.setdefault(choice.head.name, []).append(choice.seconds)
        # What a busy machine, or compilation, adds is not the episode's own.
        return sum(len(of) * min(of) for of in of_head.values())


def evaluate(
    asked: Evaluate,
    inits: Mapping[str, Initialisation],
    samples: Samples,
    evaluator_of: EvaluatorOf,
) -> Evaluation:
    """Chooses on meta-validation and measures on all episodes of meta-test."""
    return measure(choose(Entrants(asked, inits, samples, evaluator_of)))


def work(entrants: Entrants) -> tuple[int, int]:
    """Counts the rows to choose, and the episodes of meta-validation that they meet."""
    sizes = [len(sample.manifest.query) for sample in entrants.samples.validation]
    every = [
        halving.cost(len(head.settings), sizes, _rungs(entrants.asked, head))
        for init in entrants.inits.values()
        for head in _heads(entrants, init)
    ]
    return len(every), sum(every)


def choose(entrants: Entrants) -> Chosen:
    """Chooses setting and steps of every initialisation with every head.

    Nothing but meta-validation is looked at.
    """
    begin, choices = time.perf_counter(), []
    asked, validation = entrants.asked, entrants.samples.validation
    count = sum(len(sample.manifest.query) for sample in validation)
    for name, init in entrants.inits.items():
        init = init._replace(name=name)
        for see, of_see in itertools.groupby(_heads(entrants, init), lambda x: x.see):
            progress.detailed(f"features for {name}")
            before, heads = time.perf_counter(), list(of_see)
            seen = [see(init, sample) for sample in validation]
            share = (time.perf_counter() - before) / count / len(heads)
            for head in heads:
                row, seconds = _chosen(asked, init, head, seen)
                choices.append(Choice(row, init, head, seconds + share))
    return Chosen(entrants, choices, time.perf_counter() - begin)


def measure(chosen: Chosen, episodes: int | None = None) -> Evaluation:
    """Measures what was chosen on the first episodes of meta-test, by default all.

    In `parts` of the evaluation on all of meta-test is one on each data set where there
    are several, and on each with held-out classes.
    """
    begin, (asked, inits, samples, _) = time.perf_counter(), chosen.entrants
    first, choices = next(iter(inits.values())), chosen.choices
    testing = [
        episode_set.some(sample, slice(episodes))
        for sample in samples.test + samples.held_out
    ]
    measured = _measured(choices, testing)

    def evaluation(part: slice, more: str = "", held_out: bool = False) -> Evaluation:
        return Evaluation(
            rows=tuple(
                choice.row._replace(measurements=halving.pooled(by_sample[part]))
                for choice, by_sample in zip(choices, measured, strict=True)
            ),
            dataset=", ".join(sample.manifest.dataset for sample in testing[part]),
            protocol=testing[0].manifest.rule + more,
            batch_norm=first.model.policy,
            grid=_grid(asked, samples, choices),
            device=devices.in_use(),
            runtime=chosen.seconds + time.perf_counter() - begin,
            queries=round(np.mean([(x.manifest.query >= 0).sum(1) for x in testing])),
            episodes_sha256=" ".join(x.manifest.sha256 for x in testing[part]),
            held_out=held_out,
            episodes=len(testing[0].manifest.query),
        )

    unseen = len(samples.test)
    parts = [evaluation(slice(i, i + 1)) for i in range(unseen) if unseen > 1]
    parts += [
        evaluation(slice(i, i + 1), ", held-out classes of meta-train", held_out=True)
        for i in range(unseen, len(testing))
    ]
    whole = evaluation(slice(unseen))
    way = max(sample.way for sample in testing)
    adapting = (row for row in whole.rows if row.steps[0] == 0 < row.steps[-1])
    told = (saturated(x.init, x.head, x.measurements, way) for x in adapting)
    return whole._replace(parts=tuple(parts), notes=tuple(filter(None, told)))


def first_answers(chosen: Chosen) -> dict[str, np.ndarray]:
    """Says what each initialisation takes the queries of the first episode for.

    It is of the first data set of meta-test, with the head and after the steps that
    meta-validation chose: int [n], by initialisation.
    """
    first = episode_set.some(chosen.entrants.samples.test[0], slice(1))
    answers = {}
    for name in chosen.entrants.inits:
        of_init = [choice for choice in chosen.choices if choice.row.init == name]
        best = max(of_init, key=lambda choice: choice.row.validation_accuracy)
        row, init, head, _ = best
        seen = head.see(init, first)
        told = head.measure(init, row.setting, seen, metrics.predictions)
        answers[name] = told[row.chosen, 0]
    return answers


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


def _grid(
    asked: Evaluate, samples: Samples, choices: Sequence[Choice]
) -> dict[str, object]:
    """Tells what every initialisation meets on meta-validation, in words."""
    count = sum(len(sample.manifest.query) for sample in samples.validation)
    kept: dict[str, list[str]] = {}  # names of heads by what became of their settings
    for row in {choice.row.head: choice.row for choice in choices}.values():
        kept.setdefault(_rungs_in_words(row), []).append(row.head)
    return {
        "SGD rates": list(asked.sgd_rates),
        "Adam rates": list(asked.adam_rates),
        "steps": list(asked.steps),
        "nearest centroid and ridge scales": list(asked.centroid_scales),
        "logistic regression C": list(asked.inverse_penalties),
        "ridge penalties": list(asked.ridge_penalties),
        "chosen on": f"{count} meta-validation episodes",
        **{f"tried with {', '.join(of)}": words for words, of in kept.items()},
    }


def _rungs_in_words(row: Row) -> str:
    (settings, episodes), *more = row.rungs
    first = f"{settings} setting{'s' * (settings != 1)} on {episodes} episodes"
    return ", ".join([first, *(f"{few} on {many}" for few, many in more)])


def _chosen(
    asked: Evaluate, init: Initialisation, head: _Head, validation: Sequence[Sample]
) -> tuple[Row, float]:
    """Chooses a head's setting and steps on meta-validation.

    It gives the row there, and the seconds that an episode took in the last rung.
    """
    stop.check()
    progress.tell(f"evaluating {init.name}: {head.name}", "")
    seconds, count = 0.0, len(head.settings)

    def measure(number: int, parts: Sequence[slice]) -> Measurements:
        nonlocal seconds
        begin, setting = time.perf_counter(), head.settings[number]
        words = ", ".join(f"{name} {value}" for name, value in setting.items())
        progress.detailed(f"setting {number + 1} of {count}: {words}")
        some = map(episode_set.some, validation, parts)
        measured = halving.pooled([head.measure(init, setting, x) for x in some])
        episodes = measured["loss"].shape[1]
        seconds = (time.perf_counter() - begin) / episodes
        progress.advance(episodes)
        return measured

    sizes = [len(sample.manifest.query) for sample in validation]
    rungs, is_closed = _rungs(asked, head), head.steps == (0,)
    with _stage(init, head, halving.cost(count, sizes, rungs)):
        won = halving.winner(count, sizes, rungs, measure, by_loss=is_closed)
    row = Row(
        init=init.name,
        head=head.name,
        setting=head.settings[won.setting],
        steps=head.steps,
        chosen=won.step,
        validation_accuracy=float(won.measurements["accuracy"][won.step].mean()),
        measurements=won.measurements,
        cost=init.cost,
        trials=len(head.settings),
        rungs=won.rungs,
    )
    return row, seconds


def _rungs(asked: Evaluate, head: _Head) -> int:
    """On features that are there, a head in closed form is cheap: all is tried."""
    return 1 if head.steps == (0,) else asked.rungs


def _stage(init: Initialisation, head: _Head, episodes: int) -> progress.Stage:
    return progress.Stage(f"{init.name}, {head.name}", episodes, weight=episodes)


def _measured(
    choices: Sequence[Choice], testing: Sequence[Sample]
) -> list[list[Measurements]]:
    """Measures each choice on each sample; heads that see the same share it."""
    measured = []
    for see, of_see in itertools.groupby(choices, lambda choice: choice.head.see):
        group = list(of_see)
        seen = [see(group[0].init, sample) for sample in testing]
        for row, init, head, _ in group:
            stop.check()
            of_each = []
            sizes = [len(sample.manifest.query) for sample in testing]
            with _stage(init, head, sum(sizes)) as stage:
                for sample, size in zip(seen, sizes, strict=True):
                    stage.detail = f"on {sample.manifest.dataset}"
                    of_each.append(head.measure(init, row.setting, sample))
                    stage.advance(size)
            measured.append(of_each)
    return measured


def _heads(entrants: Entrants, init: Initialisation) -> list[_Head]:
    """Lists heads that adapt, and then those in closed form."""
    grid, evaluator_of = entrants.asked, entrants.evaluator_of
    rates = [("sgd", rate) for rate in grid.sgd_rates]
    rates += [("adam", rate) for rate in grid.adam_rates]
    settings = [dict(zip(Setting._fields[1:], rate, strict=True)) for rate in rates]

    def embed(init: Initialisation, sample: Sample) -> Sample:
        return evaluator_of(sample.way).embed(init, sample)

    def adapt(
        name: str, init: Initialisation, setting: Any, sample: Sample, *seen: Any
    ) -> Any:
        evaluator, whole = evaluator_of(sample.way), Setting(name, **setting)
        return evaluator.adapt(init, sample.episodes, whole, *seen)

    way = entrants.samples.validation[0].way
    evaluator = evaluator_of(way)
    is_fixed, trained = evaluator.is_fixed(init), evaluator.method.setting.head
    see = embed if is_fixed else lambda init, sample: sample
    names = dict.fromkeys(("prototype", "zero", trained, "learned"))
    steps, bound = tuple(grid.steps), functools.partial
    adapting = [
        _Head(name, settings, steps, see, bound(adapt, name))
        for name in names
        if name != "learned" or init.head is not None
    ]
    closed = [
        _Head(name, settings_of(grid), (0,), embed, bound(_fitted, classify))
        for name, (classify, settings_of) in CLASSIFIERS.items()
    ]
    return adapting + closed


def _fitted(
    classify: ClassifyFn,
    init: Initialisation,
    setting: Any,
    sample: Sample,
    seen: Callable[[Answers], Any] = metrics.measure,
) -> Any:
    """What is seen of a head that is fitted to each episode of a sample of features."""
    labels, targets = sample.manifest.support_labels, sample.manifest.query_labels
    # Filling is no image, and such a head would learn from it.
    learned, judged = sample.manifest.support >= 0, sample.manifest.query >= 0
    logits = np.full((*targets.shape, sample.way), -np.inf)
    loss, accuracy = np.zeros((2, 1, len(targets)))
    # An episode's matrices are so small that several threads wait for each other: on a
    # busy machine a fit took ten times as long.
    with threadpool_limits(1):
        for number, (kept, rows) in enumerate(zip(learned, judged, strict=True)):
            support, query = (part["image"][number] for part in sample.episodes)
            wanted = targets[number, rows]
            task = support[kept], labels[number, kept], query[rows]
            fitted = classify(*task, *setting.values())
            logits[number, rows, : fitted.shape[-1]] = fitted
            loss[0, number] = -np.take_along_axis(fitted, wanted[:, None], -1).mean()
            accuracy[0, number] = (fitted.argmax(-1) == wanted).mean()
    return seen(Answers(loss, accuracy, logits[None], sample.episodes.query))


def validated(
    evaluator_of: EvaluatorOf,
    init: Initialisation,
    choosing: Sequence[Sample],
    setting: Setting,
) -> Measurements:
    """Measures an initialisation on all episodes that choices are made by."""
    measured = []
    for sample in choosing:
        evaluator = evaluator_of(sample.way)
        is_fixed = evaluator.is_fixed(init)
        seen = evaluator.embed(init, sample) if is_fixed else sample
        measured.append(evaluator.adapt(init, seen.episodes, setting))
    return halving.pooled(measured)
