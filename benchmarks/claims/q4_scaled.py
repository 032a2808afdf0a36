"""The rival of `q4`: features scaled by 0.1, on the same seeds.

python -m benchmarks.claims run q4_scaled
"""

from ml_collections import ConfigDict

from benchmarks.claims import q4

CLAIM = q4.CLAIM._replace(
    baselines="joint pretraining for the same device time, with every head; random",
    rivals=(),
)


def get_config() -> ConfigDict:
    """q4, but for the length of features."""
    config = q4.get_config()
    config.model.update(unit_length=False, scale=0.1)
    return config
