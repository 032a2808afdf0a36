"""T as it was searched: what starts from the same pretraining, and the curves of it.

    python -m benchmarks.claims.tried.t2 FOLDER NAME joint|rates|meta [FLAG ...]

FOLDER keeps the pretraining, which is ours' start as well, and every fine-tuning. The
curves come to FOLDER/NAME.jsonl. Settings are chosen on textures; scenes are learned.
"""

import argparse
import pathlib

import jax
from absl import flags
from ml_collections import ConfigDict, config_flags

from benchmarks.claims import data
from metainit.config.fields import Experiment
from metainit.core.types import MetaParams
from metainit.evaluation import adaptation
from metainit.experiments import configs, preparation
from metainit.experiments.forecast import Forecast
from metainit.experiments.initialisations import Trainer
from metainit.runtime.cost import JOINT, META, WARM_RATES
from metainit.training import runs
from metainit.training.initialisation import Initialisation
from metainit.training.method import make_method
from metainit.transfer import comparison


def get_config() -> ConfigDict:
    """Conv-4-32 at 32 pixels, five sets to learn from."""
    config = configs.default()
    config.data.update(name="", channels=3, size=32, held_out=0.0, drop_shared=True)
    config.data.train = data.of_role("train")
    _, dtd, scenes = data.of_role("validation")
    config.data.validation, config.data.test = (dtd,), (scenes,)
    config.augment.update(shift=2, flip=True)
    config.model.update(filters=32, downsample="stride", unit_length=True, scale=3.0)
    config.train_task.update(way=20, shot=15, queries=10)
    config.task.update(way=10, shot=5, queries=5)
    config.inner.update(batch=32, steps=20, learning_rate=0.1)
    config.method.update(head="prototype", gradient="first_order", phases=(0, 2, 8))
    config.meta_batch = 1
    config.update(iterations=500, warm_start=375, validate_every=500, log_every=50)
    config.joint.update(learning_rate=0.003, heads="by data set")
    config.joint.steps_per_iteration = 9.6
    config.outer.update(decay_steps=500, step_size_rate=0.05)
    config.update(cold_start=False, learned_rates=("warm start",))
    config.evaluate.update(episodes=10, validation_episodes=10, half_width=0.0)
    config.evaluate.update(steps=(0, 20), sgd_rates=(0.1,), adam_rates=())
    config.transfer.update(steps=300, held_out=0.4, trial_steps=50)
    config.transfer.heads = ("prototype", "logistic regression", "probe then fine-tune")
    config.transfer.update(inverse_penalties=(0.1, 1.0, 10.0), layer_decays=(1.0, 0.5))
    config.transfer.sgd_rates = (0.003, 0.01, 0.03, 0.1)
    config.transfer.adam_rates = (0.001, 0.003)
    return config


def made(
    config: Experiment, folder: pathlib.Path, name: str, learns: str
) -> tuple[Initialisation, preparation.Roles]:
    """Trains, or takes from the folder, what is to be fine-tuned, and its data."""
    roles = preparation.learned_from(config, preparation.checked_roles(config))
    init_key, *keys = jax.random.split(jax.random.key(config.seed), 3)
    _, start = preparation.starts(config, roles, None, init_key)
    method = make_method(config, start.model, start.preprocess)
    programs = preparation.compiled(config, method, start, roles, *keys)
    key, pace = programs.meta.key, config.joint.steps_per_iteration
    evaluator_of = adaptation.evaluators(method, config.evaluate.steps)
    forecast = Forecast(3, meta_seconds=1.0, adaptation_seconds=0.0, heads_seconds=0.0)
    trainer = Trainer(config, roles.validation, evaluator_of, forecast, 0.0)

    def of_params(params):
        params, inner = params if isinstance(params, MetaParams) else (params, None)
        init = start._replace(body=params["body"])
        return init._replace(inner=inner, phases=config.method.phases)

    run = runs.of_joint(config, folder / JOINT, programs, pace)
    joint = trainer.fit(run, key, of_params)
    if learns == "joint":
        return joint, roles
    meta_run = runs.of_meta(config, folder / name / META, programs)
    run = runs.from_pretrained(config, meta_run, programs.state_of(joint.body))
    if learns == "rates":
        run = runs.learned_rates(config, programs, run, joint, WARM_RATES)
    init = trainer.fit(run, key, of_params)
    for path, logs in jax.tree_util.tree_leaves_with_path(init.inner):
        print(jax.tree_util.keystr(path), logs)
    return init, roles


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("name")
    parser.add_argument("learns", choices=("joint", "rates", "meta"))
    args, changes = parser.parse_known_args()
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    values(["t2", f"--config={__file__}", *changes])
    config = configs.typed(values.config)
    init, roles = made(config, args.folder, args.name, args.learns)
    parts = comparison.of_roles(config.transfer, config.seed, roles)
    comparison.compare(
        config.transfer, config.seed, {args.name: init}, *parts, args.folder
    )
    curves = args.folder / comparison.fine_tuning.RESULTS
    curves.rename(args.folder / f"{args.name}.jsonl")


if __name__ == "__main__":
    main()
