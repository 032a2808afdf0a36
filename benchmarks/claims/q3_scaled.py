"""The rival of `q3`: features scaled by 0.1, on the same seeds.

python -m benchmarks.claims run q3_scaled
"""

from ml_collections import ConfigDict

from benchmarks.claims import q3

CLAIM = q3.CLAIM._replace(
    baselines="joint pretraining for the same device time, with every head; random",
    rivals=(),
)


def get_config() -> ConfigDict:
    """q3, but for the length of features."""
    config = q3.get_config()
    config.model.update(unit_length=False, scale=0.1)
    return config
