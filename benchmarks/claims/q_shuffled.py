"""The control of Q: labels of meta-training say nothing; see q.py.

python -m benchmarks.claims run q_shuffled
"""

from ml_collections import ConfigDict

from benchmarks.claims import q
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="With labels of meta-training shuffled nothing is learned that helps, "
    "and ours is not ahead.",
    primary=q.CLAIM.primary,
    baselines="joint pretraining for the same device time, with every head; random",
    seeds=3,
    smallest=0.5,
    tried="nothing: it is a control",
)


def get_config() -> ConfigDict:
    """q, but for its labels."""
    config = q.get_config()
    config.data.shuffle_labels = True
    return config
