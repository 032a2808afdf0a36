"""Five sets to five others from pixels, as it was searched: 10-way 5-shot.

python -m benchmarks.claims.search benchmarks/claims/tried/m.py ROWS.jsonl FLAGS
"""

from ml_collections import ConfigDict

from benchmarks.claims import data
from metainit.experiments import configs


def get_config() -> ConfigDict:
    """See the file's docstring."""
    config = configs.default()
    config.data.update(name="", channels=3, size=32, held_out=0.0, drop_shared=True)
    for role in data.ROLES:
        setattr(config.data, role, data.of_role(role))
    config.model.update(downsample="stride", unit_length=True, scale=3.0)
    config.train_task.update(way=20, shot=5, queries=5)
    config.task.update(way=10, shot=5, queries=5)
    config.inner.steps = 0
    config.method.head = "prototype"
    config.iterations, config.warm_start = 400, 300
    config.outer.update(decay_steps=400, learning_rate=0.0003)
    config.cold_start = False
    config.meta_batch = 4
    config.validate_every = 100
    config.evaluate.update(
        episodes=100, validation_episodes=60, half_width=0.0, steps=(0, 1, 5, 10)
    )
    config.evaluate.update(sgd_rates=(0.03, 0.1), adam_rates=())
    config.joint.steps_per_iteration = 12.0
    return config
