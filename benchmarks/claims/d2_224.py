"""What d2 learned, five images of each class at 224 pixels, beside d1's own rivals.

python -m benchmarks.claims run d2_224
"""

from ml_collections import ConfigDict

from benchmarks.claims import d1_224, d2
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="FiLM's start alone, some thousand numbers that 60 tasks taught an "
    "encoder of ImageNet weights, is worth a point from five images of each class at "
    "224 pixels, beside the encoder as it is and joint pretraining of its last stages "
    "for as much time, on two sets at least.",
    primary="accuracy on each of four unseen sets, all classes at once from five "
    "images each, of the head that is best on meta-validation",
    baselines="the encoder as it is, at its own size; d1's joint pretraining, in 202 s "
    "where FiLM's tasks take 190, of the claim d1_224; each with nearest centroid, "
    "ridge and logistic regression; random",
    seeds=5,
    smallest=1.0,
    tried="Claim d2, its seeds 0, 1, 2 and 4, of which these are the networks: from 15 "
    "images at 128 pixels the mean of four sets with logistic regression is 76.2, and "
    "of the encoder as it is 75.2. The same sets were looked at by d1's claims",
    rivals=("d1_224",),
    trained_by="d2",
)


def get_config() -> ConfigDict:
    """d2's networks, measured as d1_224's."""
    config, measured = d2.get_config(), d1_224.get_config()
    config.data.size = measured.data.size
    config.task.update(measured.task)
    config.evaluate.update(measured.evaluate)
    return config
