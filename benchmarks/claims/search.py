"""What variants of a config do on meta-validation, with every head; never meta-test.

    python -m benchmarks.claims.search CONFIG ROWS.jsonl [--seeds 0 1] [FLAG ...]

Adds a row a seed to ROWS.jsonl: the flags, such as --config.inner.steps=0, and of ours
and each baseline the best head's accuracy on meta-validation, its setting, steps and
device seconds. The config is a file of `configs/` or of this folder.
"""

import argparse
import json
import pathlib
import tempfile
import time

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from metainit.data import episode_set
from metainit.evaluation import adaptation, few_shot
from metainit.evaluation.few_shot import Entrants
from metainit.evaluation.results import Row
from metainit.experiments import configs, initialisations, preparation
from metainit.experiments.forecast import Forecast
from metainit.reporting.verdict import best_heads
from metainit.training import steps
from metainit.training.method import make_method


def validated(config: ConfigDict) -> list[Row]:
    """Trains, and chooses on meta-validation; gives the best head of each."""
    config.evaluate.episodes = 0
    typed = configs.typed(config)
    roles = preparation.learned_from(typed, preparation.checked_roles(typed))
    init_key, *keys = jax.random.split(jax.random.key(typed.seed), 3)
    _, start = preparation.starts(typed, roles, None, init_key)
    if typed.encoder.cached:
        start, roles, _ = preparation.on_maps(typed, start, roles)
    method = make_method(typed, start.model, start.preprocess)
    programs = preparation.compiled(typed, method, start, roles, *keys)
    seconds = steps.seconds(programs.meta, programs.joint)
    evaluator_of = adaptation.evaluators(method, typed.evaluate.steps)
    trainer = initialisations.Trainer(
        typed,
        roles.validation,
        evaluator_of,
        Forecast(3, meta_seconds=seconds[0], adaptation_seconds=0.0, heads_seconds=0.0),
        0.0,
    )
    pace = typed.joint.steps_per_iteration or seconds[0] / seconds[1]
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder)
        inits = initialisations.make(typed, workdir, trainer, programs, pace)
    choosing = episode_set.draw_validation(typed.task, typed.evaluate, roles.validation)
    samples = episode_set.Samples(choosing, (), ())
    chosen = few_shot.choose(Entrants(typed.evaluate, inits, samples, evaluator_of))
    return list(best_heads([choice.row for choice in chosen.choices]).values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config")
    parser.add_argument("rows", type=argparse.FileType("a"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    args, changes = parser.parse_known_args()
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    values(["search", f"--config={args.config}", *changes])
    for seed in args.seeds:
        config = values.config
        config.seed = seed
        begin = time.perf_counter()
        found = validated(config)
        row = {"config": args.config, "seed": seed, "changes": changes}
        row["seconds"] = round(time.perf_counter() - begin, 1)
        for best in found:
            row[best.init] = {
                "head": best.head,
                "accuracy": round(best.validation_accuracy, 5),
                "setting": best.setting,
                "steps": best.steps[best.chosen],
                "device_seconds": round(best.cost.device_seconds, 1),
            }
        args.rows.write(json.dumps(row) + "\n")
        args.rows.flush()


if __name__ == "__main__":
    main()
