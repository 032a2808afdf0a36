"""Q with features of unit length, which suit joint pretraining better; see `q`.

python -m benchmarks.claims run q_unit
"""

from ml_collections import ConfigDict

from benchmarks.claims import q
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="As of q, with features of unit length times a learned scale.",
    primary=q.CLAIM.primary,
    baselines="joint pretraining for the same device time, with every head; random",
    seeds=5,
    smallest=0.5,
    every_seed=True,
    tried="tried/q.jsonl, as of q: scale 3, prototype head",
)


def get_config() -> ConfigDict:
    """q, but for the length of features."""
    config = q.get_config()
    config.model.update(unit_length=True, scale=3.0)
    return config
