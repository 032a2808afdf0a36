"""D3 with 50 images a class and features that are scaled; see `d3_50`.

python -m benchmarks.claims run d3_50_scaled
"""

from ml_collections import ConfigDict

from benchmarks.claims import d3_50, from_pixels
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="As of d3_50, with features scaled by 0.1 in place of unit length; its "
    "joint pretraining may be the stronger one of both.",
    primary=d3_50.CLAIM.primary,
    baselines="joint pretraining for the same device time, with every head; random",
    seeds=3,
    smallest=1.0,
    tried="tried/d3.jsonl, as of d3_20",
)


def get_config() -> ConfigDict:
    """As d3_50, but for features, head and outer rate."""
    return from_pixels.scaled(d3_50.get_config())
