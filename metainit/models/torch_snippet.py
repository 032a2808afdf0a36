"""PyTorch code that adapts an exported network as it was learned for."""

from string import Template
from typing import Any

from metainit.config.fields import Experiment
from metainit.models.resnet import CUTS

# For a ResNet with bottlenecks as wide as torchvision's.
RESNET = Template("""\
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torchvision.models.resnet import Bottleneck, ResNet

$settings

net = ResNet(Bottleneck, blocks, num_classes=way)
net.load_state_dict(load_file("init.safetensors"))
net.eval()  # running statistics stay as they are
adapted = [p for name, p in net.named_parameters() if name.startswith(adapts)]

# support, query: float32 [n, 3, height, width], normalised as the card says
if prototypes:  # the head starts at the class means
    head, net.fc = net.fc, torch.nn.Identity()
    with torch.no_grad():
        features = net(support)
        means = torch.stack([features[labels == k].mean(0) for k in range(way)])
        head.weight.copy_(2 * means)
        head.bias.copy_(-means.square().sum(1))
    net.fc = head
optimizer = torch.optim.SGD(adapted, lr=rate)
for _ in range(steps):
    optimizer.zero_grad()
    F.cross_entropy(net(support), labels).backward()
    optimizer.step()
with torch.no_grad():
    logits = net(query)
""")
# For Conv-4 that is normalised by moments of the images given.
CONV4 = Template("""\
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

$settings

params = load_file("init.safetensors")
for value in params.values():
    value.requires_grad_()


def features(x, seen):  # normalised by the first images, `seen` of them
    for block in range(4):
        kernel, bias, gain, shift = (
            params[f"blocks.{block}.{name}"]
            for name in ("conv.weight", "conv.bias", "norm.weight", "norm.bias")
        )
        x = F.conv2d(x, kernel, bias, stride=stride, padding=1)
        var, mean = torch.var_mean(x[:seen], (0, 2, 3), correction=0, keepdim=True)
        x = (x - mean) * torch.rsqrt(var + 1e-5)
        x = F.relu(x * gain[:, None, None] + shift[:, None, None])
        if stride == 1 and min(x.shape[2:]) > 1:
            x = F.max_pool2d(x, 2)
    return scale * (x.permute(0, 2, 3, 1).flatten(1) if flatten else x.mean((2, 3)))


def scores(x, seen):
    return F.linear(features(x, seen), params["fc.weight"], params["fc.bias"])


# support, query: float32 [n, channels, side, side], normalised as the card says
n = len(support)
if prototypes:  # the head starts at the class means
    with torch.no_grad():
        x = features(support, n)
        means = torch.stack([x[labels == k].mean(0) for k in range(way)])
        params["fc.weight"].copy_(2 * means)
        params["fc.bias"].copy_(-means.square().sum(1))
optimizer = torch.optim.SGD(params.values(), lr=rate)
for _ in range(steps):
    optimizer.zero_grad()
    F.cross_entropy(scores(support, n), labels).backward()
    optimizer.step()
with torch.no_grad():
    if transductive:  # queries are normalised by each other, or by the support
        logits = scores(query, len(query))
    else:
        logits = scores(torch.cat([support, query]), n)[n:]
""")
# By stage, of the names of its parameters.
_BEGINNINGS = (("conv1.", "bn1."), *((f"layer{stage}.",) for stage in range(1, 5)))


def of_run(config: Experiment, way: int) -> str:
    """Writes the code that adapts what a config meta-learns; "" where there is none.

    There is one for a ResNet as wide as torchvision's with frozen statistics, and for
    Conv-4 that is normalised by moments, both adapted by SGD on the whole support.
    """
    inner, model, encoder = config.inner, config.model, config.encoder
    head_only = config.method.algorithm == "anil"
    if inner.optimizer != "sgd" or inner.batch:
        return ""
    settings: dict[str, Any] = {
        "way": way,
        "rate": inner.learning_rate,
        "steps": inner.steps,
        "prototypes": config.method.head == "prototype",
    }
    if encoder.name == "none":
        if model.name != "conv4" or model.norm in ("group", "none") or head_only:
            return ""
        settings |= {
            "transductive": model.norm == "batch",
            "stride": 2 if model.downsample == "stride" else 1,
            "flatten": model.output == "flatten",
            "scale": model.scale,
        }
        return _filled(CONV4, settings)
    in_torchvision = (encoder.name, encoder.width) == ("resnet", 64)
    whole = encoder.norm == "frozen" and encoder.cut in ("", CUTS[-1])
    if not (in_torchvision and whole and model.name == "linear"):
        return ""
    # Beginnings of the names of what inner steps change.
    adapts: tuple[str, ...] = ("",)
    if encoder.use != "adapted" or head_only:
        adapts = ("fc.",)
    elif encoder.adapt_from:
        stages = _BEGINNINGS[CUTS.index(encoder.adapt_from) :]
        adapts = (*sum(stages, ()), "fc.")
    settings |= {"blocks": list(encoder.stage_sizes), "adapts": adapts}
    return _filled(RESNET, settings)


def _filled(program: Template, settings: dict[str, Any]) -> str:
    lines = (f"{name} = {value!r}" for name, value in settings.items())
    return program.substitute(settings="\n".join(lines).replace("'", '"'))
