"""What every initialisation of a run was given, side by side."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from metainit.evaluation.results import Row
from metainit.reporting import tables
from metainit.runtime.cost import FROM_PRETRAINED, JOINT, META, NAMES, Cost

TOLERANCE = 0.05  # by which device times that should be equal may differ

_EXPLAINED = (
    "Device time, Images, FLOPs: of making the initialisation, warm start and drawing "
    "of batches included, compilation excluded, repeated images counted; heads add "
    "nothing.",
    "Trials: settings that were tried on meta-validation, over all of its heads.",
)


class Terms(NamedTuple):
    """What holds for all initialisations of a run.

    Attributes:
      mixture: shares of the data sets in tasks, by name, of sum 1.
      joint_mixture: shares of the data sets in the images of joint pretraining.
      pace: steps of joint pretraining that stand for a meta-iteration.
      stopped: initialisations whose training ended before its last step.
      encoder: the pretrained encoder's name, "" for none.
      cut: its last stage that is used, "" for all of it.
      uncut: the initialisation that is all of the encoder, "" for none.
    """

    seed: int
    mixture: Mapping[str, float]
    joint_mixture: Mapping[str, float]
    pace: float
    stopped: Collection[str] = ()
    encoder: str = ""
    cut: str = ""
    uncut: str = ""


def section(rows: Sequence[Row], batch_norm: str, terms: Terms) -> Iterator[str]:
    """Yields a row for each initialisation, and what all had in common."""
    costs = {row.init: row.cost for row in rows}
    cells = [
        (
            init,
            tables.duration(cost.device_seconds),
            f"{cost.images:,}",
            tables.flops(cost.flops),
            str(sum(row.trials for row in rows if row.init == init)),
        )
        for init, cost in costs.items()
    ]
    names = "Initialisation", "Device time", "Images", "FLOPs", "Trials"
    yield tables.captioned(names, cells, text=1)
    yield tables.bullets(
        (
            f"Mixture: {_mixture(terms)}.",
            f"Batch norm: {batch_norm}.",
            f"Pretrained encoder: {_encoder(terms)}.",
            f"Seed: {terms.seed}, of the weights, tasks and batches of them all.",
            *_EXPLAINED,
        )
    )


def unequal(costs: Mapping[str, Cost], terms: Terms) -> Iterator[str]:
    """Warns where ours and joint pretraining did not take the same device time.

    Trainings of learned rates alone are left out: they are given a number of
    iterations, whatever time these take.
    """
    if (joint := costs.get(NAMES[JOINT])) is None:
        return
    for name in (NAMES[META], NAMES[FROM_PRETRAINED]):
        if name not in costs:
            continue
        seconds = costs[name].device_seconds, joint.device_seconds
        apart = max(seconds) / min(seconds) - 1
        if apart <= TOLERANCE:
            continue
        early = [x for x in (name, NAMES[JOINT]) if x in terms.stopped]
        advice = f"{' and '.join(early)} stopped early"
        if not early:
            advice = (
                f"fix joint.steps_per_iteration beforehand (here {terms.pace:.3g}), or "
                "take a machine that does nothing else"
            )
        yield (
            f"Warning: {name} took {seconds[0]:,.1f} s of device time and "
            f"{NAMES[JOINT]} {seconds[1]:,.1f} s. These should be equal, and are "
            f"{100 * apart:.0f} % apart: {advice}."
        )


def _mixture(terms: Terms) -> str:
    def words(shares: Mapping[str, float]) -> str:
        return ", ".join(f"{name} {100 * x:.3g} %" for name, x in shares.items())

    tasks, joint = words(terms.mixture), words(terms.joint_mixture)
    if tasks == joint:
        return f"of tasks as of joint pretraining's images, {tasks}"
    return f"of tasks, {tasks}; of joint pretraining's images, {joint}"


def _encoder(terms: Terms) -> str:
    if not terms.encoder:
        return "none"
    part = f"cut after {terms.cut}" if terms.cut else "whole"
    whole = f"; all of it as {terms.uncut}" if terms.uncut else ""
    return f"{terms.encoder}, {part}{whole}"
