"""PyTorch code that adapts an exported network as it was learned for."""

from collections.abc import Sequence

from metainit.models.resnet import RESNET50

_RESNET = """\
import torch
import torch.nn.functional as F
import torchvision
from safetensors.torch import load_file

net = torchvision.models.{network}num_classes={way})
net.load_state_dict(load_file("init.safetensors"))
net.eval()  # running statistics stay as they are
adapted = {adapted}

# support, query: float32 [n, 3, height, width], normalised as the card says
{head}optimizer = torch.optim.SGD(adapted, lr={rate})
for _ in range({steps}):
    optimizer.zero_grad()
    F.cross_entropy(net(support), labels).backward()
    optimizer.step()
with torch.no_grad():
    logits = net(query)
"""
_CONV4 = """\
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

params = load_file("init.safetensors")
for value in params.values():
    value.requires_grad_()


def features(x, seen):  # normalised by the first images, `seen` of them
    for block in range(4):
        kernel, bias, scale, shift = (
            params[f"blocks.{{block}}.{{name}}"]
            for name in ("conv.weight", "conv.bias", "norm.weight", "norm.bias")
        )
        x = F.conv2d(x, kernel, bias, stride={stride}, padding=1)
        var, mean = torch.var_mean(x[:seen], (0, 2, 3), correction=0, keepdim=True)
        x = (x - mean) * torch.rsqrt(var + 1e-5)
        x = F.relu(x * scale[:, None, None] + shift[:, None, None])
{pool}    return {scale} * {output}


def scores(x, seen):
    return F.linear(features(x, seen), params["fc.weight"], params["fc.bias"])


# support, query: float32 [n, {channels}, {side}, {side}], normalised as the card says
n = len(support)
{head}optimizer = torch.optim.SGD(params.values(), lr={rate})
for _ in range({steps}):
    optimizer.zero_grad()
    F.cross_entropy(scores(support, n), labels).backward()
    optimizer.step()
with torch.no_grad():
    logits = {logits}
"""
_CONV4_PROTOTYPES = """\
with torch.no_grad():  # the head starts at the class means
    x = features(support, n)
    means = torch.stack([x[labels == k].mean(0) for k in range({way})])
    params["fc.weight"].copy_(2 * means)
    params["fc.bias"].copy_(-means.square().sum(1))
"""
_RESNET_PROTOTYPES = """\
head, net.fc = net.fc, torch.nn.Identity()
with torch.no_grad():  # the head starts at the class means
    features = net(support)
    means = torch.stack([features[labels == k].mean(0) for k in range({way})])
    head.weight.copy_(2 * means)
    head.bias.copy_(-means.square().sum(1))
net.fc = head
"""


def resnet(
    stage_sizes: Sequence[int],
    way: int,
    rate: float,
    steps: int,
    prototypes: bool,
    adapts: tuple[str, ...] = (),
) -> str:
    """The code, for a ResNet as wide as torchvision's.

    Args:
      stage_sizes: blocks of each stage.
      way: classes of a task.
      rate: of SGD on the whole support.
      steps: of it.
      prototypes: whether the head starts at class means, or as it is in the file.
      adapts: beginnings of the names of the parameters that change; () for all.
    """
    blocks = list(stage_sizes)
    network = "resnet50("
    if tuple(blocks) != RESNET50:
        network = f"ResNet(torchvision.models.resnet.Bottleneck, {blocks}, "
    adapted = "list(net.parameters())"
    if adapts:
        pairs = "for name, p in net.named_parameters()"
        adapted = f"[\n    p\n    {pairs}\n    if name.startswith({adapts})\n]"
    return _RESNET.format(
        network=network,
        way=way,
        adapted=adapted,
        head=_RESNET_PROTOTYPES.format(way=way) if prototypes else "",
        rate=rate,
        steps=steps,
    )


def conv4(
    side: int,
    channels: int,
    way: int,
    rate: float,
    steps: int,
    prototypes: bool,
    transductive: bool,
    strided: bool,
    flattened: bool,
    scale: float,
) -> str:
    """The code, for Conv-4 that is normalised by moments of the images given.

    Args:
      side, channels: of its images.
      way, rate, steps, prototypes: as of `resnet`.
      transductive: whether a query is normalised by the queries, or by the support.
      strided, flattened, scale: `downsample`, `output` and `scale` of the network.
    """
    pool = "        if min(x.shape[2:]) > 1:\n            x = F.max_pool2d(x, 2)\n"
    joint = "scores(torch.cat([support, query]), n)[n:]"
    return _CONV4.format(
        side=side,
        channels=channels,
        stride=2 if strided else 1,
        pool="" if strided else pool,
        scale=scale,
        output="x.permute(0, 2, 3, 1).flatten(1)" if flattened else "x.mean((2, 3))",
        head=_CONV4_PROTOTYPES.format(way=way) if prototypes else "",
        rate=rate,
        steps=steps,
        logits="scores(query, len(query))" if transductive else joint,
    )
