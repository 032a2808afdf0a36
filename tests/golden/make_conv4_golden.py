"""Writes conv4.npz: one second-order MAML task on Conv-4, computed by PyTorch.

    python tests/golden/make_conv4_golden.py

Needs torch and numpy, and nothing of metainit: it is the other side of the comparison
in tests/test_golden.py. The arrays are in torch's layouts (images NCHW, kernels OIHW,
linear weights [out, in]); torch's version and this script's SHA-256 are in it too.

The task: 5-way 1-shot, 3 queries a class, 32x32x3 images; Conv-4 with 16 filters, batch
statistics and a flattened head; three SGD steps at 0.02; computed with 64 bits.
"""

import hashlib
import pathlib

import numpy as np
import torch
from torch.func import functional_call, grad, grad_and_value
from torch.nn import functional as F

WAY, QUERIES, SIDE, FILTERS, STEPS, RATE = 5, 3, 32, 16, 3, 0.02


class Conv4(torch.nn.Module):
    def __init__(self):
        super().__init__()
        channels = [3] + 3 * [FILTERS]
        self.convs = torch.nn.ModuleList(
            torch.nn.Conv2d(c, FILTERS, 3, padding=1) for c in channels
        )
        self.norms = torch.nn.ModuleList(
            torch.nn.BatchNorm2d(FILTERS, track_running_stats=False) for _ in channels
        )
        self.head = torch.nn.Linear(FILTERS * (SIDE // 16) ** 2, WAY)

    def forward(self, x):
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(conv(x))), 2)
        return self.head(x.flatten(1))


def images(rng: np.random.Generator, classes: np.ndarray, per_class: int) -> np.ndarray:
    """Noisy copies of each class's picture: uint8 [way * per_class, 3, side, side]."""
    noisy = np.repeat(classes, per_class, 0)
    noisy = noisy + rng.normal(0, 40, noisy.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def main() -> None:
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    rng = np.random.default_rng(0)
    model = Conv4()
    initial = {
        # Rounded first, so that both sides start from the same 32-bit numbers.
        name: (value + 0.1 * torch.randn_like(value)).float().double().detach()
        for name, value in model.named_parameters()
    }
    classes = rng.uniform(0, 255, (WAY, 3, SIDE, SIDE))
    stored = {
        "support": images(rng, classes, 1),
        "query": images(rng, classes, QUERIES),
    }
    label = {"support": np.arange(WAY), "query": np.repeat(np.arange(WAY), QUERIES)}

    def loss(params, part):
        scores = functional_call(model, params, torch.tensor(stored[part] / 255.0))
        return F.cross_entropy(scores, torch.tensor(label[part]))

    def adapt(params):
        for _ in range(STEPS):
            grads = grad(loss)(params, "support")
            params = {name: params[name] - RATE * grads[name] for name in params}
        return params

    meta_grad, query_loss = grad_and_value(lambda p: loss(adapt(p), "query"))(initial)
    arrays = {
        f"{kind}/{name}": value.detach().numpy().astype(np.float32)
        for kind, tree in (
            ("initial", initial),
            ("adapted", adapt(initial)),
            ("meta_grad", meta_grad),
        )
        for name, value in tree.items()
    }
    np.savez_compressed(
        pathlib.Path(__file__).with_name("conv4.npz"),
        torch_version=torch.__version__,
        script_sha256=hashlib.sha256(pathlib.Path(__file__).read_bytes()).hexdigest(),
        rate=RATE,
        steps=STEPS,
        query_loss=query_loss.item(),
        **{f"{part}/image": image for part, image in stored.items()},
        **{f"{part}/label": value.astype(np.int32) for part, value in label.items()},
        **arrays,
    )


if __name__ == "__main__":
    main()
