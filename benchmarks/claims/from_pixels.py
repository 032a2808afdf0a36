"""What d3_20, d3_50 and d3_200 share: CIFAR-FS's classes, few images of each."""

from ml_collections import ConfigDict

from benchmarks.claims import data
from metainit.experiments import configs


def config_of(images: int, iterations: int) -> ConfigDict:
    """Conv-4-64 with strides, so many images of a meta-train class.

    An annealed pretraining first, then a short meta phase without inner steps.
    """
    config = configs.load(str(data.ROOT / "configs" / "cifar_fs.py"))
    config.data.name = f"folder:{data.root() / 'cifar_fs' / str(images)}"
    config.model.downsample = "stride"
    config.update(iterations=iterations, warm_start=iterations * 3 // 5)
    config.outer.update(decay_steps=iterations, learning_rate=0.001)
    config.inner.steps = 0
    config.train_task.update(way=20, shot=1, queries=5)
    config.evaluate.steps = (0, 1, 5, 10)
    config.evaluate.update(adam_rates=(0.003,), validation_episodes=200)
    config.validate_every = iterations // 5
    return config
