"""PyTorch's side of a workload: `python -m benchmarks.theirs A torch.func|...`.

It has the same network, sizes of images, steps and outer update as ours. Tasks are
taken in a Python loop, with one backward pass each. A frozen encoder sees every image
once in a meta-step, without a gradient. It needs torch, for a ResNet torchvision, and
the peer: torch.func alone, higher (github.com/facebookresearch/higher) or learn2learn.
"""

import os
import sys

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import timing, workloads
from benchmarks.workloads import FILTERS, OUTER_RATE, RATE, Workload


class Conv4(nn.Module):
    """Four blocks of convolution, batch statistics, ReLU and pooling, and a head."""

    def __init__(self, work: Workload) -> None:
        super().__init__()
        layers, channels, side = [], work.channels, work.side
        for _ in range(4):
            layers += [
                nn.Conv2d(channels, FILTERS, 3, padding=1),
                nn.BatchNorm2d(FILTERS, track_running_stats=False),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            channels, side = FILTERS, side // 2
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(side * side * FILTERS, work.way)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).flatten(1))


def networks(work: Workload):
    """Builds the part that adapts, and the part before it that has no gradient."""
    if work.network == "conv4":
        return Conv4(work), nn.Identity()
    import torchvision

    whole = torchvision.models.resnet50(num_classes=work.way).eval()
    if work.network == "resnet50":
        return whole, nn.Identity()
    head, whole.fc = whole.fc, nn.Identity()
    return head, whole


def make_step(work: Workload, peer: str, device: str):
    """Makes `step()`, which takes one meta-step of a peer."""
    net, encoder = (part.to(device) for part in networks(work))
    outer = torch.optim.Adam(net.parameters(), OUTER_RATE)

    def batch(per_class):
        n, side = work.way * per_class, work.side
        images = torch.randn(work.tasks, n, work.channels, side, side, device=device)
        return images, torch.arange(work.way, device=device).repeat_interleave(
            per_class
        )

    (support, support_y), (query, query_y) = batch(work.shot), batch(work.queries)

    def with_func(x, query):
        params = dict(net.named_parameters())
        call = torch.func.functional_call
        for _ in range(work.steps):
            loss = F.cross_entropy(call(net, params, (x,)), support_y)
            grads = torch.autograd.grad(
                loss, list(params.values()), create_graph=work.second_order
            )
            params = {
                name: value - RATE * grad
                for (name, value), grad in zip(params.items(), grads, strict=True)
            }
        return F.cross_entropy(call(net, params, (query,)), query_y)

    def with_learn2learn(x, query):
        learner = maml.clone()
        for _ in range(work.steps):
            learner.adapt(F.cross_entropy(learner(x), support_y))
        return F.cross_entropy(learner(query), query_y)

    def with_higher(x, query):
        inner = torch.optim.SGD(net.parameters(), RATE)
        with higher.innerloop_ctx(net, inner, copy_initial_weights=False) as both:
            fast, inner_step = both
            for _ in range(work.steps):
                inner_step.step(F.cross_entropy(fast(x), support_y))
            return F.cross_entropy(fast(query), query_y)

    if peer == "learn2learn":
        from learn2learn.algorithms import MAML

        maml = MAML(net, RATE, first_order=not work.second_order)
    elif peer == "higher":
        import higher
    task_loss = {
        "torch.func": with_func,
        "learn2learn": with_learn2learn,
        "higher": with_higher,
    }[peer]

    def step():
        outer.zero_grad()
        for task in range(work.tasks):
            with torch.no_grad():
                seen = encoder(support[task]), encoder(query[task])
            (task_loss(*seen) / work.tasks).backward()
        outer.step()
        if device != "cpu":
            torch.cuda.synchronize()

    return step


def main() -> None:
    name, peer = sys.argv[1:3]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    is_there = torch.cuda.is_available() and os.environ.get("JAX_PLATFORMS") != "cpu"
    device = "cuda" if is_there else "cpu"
    step = make_step(workloads.named(name), peer, device)
    timing.serve(step, {"version": f"torch {torch.__version__}", "device": device})


if __name__ == "__main__":
    main()
