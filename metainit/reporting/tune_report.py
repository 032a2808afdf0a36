"""The report of a search: what did best on meta-validation, and every trial."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from metainit.evaluation.metrics import ACCURACY
from metainit.reporting import plain_text, tables
from metainit.runtime.cost import OURS


class Trial(NamedTuple):
    """One setting that a search tried, on meta-validation."""

    fields: dict[str, Any]  # by dotted name
    # The best, 0 to 1, by initialisation: {} if it diverged, None if never measured.
    accuracy: dict[str, float | None]
    device_seconds: float  # of training, all initialisations
    seconds: float  # by the wall clock, compilation included
    notes: tuple[str, ...] = ()  # what ended it early, in sentences


def score(trial: Trial, by: str) -> float:
    """Returns the accuracy that decides, of `by` or our best ("ours"); -1 for none."""
    accuracies = (trial.accuracy.get(x) for x in (OURS if by == "ours" else (by,)))
    return max((x for x in accuracies if x is not None), default=-1.0)


def best(trials: Sequence[Trial], by: str) -> Trial | None:
    """Finds the first of the trials that did best; None where none has a score."""
    scored = [trial for trial in trials if score(trial, by) >= 0]
    return max(scored, key=lambda trial: score(trial, by), default=None)


def assignments(fields: Mapping[str, Any]) -> str:
    """Writes a setting as on the command line: "inner.steps=1, method.head=zero"."""
    return ", ".join(f"{name}={value}" for name, value in fields.items())


def outcome(trials: Sequence[Trial], planned: int, by: str) -> str:
    """Says in a sentence which setting did best."""
    count = f"{len(trials)} of {planned} trials"
    if (winner := best(trials, by)) is None:
        return f"After {count} none has an accuracy on meta-validation to choose by."
    return (
        f"{assignments(winner.fields)} did best on meta-validation after {count}: "
        f"{ACCURACY.mean(score(winner, by))} % ({by})."
    )


def page(
    trials: Sequence[Trial], planned: int, by: str, about: Mapping[str, Any]
) -> Iterator[str]:
    """Yields the report as parts of Markdown, the outcome first.

    `about` has "title", "command", "episodes" in words, "measure" (the line that
    measures the winner), "device", "versions" and "config" of the search.
    """
    yield tables.paragraph(outcome(trials, planned, by))
    yield tables.paragraph(
        f"Chosen on {about['episodes']} of meta-validation, which all trials share and "
        "which flatter the best of them; meta-test was not touched."
    )
    yield tables.heading(about["title"], 1)
    title = "Trials, best first: highest accuracy in training, %; time in all"
    yield tables.heading(title)
    yield _table(trials, by)
    notes = [f"{assignments(x.fields)}: {note}" for x in trials for note in x.notes]
    if notes:
        yield tables.heading("Notes")
        yield tables.bullets(notes)
    if best(trials, by) is not None:
        yield tables.heading("Measure the best on meta-test")
        yield tables.code(about["measure"])
    seconds = sum(trial.device_seconds for trial in trials)
    spent = f"{tables.duration(seconds)} of device time on {about['device']}. "
    versions = f"Versions: {tables.words(about['versions'])}."
    yield from tables.again(about["command"], spent + versions, about["config"])


def terminal(
    trials: Sequence[Trial], planned: int, by: str, page: str, measure: str
) -> str:
    """Renders the trials as plain text, and ends as `plain_text.ending` does."""
    sentence = tables.paragraph(outcome(trials, planned, by))
    commands = {"measure it": measure} if best(trials, by) else {}
    ending = plain_text.ending(sentence, page, commands)
    return f"{plain_text.render([_table(trials, by)])}\n\n{ending}"


def _table(trials: Sequence[Trial], by: str) -> str:
    """Makes a table of every trial, best first, with its accuracies in %."""
    names = tuple(dict.fromkeys(name for trial in trials for name in trial.fields))
    inits = tuple(dict.fromkeys(name for trial in trials for name in trial.accuracy))
    rows = [
        (
            *(str(trial.fields.get(name, "-")) for name in names),
            *(_percent(trial.accuracy.get(init)) for init in inits),
            tables.duration(trial.seconds),
        )
        for trial in sorted(trials, key=lambda trial: -score(trial, by))
    ]
    bold = [0] if best(trials, by) else []
    return tables.captioned((*names, *inits, "Time"), rows, len(names), bold)


def _percent(value: float | None) -> str:
    return "-" if value is None else ACCURACY.mean(value)
