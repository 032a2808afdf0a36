"""T as it was tried on meta-validation: textures to choose on, scenes as the target.

python launch.py --config benchmarks/claims/tried/t.py

It ran with afad02c: `method.algorithm=cts` has left metainit since.
"""

from ml_collections import ConfigDict

from benchmarks.claims import data
from metainit.experiments import configs


def get_config() -> ConfigDict:
    """See the file's docstring."""
    config = configs.default()
    config.data.update(name="", channels=3, size=32, held_out=0.0, drop_shared=True)
    config.data.train = data.of_role("train")
    _, dtd, scenes = data.of_role("validation")
    config.data.validation, config.data.test = (dtd,), (scenes,)
    config.model.update(downsample="stride", unit_length=True, scale=3.0)
    config.train_task.update(way=20, shot=10, queries=5)
    config.task.update(way=10, shot=5, queries=5)
    config.inner.update(batch=32, steps=20, learning_rate=0.03)
    config.method.algorithm = "cts"
    config.method.update(head="prototype", gradient="first_order", phases=(0, 2, 8))
    config.outer.update(decay_steps=400, step_size_rate=0.03)
    config.warm_start = 300
    config.cold_start = False
    config.learned_rates = ("warm start",)
    config.meta_batch = 2
    config.iterations = 400
    config.validate_every = 100
    config.evaluate.update(
        episodes=10, validation_episodes=10, half_width=0.0, steps=(0, 1, 5, 10, 20)
    )
    config.evaluate.update(sgd_rates=(0.03,), adam_rates=())
    config.transfer.update(steps=200, held_out=0.4, trial_steps=50)
    config.transfer.heads = ("prototype", "logistic regression", "probe then fine-tune")
    config.transfer.inverse_penalties = (0.1, 1.0, 10.0)
    config.transfer.update(
        sgd_rates=(0.01, 0.03, 0.1), adam_rates=(0.001,), layer_decays=(1.0, 0.5)
    )
    config.joint.steps_per_iteration = 12.0
    return config
