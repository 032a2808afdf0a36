"""D3, from pixels, 20-way 5-shot, 200 images of each class to meta-train on.

python -m benchmarks.claims run d3_200_20way
"""

from ml_collections import ConfigDict

from benchmarks.claims import d3_200, from_pixels
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="With 200 images a class a short phase of 1-shot tasks after an "
    "annealed pretraining is worth more than its time in pretraining, also for all "
    "twenty test classes from five images each.",
    primary="accuracy on CIFAR-FS's test classes, 20-way 5-shot, of the head that is "
    "best on meta-validation",
    baselines="joint pretraining for the same device time; random weights; each with "
    "every head in closed form, since steps were not worth their time in d3_200",
    seeds=3,
    smallest=1.0,
    tried="Claim d3_200, with other tasks for the same networks: 5-way 1-shot "
    "+0.3 [-0.3, 0.9], 20-way 1-shot -0.2 [-0.5, 0.2], 5-way 5-shot -1.8 [-2.5, -1.0]. "
    "Nothing was tried at 20-way 5-shot",
)


def get_config() -> ConfigDict:
    """d3_200's, which it trains as, for other tasks."""
    return from_pixels.twenty_way(from_pixels.at_once(d3_200.get_config()))
