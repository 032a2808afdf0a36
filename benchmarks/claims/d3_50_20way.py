"""D3, from pixels, 20-way 5-shot, 50 images of each class to meta-train on.

python -m benchmarks.claims run d3_50_20way
"""

from ml_collections import ConfigDict

from benchmarks.claims import d3_50, from_pixels
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="With 50 images a class a short phase of 1-shot tasks after an "
    "annealed pretraining is worth more than its time in pretraining, also for all "
    "twenty test classes from five images each.",
    primary="accuracy on CIFAR-FS's test classes, 20-way 5-shot, of the head that is "
    "best on meta-validation",
    baselines="joint pretraining for the same device time; random weights; each with "
    "every head in closed form, since steps were not worth their time in d3_50",
    seeds=3,
    smallest=1.0,
    tried="Claim d3_50, with other tasks for the same networks: 5-way 1-shot "
    "+2.1 [1.4, 2.7], 20-way 1-shot +1.2 [0.1, 2.4], 5-way 5-shot +0.5 [-1.4, 2.3]. "
    "Nothing was tried at 20-way 5-shot",
)


def get_config() -> ConfigDict:
    """d3_50's, which it trains as, for other tasks."""
    return from_pixels.twenty_way(from_pixels.at_once(d3_50.get_config()))
