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
from metainit.models.head import ClassifyFn
from metainit.models.heads import CLASSIFIERS
from metainit.runtime import devices, progress, stop
from metainit.training.initialisation import Initialisation
from metainit.training.method import Setting

EvaluatorOf = Callable[[int], adaptation.Evaluator]  # by the classes of an episode


class _Contender(NamedTuple):
    """A head with its grid, as it is measured.

    Attributes:
      see: `(init, sample) -> sample`, which makes what the head takes of images. Heads
        in a row with the same `see` share its result.
      measure: `(init, setting, sample, seen=metrics.measure)`, of a sample that `see`
        made. It gives `seen` of the answers, as `adaptation.Evaluator.adapt` does.
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
    """An initialisation with a head and the setting that was chosen for it."""

    row: Row  # measured on meta-validation
    init: Initialisation
    head: _Contender
    seconds: float  # of one episode


class Chosen(NamedTuple):
    """The choices for all entrants, and the seconds of making them."""

    entrants: Entrants
    choices: Sequence[Choice]
    seconds: float

    @property
    def episode_seconds(self) -> float:
        """Estimates the seconds of an episode of meta-test with all choices."""
        by_head: dict[str, list[float]] = {}
        for choice in self.choices:
            by_head.setdefault(choice.head.name, []).append(choice.seconds)
        # The least seconds are without compilation and other work of the machine.
        return sum(len(seconds) * min(seconds) for seconds in by_head.values())


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
    costs = [
        halving.cost(len(head.settings), sizes, _rungs(entrants.asked, head))
        for init in entrants.inits.values()
        for head in _heads(entrants, init)
    ]
    return len(costs), sum(costs)


def choose(entrants: Entrants) -> Chosen:
    """Chooses setting and steps of every initialisation with every head.

    It looks at meta-validation alone.
    """
    begin, choices = time.perf_counter(), []
    asked, validation = entrants.asked, entrants.samples.validation
    count = sum(len(sample.manifest.query) for sample in validation)
    for name, init in entrants.inits.items():
        init = init._replace(name=name)
        contenders = _heads(entrants, init)
        for see, group in itertools.groupby(contenders, lambda x: x.see):
            progress.detailed(f"features for {name}")
            before, heads = time.perf_counter(), list(group)
            seen = [see(init, sample) for sample in validation]
            share = (time.perf_counter() - before) / count / len(heads)
            for head in heads:
                row, seconds = _chosen(asked, init, head, seen)
                choices.append(Choice(row, init, head, seconds + share))
    return Chosen(entrants, choices, time.perf_counter() - begin)


def measure(chosen: Chosen, episodes: int | None = None) -> Evaluation:
    """Measures the choices on the first episodes of meta-test, by default on all.

    `parts` of the evaluation have one for each data set where there are several, and
    one for each with held-out classes.
    """
    begin, (asked, inits, samples, _) = time.perf_counter(), chosen.entrants
    first, choices = next(iter(inits.values())), chosen.choices
    testing = [
        episode_set.some(sample, slice(episodes))
        for sample in samples.test + samples.held_out
    ]
    measured = _measured(choices, testing)

    def evaluation(part: slice, rule: str = "", held_out: bool = False) -> Evaluation:
        return Evaluation(
            rows=tuple(
                choice.row._replace(measurements=halving.pooled(by_sample[part]))
                for choice, by_sample in zip(choices, measured, strict=True)
            ),
            dataset=", ".join(sample.manifest.dataset for sample in testing[part]),
            protocol=testing[0].manifest.rule + rule,
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
    notes = (saturated(x.init, x.head, x.measurements, way) for x in adapting)
    return whole._replace(parts=tuple(parts), notes=tuple(filter(None, notes)))


def first_answers(chosen: Chosen) -> dict[str, np.ndarray]:
    """Predicts the classes of the first episode's queries: int [n] by initialisation.

    The episode is of the first data set of meta-test. Head and steps are those that
    meta-validation chose.
    """
    first = episode_set.some(chosen.entrants.samples.test[0], slice(1))
    answers = {}
    for name in chosen.entrants.inits:
        choices = [choice for choice in chosen.choices if choice.row.init == name]
        best = max(choices, key=lambda choice: choice.row.validation_accuracy)
        row, init, head, _ = best
        seen = head.see(init, first)
        classes = head.measure(init, row.setting, seen, metrics.predictions)
        answers[name] = classes[row.chosen, 0]
    return answers


def joined(first: Evaluation, second: Evaluation) -> Evaluation:
    """Adds the rows of the second evaluation to the first.

    It raises ValueError unless both are of the same episodes.
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
    """Warns of a head that begins worse than a guess, so that steps hardly learn.

    It gives "" for other heads. The first of the measurements is before any step.
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
    """Describes what every initialisation is tried with on meta-validation."""
    count = sum(len(sample.manifest.query) for sample in samples.validation)
    kept: dict[str, list[str]] = {}  # names of heads by the rungs of their settings
    for row in {choice.row.head: choice.row for choice in choices}.values():
        kept.setdefault(_rungs_text(row), []).append(row.head)
    return {
        "SGD rates": list(asked.sgd_rates),
        "Adam rates": list(asked.adam_rates),
        "steps": list(asked.steps),
        "nearest centroid and ridge scales": list(asked.centroid_scales),
        "logistic regression C": list(asked.inverse_penalties),
        "ridge penalties": list(asked.ridge_penalties),
        "chosen on": f"{count} meta-validation episodes",
        **{f"tried with {', '.join(heads)}": words for words, heads in kept.items()},
    }


def _rungs_text(row: Row) -> str:
    (settings, episodes), *more = row.rungs
    first = f"{settings} setting{'s' * (settings != 1)} on {episodes} episodes"
    return ", ".join([first, *(f"{few} on {many}" for few, many in more)])


def _chosen(
    asked: Evaluate,
    init: Initialisation,
    head: _Contender,
    validation: Sequence[Sample],
) -> tuple[Row, float]:
    """Chooses a head's setting and steps on meta-validation.

    It gives the row measured there, and the seconds of an episode in the last rung.
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


def _rungs(asked: Evaluate, head: _Contender) -> int:
    """Counts the rungs. A head in closed form is cheap, so all its settings stay."""
    return 1 if head.steps == (0,) else asked.rungs


def _stage(init: Initialisation, head: _Contender, episodes: int) -> progress.Stage:
    return progress.Stage(f"{init.name}, {head.name}", episodes, units=episodes)


def _measured(
    choices: Sequence[Choice], testing: Sequence[Sample]
) -> list[list[Measurements]]:
    """Measures each choice on each sample; heads with one `see` share its result."""
    measured = []
    for see, same in itertools.groupby(choices, lambda choice: choice.head.see):
        group = list(same)
        seen = [see(group[0].init, sample) for sample in testing]
        for row, init, head, _ in group:
            stop.check()
            by_sample = []
            sizes = [len(sample.manifest.query) for sample in testing]
            with _stage(init, head, sum(sizes)) as stage:
                for sample, size in zip(seen, sizes, strict=True):
                    stage.detail = f"on {sample.manifest.dataset}"
                    by_sample.append(head.measure(init, row.setting, sample))
                    stage.advance(size)
            measured.append(by_sample)
    return measured


def _heads(entrants: Entrants, init: Initialisation) -> list[_Contender]:
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
        _Contender(name, settings, steps, see, bound(adapt, name))
        for name in names
        if name != "learned" or init.head is not None
    ]
    closed = [
        _Contender(name, settings_of(grid), (0,), embed, bound(_fitted, classify))
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
    """Fits a head to each episode of features, and gives `seen` of its answers."""
    labels, targets = sample.manifest.support_labels, sample.manifest.query_labels
    # What fills an episode up is no image, and must not be learned from.
    learned, judged = sample.manifest.support >= 0, sample.manifest.query >= 0
    logits = np.full((*targets.shape, sample.way), -np.inf)
    loss, accuracy = np.zeros((2, 1, len(targets)))
    # An episode's matrices are small, so that several threads wait for each other. On a
    # busy machine a fit took ten times as long.
    with threadpool_limits(1):
        for number, (kept, rows) in enumerate(zip(learned, judged, strict=True)):
            support, query = (part["image"][number] for part in sample.episodes)
            wanted = targets[number, rows]
            task = support[kept], labels[number, kept], query[rows]
            scores = classify(*task, *setting.values())
            logits[number, rows, : scores.shape[-1]] = scores
            loss[0, number] = -np.take_along_axis(scores, wanted[:, None], -1).mean()
            accuracy[0, number] = (scores.argmax(-1) == wanted).mean()
    return seen(Answers(loss, accuracy, logits[None], sample.episodes.query))


def validated(
    evaluator_of: EvaluatorOf,
    init: Initialisation,
    choosing: Sequence[Sample],
    setting: Setting,
) -> Measurements:
    """Measures an initialisation on all episodes of meta-validation."""
    measured = []
    for sample in choosing:
        evaluator = evaluator_of(sample.way)
        is_fixed = evaluator.is_fixed(init)
        seen = evaluator.embed(init, sample) if is_fixed else sample
        measured.append(evaluator.adapt(init, seen.episodes, setting))
    return halving.pooled(measured)
