"""D2 after 50 steps, on the two sets where a pretrained encoder leaves room.

python -m benchmarks.claims run d2_fifty
"""

from ml_collections import ConfigDict

from benchmarks.claims import d2, data
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="Step sizes, the scale of scores and FiLM's start that tasks of ten "
    "steps taught an encoder of ImageNet weights are worth a point after up to 50 "
    "steps, too, beside the same weights with tuned rates, on traffic signs and on "
    "CIFAR's held-out classes.",
    primary="accuracy on each of two unseen sets, all classes at once from 15 images "
    "each, of the head and the steps, at most 50, that are best on meta-validation",
    baselines=d2.CLAIM.baselines,
    seeds=5,
    first=5,
    smallest=1.0,
    tried="Claim d2, seeds 0 to 4, at most ten steps and four episodes of each of four "
    "sets: +2.3 [-3.6, 8.2] on signs, +0.9 [-0.4, 2.1] on CIFAR. With the same head on "
    "both sides ten steps from class means are worth 1.7 [-0.2, 3.5] and 1.0 [-0.4, "
    "2.3], ridge regression 1.2 [-0.1, 2.5] and 1.1 [-0.1, 2.3]. Clothing and Caltech "
    "are left out since less than a point is left there. Nothing was run beyond ten "
    "steps",
)


def get_config() -> ConfigDict:
    """d2's, twice as many episodes of two of its sets."""
    config = d2.get_config()
    cifar = next(x for x in config.data.test if x.endswith("cifar"))
    config.data.test = (f"folder:{data.PLACE}/test/gtsrb20", cifar)
    config.evaluate.update(episodes=8, steps=(0, 1, 5, 10, 50))
    return config
