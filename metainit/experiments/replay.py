"""metainit replay: the step that ended a training again, from what was saved before it.

A run that ends with a loss or a gradient that is not finite names the line.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from metainit.config import parsing
from metainit.config.fields import Experiment
from metainit.experiments import preparation
from metainit.models.model import Model
from metainit.runtime import devices, placement
from metainit.runtime.arguments import Parser
from metainit.runtime.checkpoint import Checkpoints
from metainit.training import runs
from metainit.training.health import Metrics
from metainit.training.method import make_method
from metainit.training.session import Run


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns 0, or 1 where the numbers are others now."""
    given = parser().parse_args(argv)
    devices.check(given.allow_cpu)
    return 0 if replay(given.folder) else 1


def parser() -> Parser:
    """The options of `metainit replay`."""
    options = Parser(
        "metainit replay",
        "Takes the step again that was not finite, and compares its numbers.",
        "metainit replay runs/trial/meta_from_pretrained/nonfinite",
    )
    folder = "nonfinite/ of a training in a run's folder"
    options.add_argument("folder", metavar="FOLDER", help=folder)
    words = "run on the CPU although there is an accelerator"
    options.add_argument("--allow_cpu", action="store_true", help=words)
    return options


def replay(folder: str | pathlib.Path, *, model: Model | None = None) -> bool:
    """Prints the numbers of a step taken again; says whether they are as recorded.

    They are to the bit on the same kind and number of devices.

    Args:
      folder: `metainit.runtime.checkpoint.NONFINITE` of a training.
      model: that of `metainit.experiments.meta_learning.train`, where it had one.

    Raises:
      ValueError: nothing was saved there, or the data are not what they were.
    """
    folder = pathlib.Path(folder).absolute()
    saved = Checkpoints(folder)
    if (found := saved.restore()) is None:
        raise ValueError(f"{folder} has no step that was not finite")
    recipe, step = found.extra, found.step
    if recipe["own_model"] and model is None:
        words = f"metainit.experiments.replay.replay({str(folder)!r}, model=model)"
        raise ValueError(f"the run had a network of its own; from Python: {words}")
    devices.use(recipe["devices"])
    run, key = _run(recipe, folder.parent, model)
    if (found := saved.restore(run.state)) is None:
        raise ValueError(f"{folder} is gone")
    batch = placement.copied(run.batch(step))
    metrics = jax.tree.map(np.asarray, run.update(found.state, batch, key)[1])
    print(f"step {step} of {run.name}:")
    _show(run, step, metrics)
    recorded = {name: np.asarray(x) for name, x in recipe["metrics"].items()}
    same = all(np.array_equal(x, metrics[n], True) for n, x in recorded.items())
    print("as recorded" if same else "not as recorded, which was:")
    if not same:
        _show(run, step, recorded)
    return same


def _run(
    recipe: dict[str, Any], folder: pathlib.Path, model: Model | None
) -> tuple[Run, jax.Array]:
    """Makes the run of a folder again, and the key of its steps."""
    config = parsing.parse(recipe["config"], Experiment)
    init_key, head_key, step_key = jax.random.split(jax.random.key(config.seed), 3)
    roles = preparation.learned_from(config, preparation.checked_roles(config))
    _, start = preparation.starts(config, roles, model, init_key)
    if model is None and config.encoder.cached:
        start, roles, _ = preparation.on_maps(config, start, roles)
    method = make_method(config, start.model, start.preprocess)
    programs = preparation.compiled(config, method, start, roles, head_key, step_key)
    run = runs.of_folder(config, folder, programs, recipe["ratio"])
    return run, step_key


def _show(run: Run, step: int, metrics: Metrics) -> None:
    losses, accuracies = (np.atleast_1d(metrics[x]) for x in ("loss", "accuracy"))
    names = list(run.data(step))
    for task, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True)):
        what = ", ".join(names)
        if run.episodes is not None:
            what = f"episode {run.episodes(step)[task]}, {names[task]}"
        print(f"  {what}: loss {loss}, accuracy {accuracy}")
    print(f"  gradient norm {metrics['grad_norm']}")
