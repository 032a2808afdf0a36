"""ResNet-50 with ImageNet weights, meta-learned on seven data sets.

    python launch.py --config configs/maml_resnet50.py                     all adapts
    python launch.py --config configs/maml_resnet50.py:conv4_on_features
    python launch.py --config configs/maml_resnet50.py:head_only
    python launch.py --config configs/maml_resnet50.py:minibatch
    python launch.py --config configs/maml_resnet50.py:recommended

Outer Adam 0.001, inner rate 0.01, batch 32, 1000 meta-iterations, 10 steps, meta-batch
4; 8-way 4-shot tasks of 224x224 pixels, whose support is the batch of 32. Running
statistics stay as they are.

* default: the whole encoder and the head adapt, second order in mixed mode;
* `:conv4_on_features`: the encoder is frozen and cut after its third stage;
  four convolutional layers learn and adapt on the 14x14 map, computed once a task;
* `:head_only`: the encoder is meta-learned, inner steps change the head alone;
* `:minibatch`: 16-way 20-shot, ten batches of 32;
* `:recommended`: the last stage adapts; a far smaller outer rate that warms up and
  decays to zero, clipped meta-gradients and a smaller inner rate.

That outer rate of 0.001 hurts pretrained weights. EfficientNet-Lite0 with
ImageNet weights (those of ResNet-50 could not be had) at 64x64 pixels, its encoder
meta-learned and the head alone adapted, on the data below, accuracy on meta-validation
in percent after 40 meta-iterations at a constant rate, seed 0, by configs/tune.py
(benchmarks/results/maml_lite0-outer.jsonl, with the command):

    as they are (2 joint steps)    0.001    0.0001    0.00001
                           66.0     47.1      49.8       69.5

Not run at full size: that takes an accelerator and the archives. A narrow ResNet from
random weights at 64x64 pixels, `:recommended`, meta-trained on a CIFAR-100 subset and
half of Caltech-101's classes (benchmarks/halves.py), a fifth of them held out, seed 0,
with

    --config.encoder.weights= --config.encoder.stage_sizes='(1,1,1,1)'
    --config.encoder.width=16 --config.encoder.norm=support --config.data.size=64
    --config.inner.steps=5 --config.iterations=300 --config.warm_start=150
    --config.outer.learning_rate=1e-4 --config.outer.decay_steps=300
    --config.evaluate.episodes=150

and short grids (benchmarks/results/maml_resnet50-narrow-seed0.*), 9 minutes of one core
for each initialisation. Joint pretraining wins there, accuracy in percent:

                             meta-learned   from pretrained   joint   ours - joint
    other half of Caltech            30.5              55.5    59.9   -4.3 [-5.6, -3.0]
    held-out CIFAR                   33.0              47.5    50.0   -2.5 [-3.8, -1.3]
    held-out Caltech                 26.9              41.4    43.6   -2.2 [-3.3, -1.1]

The last table is of `66ea9b7^`, where joint pretraining saw data sets by their images
and lent the warm start its un-annealed beginning.
"""

from ml_collections import ConfigDict

from metainit.experiments import configs

VARIANTS = ("full", "conv4_on_features", "head_only", "minibatch", "recommended")


def get_config(variant: str = "full") -> ConfigDict:
    """See the file's docstring."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; there is {', '.join(VARIANTS)}")
    config = configs.seven_data_sets()
    config.data.size = 224
    config.encoder.name = "resnet"
    config.encoder.weights = "timm/resnet50.tv_in1k"
    config.encoder.use = "adapted"
    config.encoder.checkpoint = True
    config.model.name = "linear"
    config.evaluate.sgd_rates = (0.001, 0.01, 0.1)
    config.evaluate.adam_rates = (0.0003, 0.003)
    if variant == "conv4_on_features":
        config.encoder.update(use="frozen", cut="stage3", checkpoint=False)
        config.model.name = "conv4"
    if variant == "head_only":
        config.encoder.use = "meta"
    if variant == "minibatch":
        configs.minibatch(config)
    if variant == "recommended":
        config.encoder.adapt_from = "stage4"
        config.outer.learning_rate = 1e-5
        config.outer.warmup_steps = 50
        config.outer.decay_steps = 1000
        config.outer.clip = 1.0
        config.inner.learning_rate = 0.005
    return config
