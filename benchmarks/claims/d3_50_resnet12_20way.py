"""D3, from pixels, 20-way 5-shot, 50 images of each class, with a small ResNet-12.

python -m benchmarks.claims run d3_50_resnet12_20way   # after run d3_50_resnet12
"""

from ml_collections import ConfigDict

from benchmarks.claims import d3_50_20way, d3_50_resnet12, from_pixels
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="What a short phase of 1-shot tasks made of a ResNet-12 is worth more "
    "than its time in pretraining, also for all twenty test classes from five images "
    "each.",
    primary=d3_50_20way.CLAIM.primary,
    baselines=d3_50_resnet12.CLAIM.baselines,
    seeds=3,
    smallest=1.0,
    tried="Claim d3_50_resnet12, the same networks: 5-way 1-shot -0.4 [-1.6, 0.7]. "
    "Nothing was tried at 20-way 5-shot",
    trained_by="d3_50_resnet12",
)


def get_config() -> ConfigDict:
    """d3_50_resnet12's, for other tasks."""
    return from_pixels.twenty_way(d3_50_resnet12.get_config())
