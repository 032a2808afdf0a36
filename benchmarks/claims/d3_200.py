"""D3, from pixels, 200 images of each of CIFAR-FS's classes to meta-train on.

python -m benchmarks.claims run d3_200
"""

from ml_collections import ConfigDict

from benchmarks.claims import d3_20, from_pixels
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="As of d3_20, with 200 images a class; what a short phase of 1-shot "
    "tasks is worth falls with the images a class.",
    primary=d3_20.CLAIM.primary,
    baselines="joint pretraining for the same device time, with every head; random",
    seeds=3,
    smallest=1.0,
    tried="tried/d3.jsonl, as of d3_20: nothing was chosen with 200 images",
    protocols=from_pixels.PROTOCOLS,
)


def get_config() -> ConfigDict:
    """Thirty-four epochs of 12,800 images for joint pretraining."""
    return from_pixels.config_of(200, 2000)
