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

Not run with the real archives yet, of which no copy could be had. At 32x32 pixels with
16 filters and 5 inner steps, meta-trained on a CIFAR-100 subset and half of
Caltech-101's classes (benchmarks/halves.py), 400 meta-iterations, rates by searches on
meta-validation (benchmarks/results/maml_conv4-tune.jsonl), seed 0 only, the command in
maml_conv4-seed0.txt. 8-way 4-shot on the other half of Caltech: meta-learned from
pretrained 54.7, joint pretraining for the same time 56.2, for as many operations 59.1,
so -4.4 [-5.7, -3.1]; meta-learned from random 38.3, random 34.5. All classes of each
data set were then learned from in 500 steps. Final accuracy in percent, the head chosen
on meta-validation (maml_conv4-transfer-seed0.jsonl):

                                  other half    held-out CIFAR    held-out Caltech
    meta-learned from random            30.6              42.7                56.2
    meta-learned from pretrained        40.6              48.9                60.0
    joint pretraining, equal time       46.4              50.9                56.2
    joint pretraining, equal FLOPs      49.2              53.0                57.5
    random                              31.4              41.3                47.5

Joint pretraining, with logistic regression on its features, wins on the other half and
on CIFAR's classes; held-out Caltech is 80 images.
"""

from ml_collections import ConfigDict

from metainit import config as defaults

VARIANTS = ("84px", "native", "minibatch", "allway")


def get_config(variant: str = "84px") -> ConfigDict:
    """See the file's docstring."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; there is {', '.join(VARIANTS)}")
    config = defaults.seven_data_sets()
    config.data.size = 84
    config.augment.shift = 4
    if variant == "native":
        config.data.train = ("cifar100@32", "caltech256", "flowers102")
    if variant == "minibatch":
        defaults.minibatch(config)
    if variant == "allway":
        config.meta_batch = 1
        config.inner.batch = 32
        config.train_task.update(way=0, shot=4, queries=1)
    return config
