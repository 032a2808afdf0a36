"""What claims d3_* share: CIFAR-FS's classes from pixels, few images of each."""

from types import MappingProxyType

from ml_collections import ConfigDict

from benchmarks.claims import data
from metainit.experiments import configs

PROTOCOLS = MappingProxyType(
    {
        "5-shot": {"task.shot": 5},
        "20-way": {"task.way": 20, "task.queries": 5},
    }
)
# Fewer episodes where each has all of meta-test's classes: they differ by less.
ALL_CLASSES = MappingProxyType(
    {
        "task.way": 20,
        "task.queries": 5,
        "evaluate.episodes": 50,
        "evaluate.validation_episodes": 40,
    }
)
SHORT_PROTOCOLS = MappingProxyType(
    {
        "5-shot": {"task.shot": 5},
        "20-way": ALL_CLASSES,
        "20-way 5-shot": {**ALL_CLASSES, "task.shot": 5},
    }
)


def config_of(images: int, iterations: int) -> ConfigDict:
    """Conv-4-64 with strides, so many images of a meta-train class.

    An annealed pretraining for three fifths of the time, then 20-way 1-shot tasks
    without inner steps, scored by cosines.
    """
    config = configs.load(str(data.ROOT / "configs" / "cifar_fs.py"))
    config.data.name = f"folder:{data.PLACE / 'cifar_fs' / str(images)}"
    config.model.update(downsample="stride", unit_length=True, scale=3.0)
    config.update(iterations=iterations, warm_start=iterations * 3 // 5)
    config.outer.update(decay_steps=iterations, learning_rate=0.0003)
    config.method.head = "cosine"
    config.inner.steps = 0
    config.train_task.update(way=20, shot=1, queries=5)
    # A meta-iteration's time on one core; measured, it would follow the load.
    config.joint.steps_per_iteration = 3.4
    config.evaluate.steps = (0, 1, 5, 10)
    config.evaluate.update(adam_rates=(0.003,), validation_episodes=120)
    config.validate_every = iterations // 5
    return config


def scaled(config: ConfigDict) -> ConfigDict:
    """Scales features by 0.1, not to unit length, which suits joint pretraining."""
    config.model.update(unit_length=False, scale=0.1)
    config.method.head = "prototype"
    config.outer.learning_rate = 0.001
    return config


def resnet12(config: ConfigDict) -> ConfigDict:
    """Gives it blocks of 16 to 128 channels in place of four convolutions."""
    config.model.update(name="resnet12", filters=16, downsample="pool")
    config.validate_every = 200
    return at_once(config)


def at_once(config: ConfigDict) -> ConfigDict:
    """Measures heads in closed form alone, over a hundred episodes."""
    config.evaluate.update(steps=(0,), sgd_rates=(0.01,), adam_rates=())
    config.evaluate.update(episodes=100, validation_episodes=60)
    config.evaluate.update(half_width=0.0, max_share=1.0)
    return config


def twenty_way(config: ConfigDict) -> ConfigDict:
    """Measures 20-way 5-shot."""
    config.update_from_flattened_dict(SHORT_PROTOCOLS["20-way 5-shot"])
    return config
