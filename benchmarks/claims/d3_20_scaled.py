"""D3 with features that are scaled, which suit joint pretraining better; see `d3_20`.

python -m benchmarks.claims run d3_20_scaled
"""

from ml_collections import ConfigDict

from benchmarks.claims import d3_20, from_pixels
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="As of d3_20, with features scaled by 0.1 in place of unit length.",
    primary=d3_20.CLAIM.primary,
    baselines="joint pretraining for the same device time, with every head; random",
    seeds=3,
    smallest=1.0,
    tried="tried/d3.jsonl, as of d3_20",
)


def get_config() -> ConfigDict:
    """As d3_20, but for features, head and outer rate."""
    return from_pixels.scaled(d3_20.get_config())
