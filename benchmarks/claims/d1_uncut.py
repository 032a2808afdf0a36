"""The rival of d1 that needs no training: the encoder as it is, at its own 224 pixels.

python -m benchmarks.claims run d1_uncut
"""

from ml_collections import ConfigDict

from benchmarks.claims import d1
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="EfficientNet-Lite0 as it is, at its own 224 pixels, is no better than "
    "what tasks of claim d1 make of it at 128.",
    primary=d1.CLAIM.primary,
    baselines="pretrained weights, uncut: 224 pixels, nearest centroid, ridge and "
    "logistic regression on its features, and steps of a linear head. What one step "
    "trains here is of no interest",
    seeds=5,
    smallest=1.0,
    tried="Nothing; it is run for its baseline, on d1's episodes",
)


def get_config() -> ConfigDict:
    """d1's, with one iteration in place of training."""
    config = d1.get_config()
    config.update(iterations=1, validate_every=1, checkpoint_every=1)
    config.outer.decay_steps = 1
    config.joint.steps_per_iteration = 1.0
    config.evaluate.update(alphas=(1.0,), uncut=True)
    return config
