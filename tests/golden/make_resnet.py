"""Writes resnet.npz: torchvision's ResNets on random weights, values and gradients.

    python tests/golden/make_resnet.py

Needs torch, torchvision and numpy, and nothing of metainit: it is the other side of the
comparison in tests/test_resnet.py. Neither weights nor images are stored: `weights` and
`images` make them from a seed with numpy, here and in the test. Stored are the logits,
some values of every stage's map, and of the cross-entropy's gradient by every parameter
the norm and some values, all in evaluation mode and computed with 64 bits; and the
versions and this script's SHA-256.
"""

import hashlib
import pathlib
import zlib

import numpy as np

SEED, CLASSES, SPREAD = 0, 10, 50
# name: (blocks of each stage, images, height, width)
CASES = {
    "small-224": ((1, 1, 1, 1), 2, 224, 224),
    "small-97x131": ((1, 1, 1, 1), 2, 97, 131),
    "resnet50-224": ((3, 4, 6, 3), 1, 224, 224),
}


def weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """float32 weights and statistics by torchvision's names, far from trivial ones."""
    made = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([SEED, zlib.crc32(name.encode())])
        if name.endswith("running_var"):
            value = rng.uniform(0.5, 2, shape)
        elif len(shape) == 1:
            ones = name.endswith("weight")
            value = ones * rng.uniform(0.3, 0.8, shape) + 0.2 * rng.normal(size=shape)
        else:
            value = rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
        made[name] = value.astype(np.float32)
    return made


def images(number: int, height: int, width: int) -> np.ndarray:
    """float32 [number, height, width, 3]."""
    rng = np.random.default_rng([SEED, height, width])
    return rng.normal(size=(number, height, width, 3)).astype(np.float32)


def spread(values: np.ndarray) -> np.ndarray:
    """At most `SPREAD` values from all over an array."""
    values = values.reshape(-1)
    return values[np.linspace(0, len(values) - 1, SPREAD).astype(int)]


def main() -> None:
    import torch
    import torchvision
    from torch.nn import functional as F
    from torchvision.models.resnet import Bottleneck, ResNet

    stored = {}
    for case, (stages, number, height, width) in CASES.items():
        net = ResNet(Bottleneck, list(stages), num_classes=CLASSES).double().eval()
        shapes = {
            name: tuple(value.shape)
            for name, value in net.state_dict().items()
            if not name.endswith("num_batches_tracked")
        }
        made = weights(shapes)
        net.load_state_dict({k: torch.tensor(v) for k, v in made.items()}, strict=True)
        maps = {}

        def keep(name, maps=maps):
            return lambda module, inputs, output: maps.update({name: output})

        parts = ["maxpool", "layer1", "layer2", "layer3", "layer4"]
        for index, part in enumerate(parts):
            stage = f"stage{index}" if index else "stem"
            net.get_submodule(part).register_forward_hook(keep(stage))
        x = torch.tensor(images(number, height, width)).double().permute(0, 3, 1, 2)
        logits = net(x)
        stored[f"{case}/logits"] = logits.detach().numpy()
        for stage, value in maps.items():
            value = value.detach().permute(0, 2, 3, 1).numpy()
            stored[f"{case}/map/{stage}"] = spread(value)
            stored[f"{case}/shape/{stage}"] = np.array(value.shape)
        if stages == (1, 1, 1, 1):
            F.cross_entropy(logits, torch.arange(number)).backward()
            for name, value in net.named_parameters():
                grad = value.grad.numpy()
                stored[f"{case}/norm/{name}"] = np.linalg.norm(grad)
                stored[f"{case}/grad/{name}"] = spread(grad).astype(np.float32)
        print(case, logits.detach().numpy().round(2))
    script = pathlib.Path(__file__)
    np.savez_compressed(
        script.with_name("resnet.npz"),
        torch_version=torch.__version__,
        torchvision_version=torchvision.__version__,
        script_sha256=hashlib.sha256(script.read_bytes()).hexdigest(),
        first_weights=made["conv1.weight"].reshape(-1)[:4],
        **stored,
    )


if __name__ == "__main__":
    main()
