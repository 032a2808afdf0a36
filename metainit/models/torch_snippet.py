"""PyTorch code that adapts an exported ResNet as it was learned for."""

from collections.abc import Sequence

from metainit.models.resnet import RESNET50

_CODE = """\
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
_PROTOTYPES = """\
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
    return _CODE.format(
        network=network,
        way=way,
        adapted=adapted,
        head=_PROTOTYPES.format(way=way) if prototypes else "",
        rate=rate,
        steps=steps,
    )
