"""Who wins in one transfer of given initialisations, ours or not."""

from __future__ import annotations

from metainit.evaluation import intervals
from metainit.transfer.results import FineTuning, Transfer


def sentence(transfer: Transfer, seed: int) -> str:
    """The best initialisation against the next best, both by validation.

    Args:
      transfer: to one data set.
      seed: of the run.
    """
    best: dict[str, FineTuning] = {}
    for run in sorted(transfer.runs, key=lambda run: -run.validation_accuracy):
        best.setdefault(run.init, run)
    first, *others = best.values()
    ours = first.points[-1]["accuracy"]
    name = f"{first.init} ({first.head})"
    end = (
        "of the held-out images are classified rightly in the end; initialisations and "
        f"heads as chosen on validation, {intervals.CONDITIONAL} (seed {seed})."
    )
    if not others:
        return f"{name} is alone on {first.dataset}: {100 * ours:.1f} % {end}"
    second = others[0]
    theirs = second.points[-1]["accuracy"]
    word = "beats" if ours > theirs else "equals" if ours == theirs else "loses to"
    return (
        f"{name} {word} the next-best initialisation, {second.init} ({second.head}), "
        f"on {first.dataset}: {100 * ours:.1f} % against {100 * theirs:.1f} % {end}"
    )
