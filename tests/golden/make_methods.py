"""Writes methods.npz: meta-gradients of five methods on a small task, by PyTorch.

    python tests/golden/make_methods.py

Needs torch, higher (a public implementation of differentiable inner loops, whose SGD
takes rates as overrides) and numpy, and nothing of metainit. Versions and this script's
SHA-256 are in the file too. Computed with 64 bits.

The task: a perceptron with one hidden layer (tanh) that fits six points and is judged
on six others; three steps of SGD at 0.1. For iMAML (in plain torch, its equation 6
solved with the whole Hessian) 3,000 steps at a damping of 2.
"""

import hashlib
import importlib.metadata
import pathlib

import higher
import numpy as np
import torch

SHAPES = {"w1": (3, 8), "b1": (8,), "w2": (8, 1), "b2": (1,)}
RATE, STEPS, DAMPING, LONG = 0.1, 3, 2.0, 3000


class Perceptron(torch.nn.Module):
    def __init__(self, params):
        super().__init__()
        for name, value in params.items():
            setattr(self, name, torch.nn.Parameter(torch.tensor(value)))

    def forward(self, x):
        return torch.tanh(x @ self.w1 + self.b1) @ self.w2 + self.b2


def loss_of(net, batch):
    x, y = batch
    return torch.mean((net(x) - y) ** 2)


def through_rates(params, support, query, rates_at):
    """Query loss, and its gradients by parameters and by what `rates_at` uses."""
    net = Perceptron(params)
    groups = [{"params": [p]} for p in net.parameters()]
    optimizer = torch.optim.SGD(groups, lr=1.0)
    with higher.innerloop_ctx(net, optimizer, copy_initial_weights=False) as (
        fast,
        opt,
    ):
        for step in range(STEPS):
            opt.step(loss_of(fast, support), override={"lr": rates_at(step)})
        loss = loss_of(fast, query)
    return net, loss


def main() -> None:
    torch.set_default_dtype(torch.float64)
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal(shape) for name, shape in SHAPES.items()}
    parts = {
        name: (rng.standard_normal((6, 3)), rng.standard_normal((6, 1)))
        for name in ("support", "query")
    }
    stored = {f"initial/{name}": value for name, value in params.items()}
    for name, (x, y) in parts.items():
        stored |= {f"{name}/x": x, f"{name}/y": y}
    support, query = (tuple(map(torch.tensor, part)) for part in parts.values())

    def keep(method, net, grads):
        names = [name for name, _ in net.named_parameters()]
        for name, grad in zip(names, grads, strict=True):
            stored[f"{method}/{name}"] = grad.detach().numpy()

    # MAML++: a rate for each tensor and step; Meta-SGD: one for each element.
    logs = torch.tensor(rng.normal(0, 0.3, (STEPS, len(SHAPES))), requires_grad=True)
    net, loss = through_rates(
        params, support, query, lambda step: list(RATE * torch.exp(logs[step]))
    )
    *grads, of_logs = torch.autograd.grad(loss, [*net.parameters(), logs])
    keep("lslr", net, grads)
    stored |= {"lslr/logs": logs.detach().numpy(), "lslr/of_logs": of_logs.numpy()}
    elements = {
        name: torch.tensor(rng.normal(0, 0.3, shape), requires_grad=True)
        for name, shape in SHAPES.items()
    }
    net, loss = through_rates(
        params,
        support,
        query,
        lambda step: [RATE * torch.exp(x) for x in elements.values()],
    )
    grads = torch.autograd.grad(loss, [*net.parameters(), *elements.values()])
    keep("meta_sgd", net, grads[: len(SHAPES)])
    for (name, value), grad in zip(elements.items(), grads[len(SHAPES) :], strict=True):
        stored[f"meta_sgd/logs/{name}"] = value.detach().numpy()
        stored[f"meta_sgd/of_logs/{name}"] = grad.numpy()

    # ANIL: the last layer adapts.
    net, loss = through_rates(
        params, support, query, lambda step: [0.0, 0.0, RATE, RATE]
    )
    keep("anil", net, torch.autograd.grad(loss, list(net.parameters())))

    # Reptile: the parameters after three steps.
    net = Perceptron(params)
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss_of(net, support).backward()
        optimizer.step()
    keep("reptile", net, list(net.parameters()))

    # iMAML.
    net, start = Perceptron(params), Perceptron(params)
    for _ in range(LONG):
        loss = loss_of(net, support)
        for p, p0 in zip(net.parameters(), start.parameters(), strict=True):
            loss = loss + DAMPING / 2 * torch.sum((p - p0.detach()) ** 2)
        grads = torch.autograd.grad(loss, list(net.parameters()))
        with torch.no_grad():
            for p, grad in zip(net.parameters(), grads, strict=True):
                p -= RATE * grad
    inner = torch.autograd.grad(
        loss_of(net, support), list(net.parameters()), create_graph=True
    )
    flat = torch.cat([grad.ravel() for grad in inner])
    rows = [
        torch.cat(
            [
                g.ravel()
                for g in torch.autograd.grad(
                    x, list(net.parameters()), retain_graph=True
                )
            ]
        )
        for x in flat
    ]
    outer = torch.autograd.grad(loss_of(net, query), list(net.parameters()))
    matrix = torch.eye(len(flat)) + torch.stack(rows) / DAMPING
    solved = torch.linalg.solve(matrix, torch.cat([grad.ravel() for grad in outer]))
    pieces = torch.split(solved, [p.numel() for p in net.parameters()])
    shaped = [
        piece.reshape(p.shape)
        for piece, p in zip(pieces, net.parameters(), strict=True)
    ]
    keep("imaml", net, shaped)

    text = pathlib.Path(__file__).read_bytes()
    stored["script_sha256"] = np.array(hashlib.sha256(text).hexdigest())
    for package in ("torch", "higher"):
        stored[f"{package}_version"] = np.array(importlib.metadata.version(package))
    np.savez_compressed(pathlib.Path(__file__).with_name("methods.npz"), **stored)


if __name__ == "__main__":
    main()
