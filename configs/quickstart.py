"""Characters of unseen scripts, each class known by one drawing.

python launch.py --config configs/quickstart.py
"""

from ml_collections import ConfigDict

from metainit import config as defaults


def get_config() -> ConfigDict:
    """5-way 1-shot on rendered glyphs, Conv-4 with 32 filters."""
    config = defaults.default()
    config.data.name = "glyphs"
    config.augment.shift = 2
    config.model.filters = 32
    config.model.downsample = "stride"
    config.model.output = "flatten"
    config.model.scale = 0.1
    config.iterations = 1000
    config.warm_start = 400
    config.meta_batch = 1
    config.train_task.update(way=20, shot=1, queries=5)
    config.task.update(way=5, shot=1, queries=5)
    config.inner.learning_rate = 0.1
    config.inner.steps = 1
    config.outer.learning_rate = 0.01
    config.outer.decay_steps = 1000
    config.joint.learning_rate = 0.003
    config.log_every = 100
    config.validate_every = 250
    config.checkpoint_every = 250
    config.evaluate.steps = (0, 1, 2, 5, 10)
    config.evaluate.validation_episodes = 60
    config.evaluate.sgd_rates = (0.1, 0.3, 1.0, 3.0)
    config.evaluate.adam_rates = (0.003, 0.01)
    return config
