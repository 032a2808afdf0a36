"""Seven data sets with Conv-4: meta-train on three, meta-test on two others.

    python launch.py --config configs/maml_conv4.py             84x84 pixels
    python launch.py --config configs/maml_conv4.py:native      CIFAR-100 at 32x32
    python launch.py --config configs/maml_conv4.py:minibatch   320 support images
    python launch.py --config configs/maml_conv4.py:allway      every class in a task

Meta-train: CIFAR-100, Caltech-256, Flowers102, a tenth of whose classes are held out;
meta-validation: Stanford Cars, FGVC Aircraft; meta-test: Oxford-IIIT Pet, SUN397. They
are prepared on first use (`python -m metainit.datasets plan configs/maml_conv4.py` says
what that takes). Outer Adam 0.001, inner rate 0.01, 1000 meta-iterations, 10 steps,
meta-batch 4. A task is 8-way 4-shot, so that the support is the brief's batch of 32,
met whole at every step; with `:minibatch` it is 16-way 20-shot, ten batches of 32 (no
more than 22 images a class, since the smallest of Flowers102 has 40).

Not run with the real archives yet, of which no copy could be had.
"""

from ml_collections import ConfigDict

from metainit import config as defaults

VARIANTS = ("84px", "native", "minibatch", "allway")


def get_config(variant: str = "84px") -> ConfigDict:
    """See the file's docstring."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; there is {', '.join(VARIANTS)}")
    config = defaults.default()
    config.data.name = ""
    config.data.train = ("cifar100", "caltech256", "flowers102")
    config.data.validation = ("stanford_cars", "fgvc_aircraft")
    config.data.test = ("oxford_pets", "sun397")
    config.data.size = 84
    config.data.channels = 3
    config.augment.shift = 4
    config.augment.flip = True
    config.iterations = 1000
    config.meta_batch = 4
    config.outer.learning_rate = 1e-3
    config.inner.learning_rate = 0.01
    config.inner.steps = 10
    config.train_task.update(way=8, shot=4, queries=4)
    config.task.update(way=8, shot=4, queries=4)
    config.joint.batch = 32
    config.evaluate.steps = (0, 1, 2, 3, 5, 10, 20)
    if variant == "native":
        config.data.train = ("cifar100@32", "caltech256", "flowers102")
    if variant == "minibatch":
        config.inner.batch = 32
        config.train_task.update(way=16, shot=20, queries=2)
        config.task.update(way=16, shot=20, queries=2)
    if variant == "allway":
        config.meta_batch = 1
        config.inner.batch = 32
        config.train_task.update(way=0, shot=4, queries=1)
    return config
