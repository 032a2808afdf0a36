"""Measures variants of a config on meta-validation, with every head.

    python -m benchmarks.claims.search CONFIG ROWS.jsonl [--seeds 0 1] [FLAG ...]

CONFIG is the name of a claim or of a config, or a file. A FLAG changes a field, such as
--config.inner.steps=0. For every seed a row is added to ROWS.jsonl. It has the flags,
and the best head of ours and of each baseline: its accuracy on meta-validation, its
setting, steps and device seconds. Meta-test is never looked at.
"""

import argparse
import json
import pathlib
import tempfile
import time

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from benchmarks.claims import claim as claims
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
    """Trains every initialisation; gives the best head of each on meta-validation."""
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
    is_claim = args.config in claims.names()
    load = claims.get_config if is_claim else configs.load
    values = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", load(args.config), flag_values=values)
    values(["search", *changes])
    for seed in args.seeds:
        config = values.config
        config.seed = seed
        begin = time.perf_counter()
        best_rows = validated(config)
        row = {"config": args.config, "seed": seed, "changes": changes}
        row["seconds"] = round(time.perf_counter() - begin, 1)
        for best in best_rows:
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
