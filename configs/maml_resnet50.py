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
* `:recommended`: the last stage is moved a little, by tasks that class means solve
  without inner steps, as did best of EfficientNet-Lite0 (configs/maml_lite0.py).
  Not run: the weights could not be had.

That outer rate of 0.001 hurts pretrained weights. EfficientNet-Lite0 with
ImageNet weights (those of ResNet-50 could not be had) at 64x64 pixels, its encoder
meta-learned and the head alone adapted, on the data below, accuracy on meta-validation
in percent after 40 meta-iterations at a constant rate, seed 0, by configs/tune.py
(benchmarks/results/maml_lite0-outer.jsonl, with the command):

    as they are (2 joint steps)    0.001    0.0001    0.00001
                           66.0     47.1      49.8       69.5

Not run at full size: that takes an accelerator and the archives.
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
        configs.class_mean_tasks(config, "stage4")
    return config
