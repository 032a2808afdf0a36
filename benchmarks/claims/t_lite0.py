"""T behind a pretrained encoder: traffic signs, from what d1_again trained.

python -m benchmarks.claims run t_lite0
"""

from ml_collections import ConfigDict

from benchmarks.claims import d1, data, t
from benchmarks.claims.claim import Claim

CLAIM = Claim(
    hypothesis="Fine-tuned on all images of traffic signs, the last stages of "
    "EfficientNet-Lite0 that tasks moved are at 95 % of the best baseline's final "
    "accuracy in 1.5 times fewer steps than the best tuned schedule on any baseline.",
    primary=t.CLAIM.primary,
    baselines="ImageNet weights as they are; d1's joint pretraining; random weights; "
    "each by SGD and Adam, constant and cosine over the steps, from class means; "
    "ridge and logistic regression. The fastest of them all counts",
    seeds=5,
    first=5,
    smallest=1.0,
    ratio=1.5,
    tried="Claim d1_again_224: from five images +3.8 [1.8, 5.7] points on traffic "
    "signs, with heads in closed form. Claim t_signs, seed 5, from pixels in equal "
    "time: ours and joint pretraining have the same curve, and both end at 43.9 %. "
    "Nothing was fine-tuned from d1's weights",
    trained_by="d1_again",
)


def get_config() -> ConfigDict:
    """d1's, whose last stages are fine-tuned for 100 steps of 32 images."""
    config = d1.get_config()
    config.data.validation = config.data.validation[:1]
    config.data.test = (f"folder:{data.PLACE}/test/gtsrb",)
    config.evaluate.update(episodes=2, validation_episodes=10)
    config.transfer.update(steps=100, held_out=0.4, trial_steps=50)
    config.transfer.heads = ("prototype", "ridge", "logistic regression")
    config.transfer.update(sgd_rates=(0.1,), adam_rates=(0.0003, 0.001, 0.003))
    config.transfer.inverse_penalties = (0.1, 1.0, 10.0)
    return config
