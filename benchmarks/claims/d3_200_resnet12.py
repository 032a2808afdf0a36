"""D3, from pixels, 200 images of each class, with a small ResNet-12.

python -m benchmarks.claims run d3_200_resnet12
"""

from ml_collections import ConfigDict

from benchmarks.claims import d3_20, d3_50_resnet12, from_pixels
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="With 200 images a class and a ResNet-12 a short phase of 1-shot "
    "tasks after an annealed pretraining is worth more than its time in pretraining.",
    primary=d3_20.CLAIM.primary,
    baselines=d3_50_resnet12.CLAIM.baselines,
    seeds=3,
    smallest=1.0,
    tried="Claim d3_50_resnet12, with 50 images a class: 5-way 1-shot -0.4 [-1.6, "
    "0.7]. Claim d3_200, with Conv-4: +0.3 [-0.3, 0.9]. Nothing "
    "was tried with 200 images and a ResNet-12",
    protocols=from_pixels.SHORT_PROTOCOLS,
)


def get_config() -> ConfigDict:
    """Ten epochs of 12,800 images for joint pretraining."""
    return from_pixels.resnet12(from_pixels.config_of(200, 600))
