"""Characters of unseen scripts from one drawing each, in minutes on a laptop."""

from ml_collections import ConfigDict

from metainit import config as defaults


def get_config() -> ConfigDict:
    """5-way 1-shot on rendered glyphs, Conv-4."""
    config = defaults.default()
    config.iterations = 300
    config.data.name = "glyphs"
    config.augment.shift = 2
    config.model.filters = 32
    config.model.downsample = "stride"
    config.inner.learning_rate = 0.1
    config.inner.steps = 1
    config.warm_start = 100
    config.task.queries = 5
    config.evaluate.steps = (0, 1, 2, 5, 10)
    config.evaluate.validation_episodes = 60
    config.evaluate.sgd_rates = (0.03, 0.1, 0.3, 1.0)
    config.evaluate.adam_rates = (0.003, 0.01)
    return config
