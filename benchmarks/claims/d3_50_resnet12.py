"""D3, from pixels, 50 images of each class, with a small ResNet-12.

python -m benchmarks.claims run d3_50_resnet12
"""

from ml_collections import ConfigDict

from benchmarks.claims import d3_20, from_pixels
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="With a ResNet-12, too, a short phase of 1-shot tasks after an annealed "
    "pretraining is worth more than its time in pretraining.",
    primary=d3_20.CLAIM.primary,
    baselines="joint pretraining for the same device time; random weights; each with "
    "every head in closed form, since steps of fine-tuning were not worth their time "
    "with Conv-4",
    seeds=3,
    smallest=1.0,
    tried="Nothing with ResNet-12. Claim d3_50, the same with Conv-4-64: +2.1 [1.4, "
    "2.7] over its own joint pretraining",
    protocols=from_pixels.PROTOCOLS,
)


def get_config() -> ConfigDict:
    """Blocks of 16 to 128 channels; 28 epochs of 3,200 images for joint pretraining."""
    config = from_pixels.config_of(50, 400)
    config.model.update(name="resnet12", filters=16, downsample="pool")
    config.validate_every = 200
    config.evaluate.update(steps=(0,), sgd_rates=(0.01,), adam_rates=())
    config.evaluate.update(episodes=300, half_width=0.0, max_share=1.0)
    return config
