"""The rival of `q2`: features scaled by 0.1, on the same seeds.

python -m benchmarks.claims run q2_scaled
"""

from ml_collections import ConfigDict

from benchmarks.claims import q

CLAIM = q.CLAIM._replace(
    baselines="joint pretraining for the same device time, with every head; random",
    rivals=(),
    first=5,
)


def get_config() -> ConfigDict:
    """As of the claim q."""
    return q.get_config()
